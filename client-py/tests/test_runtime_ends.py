"""Every way in which a runtime ends: orders, threads, signals."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import ringfence as rf
from conftest import eventually
from ringfence.messages import U64, Message, message


@message(type_id=2101)
class Tick(Message):
    number: U64


def dispatchers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "ringfence-Tick"]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_in_any_order(order: tuple[int, ...]) -> None:
    one, other = rf.Runtime(), rf.Runtime()
    ends: list[Any] = [one, other, one.subscribe(Tick, print), other.subscribe(Tick, len)]
    assert len(dispatchers()) == 2
    for index in order:
        ends[index].close()
    assert dispatchers() == [] and one.closed and other.closed


def test_by_many_threads_at_once() -> None:
    runtime = rf.Runtime()
    go, inside = threading.Event(), threading.Event()

    def slow(_: Tick) -> None:
        inside.set()
        assert go.wait(20)

    subscriptions = [runtime.subscribe(Tick, slow) for _ in range(3)]
    runtime.publish(Tick(1))
    assert inside.wait(20)
    with ThreadPoolExecutor(8) as pool:
        closing = [pool.submit(runtime.close) for _ in range(4)]
        closing += [pool.submit(subscription.close) for subscription in subscriptions]
        go.set()
        for done in closing:
            done.result(timeout=20)
    assert dispatchers() == []


def test_while_others_publish_and_subscribe() -> None:
    """Each of them is told, and none is left behind."""
    runtime = rf.Runtime()
    started = threading.Barrier(5)

    def work(step: Any) -> str:
        started.wait(20)
        try:
            while True:
                step()
        except RuntimeError as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        publishing = [pool.submit(work, lambda: runtime.publish(Tick(1))) for _ in range(2)]
        subscribing = [pool.submit(work, lambda: runtime.subscribe(Tick, id).close()) for _ in range(2)]
        started.wait(20)
        runtime.close()
        told = {future.result(timeout=20) for future in publishing + subscribing}
    assert told == {"the runtime is closed: make another"}
    assert dispatchers() == []


def test_in_the_midst_of_a_subscribe() -> None:
    """As a signal handler may: what was being subscribed ends, too."""
    runtime = rf.Runtime()

    class Closing(type):
        @property
        def SIZE(cls) -> int:  # noqa: N802
            runtime.close()
            return 8

    class Late(metaclass=Closing):
        TYPE_ID = 2102

        @classmethod
        def from_bytes(cls, data: bytes) -> Late:
            return cls()

    with pytest.raises(RuntimeError, match="the runtime is closed: make another"):
        runtime.subscribe(Late, print)
    eventually(
        lambda: not [t for t in threading.enumerate() if t.name == "ringfence-Late"], "its thread ends"
    )


PROGRAM = """
import queue, signal, sys, threading, time
import ringfence as rf
from ringfence.messages import U64, Message, message

@message(type_id=2101)
class Tick(Message):
    number: U64

runtime, inbox = rf.Runtime(), queue.Queue()
inside, said = threading.Event(), []

def slow(tick):
    inside.set()
    time.sleep(0.05)
    said.append("the callback has ended")

def publish():
    try:
        while True:
            runtime.publish(Tick(1))
            time.sleep(0.001)
    except RuntimeError as error:
        said.append("publishing: " + str(error))
        inbox.put(None)

def wait():
    while inbox.get() is not None:
        pass
    said.append("nobody waits any more")

def leave(number, frame):
    runtime.close()
    ended = said.count("the callback has ended")
    for thread in threads:
        thread.join()
    assert said.count("the callback has ended") == ended, "a callback ran after close"
    print(*sorted(set(said)), signal.Signals(number).name, threading.active_count(), sep="\\n")
    sys.exit(0)

signal.signal(signal.SIGINT, leave)
signal.signal(signal.SIGTERM, leave)
runtime.subscribe(Tick, slow)
runtime.subscribe(Tick, inbox.put)
threads = [threading.Thread(target=publish), threading.Thread(target=wait)]
for thread in threads:
    thread.start()
inside.wait()
print("ready", flush=True)
while True:
    WAIT
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize(
    "wait", ["time.sleep(1)", "threads[1].join(1)", "runtime.publish(Tick(2))"],
    ids=["asleep", "waiting", "publishing"],
)  # fmt: skip
def test_by_a_signal_while_other_threads_wait(number: signal.Signals, wait: str) -> None:
    """Publishers are told, a callback that runs ends first, and the process leaves in order.

    (No wait has no end: CPython looks for signals between two instructions and when a wait ends, and one that comes right
    before a wait does not end it.)
    """
    program = PROGRAM.replace("WAIT", wait)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", program], text=True, **pipes) as child:  # type: ignore[call-overload]
        try:
            assert child.stdout.readline() == "ready\n"
            child.send_signal(number)
            out, err = child.communicate(timeout=30)
        finally:
            child.kill()
    assert (child.returncode, err) == (0, "")
    assert out.splitlines() == [
        "nobody waits any more",
        "publishing: the runtime is closed: make another",
        "the callback has ended",
        number.name,
        "1",
    ]
