"""Any thread may call: eight of them get what one gets, and a waiting one lets the others run."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import ringfence as rf
from conftest import eventually
from ringfence.testing import PrivateDaemon

THREADS = 8
CALLS = 500


def test_eight_threads_share_a_client(client: rf.Client) -> None:
    def work(thread: int) -> list[bytes]:
        return [client.echo(b"%d/%d" % (thread, index)) for index in range(CALLS)]

    with ThreadPoolExecutor(THREADS) as pool:
        answers = list(pool.map(work, range(THREADS)))
    for thread, own in enumerate(answers):
        assert own == [b"%d/%d" % (thread, index) for index in range(CALLS)]


def test_eight_threads_search_as_one(client: rf.Client) -> None:
    docs = client.vectors.create("threads", dim=16, exist_ok=True)
    rows = np.random.default_rng(1).random((2000, 16), np.float32)
    docs.upsert(range(2000), rows)

    def work(index: int) -> tuple[list[int], list[float]]:
        hits = docs.search(rows[index], k=5)
        return hits.ids.tolist(), hits.distances.tolist()

    alone = [work(index) for index in range(200)]
    with ThreadPoolExecutor(THREADS) as pool:
        assert list(pool.map(work, range(200))) == alone
    client.vectors.drop("threads")


def test_batches_of_several_threads_do_not_mix(client: rf.Client) -> None:
    def work(thread: int) -> bool:
        items = [b"%d:%d" % (thread, index) for index in range(2000)]
        return client.echo_many(items) == items

    with ThreadPoolExecutor(THREADS) as pool:
        assert all(pool.map(work, range(THREADS)))


def test_a_waiting_thread_lets_the_others_run(ringfence_daemon: PrivateDaemon) -> None:
    """With a switch interval of an hour another thread only runs if the waiting one lets it."""
    with ringfence_daemon.connect() as client:
        client.ping()
        ringfence_daemon.freeze()
        before = sys.getswitchinterval()
        entered = threading.Event()

        def wait() -> None:
            entered.set()
            client.echo(b"x", timeout=60)

        waiter = threading.Thread(target=wait)
        sys.setswitchinterval(3600)
        try:
            waiter.start()
            assert entered.wait(30)
            ticks = 0
            while ticks < 100:
                ticks += 1
            assert waiter.is_alive()
        finally:
            sys.setswitchinterval(before)
            ringfence_daemon.thaw()
        waiter.join(30)
        assert not waiter.is_alive()


def test_closing_ends_the_waits_of_other_threads(ringfence_daemon: PrivateDaemon) -> None:
    client = ringfence_daemon.connect()
    client.ping()
    ringfence_daemon.freeze()
    raised: list[Exception] = []

    def wait() -> None:
        try:
            client.echo(b"x", timeout=60)
        except Exception as error:
            raised.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    eventually(waiter.is_alive, "the thread started")
    client.close()
    waiter.join(30)
    assert not waiter.is_alive()
    ringfence_daemon.thaw()
    [error] = raised
    assert isinstance(error, rf.RingfenceError)


def test_a_closed_client_says_so(client: rf.Client) -> None:
    client.close()
    client.close()
    with pytest.raises(rf.RingfenceError, match="closed: connect again"):
        client.echo(b"x")
    with pytest.raises(rf.RingfenceError, match="closed: connect again"):
        client.vectors.list()
