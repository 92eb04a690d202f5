"""Calls in flight: many at once, results in any order and from any thread, waits that end early."""

from __future__ import annotations

import threading

import pytest

import ringfence as rf
from conftest import eventually
from ringfence.testing import PrivateDaemon, private_daemon


def test_many_are_in_flight_at_once(client: rf.Client) -> None:
    pendings = [client.submit("system.echo", data=b"%d" % index) for index in range(50)]
    for index, pending in reversed(list(enumerate(pendings))):
        assert pending.result().data == b"%d" % index
    assert all(pending.done() for pending in pendings)


def test_a_result_may_be_asked_for_again(client: rf.Client) -> None:
    pending = client.submit("system.echo", data=b"once")
    assert pending.result() is pending.result()
    eventually(client.submit("system.ping").done, "an answer is noticed without waiting for it")
    assert client.submit("system.ping").result() is None


def test_it_says_what_it_is(client: rf.Client) -> None:
    pending = client.submit("system.echo", data=b"x")
    assert repr(pending) in {f"<call of system.echo(), {state}>" for state in ("open", "answered")}
    pending.result()
    assert repr(pending) == "<call of system.echo(), answered>"


def test_an_error_may_be_asked_for_again(client: rf.Client) -> None:
    pending = client.submit("vectors.count", collection="nowhere")
    for _ in range(2):
        with pytest.raises(KeyError, match="nowhere"):
            pending.result()


def test_threads_share_one_pending(client: rf.Client) -> None:
    pending = client.submit("system.echo", data=b"shared")
    seen: list[object] = []
    threads = [threading.Thread(target=lambda: seen.append(pending.result())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(seen) == 8 and all(answer is seen[0] for answer in seen)


def test_a_wait_that_ends_leaves_the_call(ringfence_daemon: PrivateDaemon) -> None:
    with ringfence_daemon.connect() as client:
        client.engines()  # fetches the catalogue, by which `submit` packs
        ringfence_daemon.freeze()
        pending = client.submit("system.echo", data=b"late")
        assert not pending.done()
        for _ in range(2):
            with pytest.raises(rf.CallTimeout, match="still pending: wait again") as caught:
                pending.result(timeout=0.05)
            assert caught.value.outcome == "unknown"
        ringfence_daemon.thaw()
        assert pending.result().data == b"late"


def test_a_call_that_takes_too_long_raises(ringfence_daemon: PrivateDaemon) -> None:
    with ringfence_daemon.connect() as client:
        client.engines()  # fetches the catalogue, by which `submit` packs
        ringfence_daemon.freeze()
        with pytest.raises(TimeoutError) as caught:
            client.echo(b"x", timeout=0.1)
        assert isinstance(caught.value, (rf.CallTimeout, rf.DaemonStalled))
        ringfence_daemon.thaw()
        assert client.echo(b"back") == b"back"


def test_a_cancelled_call_ends(ringfence_daemon: PrivateDaemon) -> None:
    with ringfence_daemon.connect() as client:
        client.engines()  # fetches the catalogue, by which `submit` packs
        ringfence_daemon.freeze()
        pending = client.submit("system.echo", data=b"x")
        pending.cancel()
        pending.cancel()
        ringfence_daemon.thaw()
        try:
            assert pending.result(timeout=10).data == b"x"
        except rf.Cancelled:
            pass
        del pending
        assert client.echo(b"after") == b"after"


def test_whichever_is_answered_first(client: rf.Client) -> None:
    calls = [client.submit("system.echo", data=b"%d" % number) for number in range(20)]
    first = rf.wait_any(calls, timeout=30.0)
    assert first in calls and first.done()
    answers = [call.result().data for call in rf.as_completed(calls, timeout=30.0)]
    assert sorted(answers, key=int) == [b"%d" % number for number in range(20)]
    # Answered ones come at once, again too.
    assert rf.wait_any(calls) in calls
    with pytest.raises(ValueError, match="nothing to wait for"):
        rf.wait_any([])


def test_nothing_is_answered_in_time() -> None:
    with private_daemon() as daemon, daemon.connect() as client:
        # The catalogue comes from the daemon, too.
        assert client.submit("system.echo", data=b"x").result().data == b"x"
        daemon.freeze()
        try:
            calls = [client.submit("system.echo", data=b"x") for _ in range(3)]
            with pytest.raises(rf.CallTimeout, match="none of 3 calls"):
                rf.wait_any(calls, timeout=0.05)
            with pytest.raises(TimeoutError):
                list(rf.as_completed(calls, timeout=0.05))
        finally:
            daemon.thaw()
        assert len(list(rf.as_completed(calls, timeout=30.0))) == 3
