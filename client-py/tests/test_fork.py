"""A forked child reconnects by itself; what was in flight stays the parent's."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable

import numpy as np
import pytest

import ringfence as rf
from ringfence.testing import PrivateDaemon


def in_child(work: Callable[[], None]) -> int:
    """The exit code of a forked child that runs `work`: 0 if it was content."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException as error:
            os.write(2, f"in the child: {error!r}\n".encode())
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_child_has_a_session_of_its_own(daemon: PrivateDaemon) -> None:
    with daemon.connect() as client:
        client.ping()
        session = client.daemon.session
        docs = client.vectors.create("fork", dim=2, exist_ok=True)

        def work() -> None:
            assert client.echo(b"child") == b"child"
            assert client.daemon.session != session
            assert docs.count() == 0
            assert client.engine("vectors").count(collection="fork").count == 0

        assert in_child(work) == 0
        assert client.echo(b"parent") == b"parent"
        assert client.daemon.session == session
        client.vectors.drop("fork")


def test_what_was_in_flight_is_the_parents(ringfence_daemon: PrivateDaemon) -> None:
    with ringfence_daemon.connect() as client:
        client.engines()  # fetches the catalogue, by which `submit` packs
        ringfence_daemon.freeze()
        pending = client.submit("system.echo", data=b"parent's")

        def work() -> None:
            with pytest.raises(rf.ForkedSession, match="only the parent can wait"):
                pending.result(timeout=5)

        assert in_child(work) == 0
        ringfence_daemon.thaw()
        assert pending.result().data == b"parent's"


def test_a_view_is_readable_in_a_child(daemon: PrivateDaemon) -> None:
    with daemon.connect() as client:
        docs = client.vectors.create("fork-view", dim=64, exist_ok=True)
        rows = np.random.default_rng(3).random((2000, 64), np.float32)
        docs.upsert(range(2000), rows)
        got = docs.get(range(2000)).rows

        def work() -> None:
            np.testing.assert_array_equal(got, rows)

        assert in_child(work) == 0
        client.vectors.drop("fork-view")


def _length(item: bytes) -> int:
    assert SHARED is not None
    return len(SHARED.echo(item))


SHARED: rf.Client | None = None


def test_a_pool_of_forked_workers_shares_the_client_object(daemon: PrivateDaemon) -> None:
    global SHARED
    with daemon.connect() as client:
        client.ping()
        SHARED = client
        with multiprocessing.get_context("fork").Pool(4) as pool:
            assert pool.map(_length, [bytes(n) for n in range(50)]) == list(range(50))
        SHARED = None
        assert client.echo(b"parent") == b"parent"
