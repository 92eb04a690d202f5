"""A forked child reconnects by itself; what was in flight stays the parent's."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable

import numpy as np
import pytest
from conftest import SECONDS, eventually

import ringfence as rf
from ringfence.testing import PrivateDaemon


def in_child(work: Callable[[], None]) -> int:
    """The exit code of a forked child that runs `work`: 0 if it was content."""
    pid = os.fork()
    if pid == 0:
        code = 1
        # A child that hangs ends by its own alarm; not as the test runner would have it.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(int(SECONDS))
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


def test_a_view_outlives_everything_in_a_child(ringfence_daemon: PrivateDaemon) -> None:
    """Client, session and daemon are gone, and the next daemon has swept up after the last one."""
    rows = np.random.default_rng(3).random((2000, 64), np.float32)
    client = ringfence_daemon.connect()
    docs = client.vectors.create("fork-view", dim=64)
    docs.add(range(2000), rows)
    got = docs.get(range(2000)).rows
    ringfence_daemon.kill()
    ringfence_daemon.start()
    client.close()
    del client, docs

    def read() -> None:
        np.testing.assert_array_equal(got, rows)

    assert in_child(lambda: read() or os._exit(in_child(read))) == 0
    read()


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


FORKS = 300


def test_hundreds_of_forks_between_the_calls_of_threads(trial: PrivateDaemon) -> None:
    """Whatever lock a thread holds at that moment, the child needs none of it."""
    over = threading.Event()
    failed: list[BaseException] = []

    def repeat(call: Callable[[], object]) -> None:
        try:
            while not over.is_set():
                call()
        except BaseException as error:
            failed.append(error)

    with trial.connect() as client:
        rows = np.random.default_rng(5).random((500, 64), np.float32)
        docs = client.vectors.create("forks", dim=64)
        docs.add(range(500), rows)
        nap = client.engine("trial").nap
        calls: list[Callable[[], object]] = [
            lambda: client.echo(b"short"),
            lambda: nap(value=1),
            lambda: docs.get(range(500)).rows.sum(),
            lambda: client.submit("trial.nap", value=2).result(),
            lambda: client.echo_many([b"x"] * 50),
        ]
        threads = [threading.Thread(target=repeat, args=[call]) for call in calls]
        for thread in threads:
            thread.start()

        def work() -> None:
            assert client.echo(b"child") == b"child"
            assert nap(value=0).value == 0
            np.testing.assert_array_equal(docs.get(range(500)).rows, rows)

        try:
            for _ in range(FORKS):
                assert in_child(work) == 0
                assert not failed
        finally:
            over.set()
            for thread in threads:
                thread.join(SECONDS)
        assert not failed
        assert client.echo(b"parent") == b"parent"


def test_what_a_thread_waits_for_is_the_parents(trial: PrivateDaemon) -> None:
    """The thread holds the call at the fork, and is not there in the child to let go of it."""
    with trial.connect() as client:
        client.engines()
        pending = client.submit("trial.nap", value=1500)
        waiter = threading.Thread(target=pending.result)
        waiter.start()
        eventually(waiter.is_alive, "it waits")

        def work() -> None:
            for _ in range(2):
                with pytest.raises(rf.ForkedSession, match="only the parent can wait"):
                    pending.result(timeout=None)
            pending.cancel()
            assert pending.done()
            assert client.echo(b"child") == b"child"

        for _ in range(10):
            assert in_child(work) == 0
        assert pending.result().value == 1500
        waiter.join(SECONDS)


def test_a_child_of_a_child(daemon: PrivateDaemon) -> None:
    with daemon.connect() as client:
        sessions = [client.daemon.session]

        def new_session() -> None:
            assert client.echo(b"x") == b"x"
            assert client.daemon.session not in sessions
            sessions.append(client.daemon.session)

        def child() -> None:
            # Its own child is forked before it has a session, and after.
            assert in_child(new_session) == 0
            new_session()
            assert in_child(new_session) == 0
            assert client.echo(b"x") == b"x"
            assert client.daemon.session == sessions[-1]

        assert in_child(child) == 0
        assert client.daemon.session == sessions[0]


def test_a_child_never_gives_a_lease_back(daemon: PrivateDaemon) -> None:
    rows = np.random.default_rng(3).random((2000, 64), np.float32)
    with daemon.connect() as client:
        docs = client.vectors.create("fork-lease", dim=64, exist_ok=True)
        docs.upsert(range(2000), rows)
        held = {"rows": docs.get(range(2000)).rows}
        eventually(lambda: client.stats().leased_bytes >= rows.nbytes, "the lease is counted")

        def drop() -> None:
            np.testing.assert_array_equal(held.pop("rows"), rows)
            assert client.stats().leased_bytes == 0

        assert in_child(drop) == 0
        # The daemon counts ten times a second: two counts later it would have noticed.
        counted_at = client.stats().uptime_ms
        eventually(lambda: client.stats().uptime_ms > counted_at + 300, "it has counted again")
        assert client.stats().leased_bytes >= rows.nbytes
        np.testing.assert_array_equal(held["rows"], rows)

        go = os.pipe()

        def read_on() -> None:
            os.read(go[0], 1)
            assert held["rows"].shape == rows.shape and held["rows"].sum() >= 0

        pid = os.fork()
        if pid == 0:
            os._exit(in_child(read_on))
        held.clear()
        eventually(lambda: client.stats().leased_bytes == 0, "the parent has given it back")
        # The memory is the daemon's to fill again: what the child reads there is anything. But it
        # may read.
        os.write(go[1], b"x")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        for end in go:
            os.close(end)
        assert client.echo(b"parent") == b"parent"
        client.vectors.drop("fork-lease")
