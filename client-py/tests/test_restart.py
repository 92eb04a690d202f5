"""The daemon goes away: calls in flight say what is known, the next call works again."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SECONDS, eventually

import ringfence as rf
from ringfence.testing import PrivateDaemon

THREADS = 4
RESTARTS = 20


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


@contextmanager
def at_work(work: Callable[[int, threading.Event], None]) -> Iterator[Callable[[], None]]:
    """Runs it in several threads until the block ends. What it raises, the block raises, and the
    function that the block is given."""
    over = threading.Event()
    with ThreadPoolExecutor(THREADS) as pool:
        all_work = [pool.submit(work, thread, over) for thread in range(THREADS)]

        def check() -> None:
            for one in all_work:
                if one.done():
                    one.result()

        try:
            yield check
        finally:
            over.set()
        for one in all_work:
            one.result(SECONDS)


def test_idempotent_calls_survive_restarts_in_a_row(trial: PrivateDaemon) -> None:
    made = [0] * THREADS
    with trial.connect(timeout=SECONDS) as client:
        nap = client.engine("trial").nap

        def work(thread: int, over: threading.Event) -> None:
            while not over.is_set():
                data = b"%d/%d" % (thread, made[thread])
                assert client.echo(data) == data
                assert nap(value=made[thread] % 8).value == made[thread] % 8
                made[thread] += 1

        with at_work(work) as check:
            for restart in range(RESTARTS):
                before = list(made)
                eventually(
                    lambda: check() or all(n > m + 3 for n, m in zip(made, before, strict=True)),
                    f"all threads make calls after restart {restart}",
                )
                (trial.kill if restart % 2 else trial.stop)()
                trial.start()


def test_a_call_waits_for_the_next_daemon_as_long_as_a_connect_may_take(
    trial: PrivateDaemon,
) -> None:
    """One that is idempotent and was in flight, as one that finds no daemon at all."""
    with trial.connect(timeout=SECONDS) as client, ThreadPoolExecutor(3) as pool:
        nap = client.engine("trial").nap
        assert nap(value=0).value == 0
        trial.freeze()
        calls: list[Future[Any]] = [
            pool.submit(client.echo, b"in flight"),
            pool.submit(nap, value=1),
        ]
        time.sleep(0.05)
        trial.kill()
        calls.append(pool.submit(client.echo, b"nobody there"))
        # Longer than a call waits that may not be made again.
        time.sleep(0.5)
        assert not any(call.done() for call in calls)
        trial.start()
        assert calls[0].result(SECONDS) == b"in flight"
        assert calls[1].result(SECONDS).value == 1
        assert calls[2].result(SECONDS) == b"nobody there"


def test_outcomes_agree_with_what_took_effect(trial: PrivateDaemon, journal: Path) -> None:
    told: dict[str, list[int]] = {"answered": [], "not_started": [], "unknown": []}
    with trial.connect(timeout=SECONDS) as client:
        client.engines()

        def work(thread: int, over: threading.Event) -> None:
            number = thread << 32
            while not over.is_set():
                flight: list[tuple[int, rf.Pending]] = []
                try:
                    for number in range(number + 1, number + 9):
                        flight.append((number, client.submit("trial.note", value=number)))
                except ConnectionError as error:
                    told[outcome_of(error)].append(number)
                for noted, pending in flight:
                    try:
                        pending.result()
                        told["answered"].append(noted)
                    except ConnectionError as error:
                        told[outcome_of(error)].append(noted)

        with at_work(work) as check:
            for restart in range(RESTARTS):
                before = len(told["answered"])
                eventually(
                    lambda: check() or len(told["answered"]) > before + 50,
                    f"notes are taken after restart {restart}",
                )
                (trial.kill if restart % 4 else trial.stop)()
                trial.start()
    agree(told, journal)
    assert told["not_started"] or told["unknown"]


def test_what_a_stopped_daemon_never_took_has_no_effect(
    trial: PrivateDaemon, journal: Path
) -> None:
    told: dict[str, list[int]] = {"answered": [], "not_started": [], "unknown": []}
    with trial.connect(timeout=SECONDS) as client:
        client.engines()
        trial.freeze()
        flight = [(n, client.submit("trial.note", value=n)) for n in range(1, 31)]
        trial.kill()
        for number, pending in flight:
            with pytest.raises(rf.DaemonRestarted, match="call again") as caught:
                pending.result()
            told[outcome_of(caught.value)].append(number)
    assert len(told["not_started"]) == 30
    agree(told, journal)


def test_what_ran_into_its_timeout_agrees_with_what_took_effect(
    trial: PrivateDaemon, journal: Path
) -> None:
    """The daemon goes on in the moment in which the call is given up."""
    told: dict[str, list[int]] = {"answered": [], "not_started": [], "unknown": []}
    chance = random.Random(5)
    with trial.connect() as client:
        note = client.engine("trial").note
        note(value=99)
        told["answered"].append(99)
        for number in range(1, 16):
            trial.freeze()
            thaw = threading.Timer(0.35 + chance.uniform(-0.01, 0.02), trial.thaw)
            thaw.start()
            try:
                note(value=number, timeout=0.35)
                told["answered"].append(number)
            except TimeoutError as error:
                told[outcome_of(error)].append(number)
            thaw.join()
            # Behind it in the ring: when this is answered, the note will not run any more.
            client.ping()
    agree(told, journal)


def outcome_of(error: Exception) -> str:
    assert isinstance(error, rf.RingfenceError) and error.outcome is not None, error
    return error.outcome


def agree(told: dict[str, list[int]], journal: Path) -> None:
    """Was each answered call made once, and none that is said not to have been started?"""
    noted = Counter(np.fromfile(journal, "<u8").tolist())
    assert all(noted[number] == 1 for number in told["answered"])
    assert not [number for number in told["not_started"] if noted[number]]
    assert not [number for number in told["unknown"] if noted[number] > 1]
    assert set(noted) <= set(told["answered"]) | set(told["unknown"])


def test_a_stopped_daemon_is_told_from_a_slow_one(trial: PrivateDaemon) -> None:
    with trial.connect() as client:
        nap = client.engine("trial").nap
        assert nap(value=1).value == 1
        session = client.daemon.session
        with pytest.raises(rf.CallTimeout):
            nap(value=60_000, timeout=0.5)
        trial.freeze()
        start = time.monotonic()
        with pytest.raises(rf.DaemonStalled, match=f"pid {trial.pid}.*stopped") as caught:
            client.echo(b"x", timeout=0.5)
        assert 0.5 <= time.monotonic() - start < SECONDS / 2
        assert caught.value.outcome == "unknown"
        with pytest.raises(rf.DaemonStalled):
            rf.connect(trial.socket, timeout=0.3)
        trial.thaw()
        assert client.echo(b"on again") == b"on again"
        assert client.daemon.session == session


def test_a_large_call_to_a_stopped_daemon_ends_in_time_and_alone(
    trial: PrivateDaemon, journal: Path
) -> None:
    """It asks for memory first. That nobody gives it any is no reason to give up the session, in
    which other calls are in flight."""
    with trial.connect(timeout=SECONDS) as client:
        client.engines()
        session = client.daemon.session
        trial.freeze()
        flight = [client.submit("trial.note", value=number) for number in range(1, 4)]
        start = time.monotonic()
        with pytest.raises(rf.DaemonStalled) as caught:
            client.echo(bytes(1 << 20), timeout=0.5)
        assert time.monotonic() - start < SECONDS / 2
        assert caught.value.outcome == "not_started"
        trial.thaw()
        assert [pending.result().value for pending in flight] == [1, 2, 3]
        for size in (2 << 20, 1 << 20):
            assert len(client.echo(bytes(size))) == size
        assert client.daemon.session == session
    agree({"answered": [1, 2, 3], "not_started": [], "unknown": []}, journal)


def test_close_ends_a_wait_for_the_next_daemon(ringfence_daemon: PrivateDaemon) -> None:
    client = ringfence_daemon.connect(timeout=10 * SECONDS)
    client.ping()
    ringfence_daemon.kill()
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(client.echo, b"x", timeout=None) for _ in range(2)]
        eventually(lambda: all(call.running() for call in calls), "both threads are at it")
        time.sleep(0.1)
        assert not any(call.done() for call in calls)
        client.close()
        for call in calls:
            with pytest.raises(rf.RingfenceError):
                call.result(SECONDS)
    ringfence_daemon.start()
    with pytest.raises(rf.RingfenceError, match="closed"):
        client.ping()


CREATE: dict[str, Any] = {
    **{"name": "x", "dim": 2, "metric": 0, "exist_ok": True},
    **{"connectivity": 0, "ef_add": 0, "ef_search": 0},
}
