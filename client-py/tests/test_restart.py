"""The daemon goes away: calls in flight say what is known, the next call works again."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import ringfence as rf
from ringfence.testing import PrivateDaemon


def test_the_same_client_works_after_a_restart(ringfence_daemon: PrivateDaemon) -> None:
    with ringfence_daemon.connect() as client:
        docs = client.vectors.create("docs", dim=2)
        count = client.engine("vectors").count
        assert count(collection="docs").count == 0
        epoch = client.daemon.epoch
        for end in (ringfence_daemon.kill, ringfence_daemon.stop):
            end()
            ringfence_daemon.start()
            assert client.echo(b"again") == b"again"
            assert client.daemon.epoch != epoch
            assert client.daemon.pid == ringfence_daemon.pid
            with pytest.raises(KeyError, match="docs"):
                docs.count()
            with pytest.raises(KeyError, match="docs"):
                count(collection="docs")


def test_a_call_in_flight_says_what_is_known(ringfence_daemon: PrivateDaemon) -> None:
    client = ringfence_daemon.connect()
    docs = client.vectors.create("docs", dim=2)
    ringfence_daemon.freeze()
    raised: list[BaseException] = []

    def add() -> None:
        try:
            docs.add([1], [[0, 0]])
        except rf.RingfenceError as error:
            raised.append(error)

    caller = threading.Thread(target=add)
    caller.start()
    pending = client.submit("vectors.create", **CREATE)
    ringfence_daemon.kill()
    caller.join(30)
    [error] = raised
    assert isinstance(error, (rf.DaemonRestarted, rf.DaemonUnavailable))
    assert error.outcome in ("not_started", "unknown")
    with pytest.raises(ConnectionError):
        pending.result(timeout=10)
    client.close()


def test_nobody_comes_back(ringfence_daemon: PrivateDaemon) -> None:
    client = ringfence_daemon.connect(timeout=0.2)
    client.ping()
    ringfence_daemon.kill()
    with pytest.raises(ConnectionError) as caught:
        client.echo(b"x", timeout=1)
    assert isinstance(caught.value, rf.RingfenceError)
    client.close()


def test_views_outlive_the_daemon(ringfence_daemon: PrivateDaemon) -> None:
    client = ringfence_daemon.connect()
    docs = client.vectors.create("docs", dim=64)
    rows = np.random.default_rng(3).random((4000, 64), np.float32)
    docs.add(range(4000), rows)
    got = docs.get(range(4000)).rows
    ringfence_daemon.kill()
    client.close()
    del client, docs
    np.testing.assert_array_equal(got, rows)


CREATE = dict(
    name="x", dim=2, metric=0, exist_ok=True, connectivity=0, ef_add=0, ef_search=0
)
