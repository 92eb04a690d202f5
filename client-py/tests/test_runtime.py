"""The bus inside a process: runtimes, callbacks, and every way to end them."""

from __future__ import annotations

import logging
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import numpy as np
import pytest

import ringfence as rf
from conftest import eventually, run_python
from ringfence.messages import F64, U32, U64, Message, Wire, message


@message(type_id=2001)
class Tick(Message):
    number: U64
    price: F64


@message(type_id=2002)
class Doubled(Message):
    number: U64


@message(type_id=2003)
class Frame(Message):
    rows: Annotated[bytes, Wire("bytes(4096)", not_empty=True)]


@message(type_id=2005)
class Picture(Message):
    upper: Annotated[bytes, Wire("bytes(60000)")]
    lower: Annotated[bytes, Wire("bytes(60000)")]


@pytest.fixture
def runtime() -> Iterator[rf.Runtime]:
    with rf.Runtime() as made:
        yield made


def drained(inbox: queue.Queue[Any], count: int) -> list[Any]:
    return [inbox.get(timeout=20) for _ in range(count)]


def test_messages_arrive_in_order_and_whole(runtime: rf.Runtime) -> None:
    inbox: queue.Queue[Tick] = queue.Queue()
    subscription = runtime.subscribe(Tick, inbox.put)
    sent = [Tick(number, number / 4) for number in range(500)]
    places = [runtime.publish(tick) for tick in sent]
    assert drained(inbox, 500) == sent
    assert len({epoch for epoch, _ in places}) == 1
    sequences = [sequence for _, sequence in places]
    assert sequences == list(range(sequences[0], sequences[0] + 500))
    eventually(lambda: subscription.received == 500, "it comes to that")
    assert (subscription.missed, subscription.errors) == (0, 0)
    assert "Tick, 500 received" in repr(subscription)


def test_any_thread_publishes_and_each_keeps_its_order(runtime: rf.Runtime) -> None:
    """The seed's Runtime panicked when another thread published (defect 11)."""
    inbox: queue.Queue[Tick] = queue.Queue()
    runtime.subscribe(Tick, inbox.put)
    with ThreadPoolExecutor(4) as pool:
        for who in range(4):
            numbers = range(who * 1000, who * 1000 + 200)
            pool.submit(lambda numbers=numbers: [runtime.publish(Tick(n, 0)) for n in numbers])
    got = [tick.number for tick in drained(inbox, 800)]
    for who in range(4):
        assert [n for n in got if n // 1000 == who] == list(range(who * 1000, who * 1000 + 200))


def test_python_to_python_between_two_runtimes(runtime: rf.Runtime) -> None:
    """All runtimes of a process share its bus; in the seed nothing arrived (defect 12)."""
    inbox: queue.Queue[Tick] = queue.Queue()
    with rf.Runtime() as other:
        other.subscribe(Tick, inbox.put)
        runtime.publish(Tick(1, 0))
        assert inbox.get(timeout=20) == Tick(1, 0)
    runtime.publish(Tick(2, 0))  # nobody listens, and that is no error


def test_a_callback_may_publish_subscribe_and_close(runtime: rf.Runtime) -> None:
    inbox: queue.Queue[Doubled] = queue.Queue()
    runtime.subscribe(Doubled, inbox.put)

    def double(tick: Tick) -> None:
        runtime.publish(Doubled(2 * tick.number))
        subscription.close()

    subscription = runtime.subscribe(Tick, double)
    runtime.publish(Tick(21, 0))
    assert inbox.get(timeout=20) == Doubled(42)
    eventually(lambda: subscription.received == 1, "it comes to that")
    runtime.publish(Tick(22, 0))
    assert inbox.empty() and subscription.received == 1


def test_a_callback_that_raises_is_logged_and_counted(
    runtime: rf.Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    inbox: queue.Queue[int] = queue.Queue()

    def halve(tick: Tick) -> None:
        inbox.put(100 // tick.number)

    with caplog.at_level(logging.ERROR, logger="ringfence"):
        subscription = runtime.subscribe(Tick, halve)
        for number in (0, 50):
            runtime.publish(Tick(number, 0))
        assert inbox.get(timeout=20) == 2
    eventually(lambda: (subscription.received, subscription.errors) == (1, 1), "it comes to that")
    assert "ZeroDivisionError" in caplog.text and "Tick" in caplog.text


def test_what_is_no_message_of_the_class_is_an_error_of_that_message_alone(
    runtime: rf.Runtime,
) -> None:
    class Forged:
        TYPE_ID = Tick.TYPE_ID
        SIZE = Tick.SIZE

        def to_bytes(self) -> bytes:
            return b"short"

    inbox: queue.Queue[Tick] = queue.Queue()
    subscription = runtime.subscribe(Tick, inbox.put)
    runtime.publish(Forged())
    runtime.publish(Tick(1, 0))
    assert inbox.get(timeout=20) == Tick(1, 0)
    assert subscription.errors == 1


def test_who_is_too_slow_counts_exactly_what_it_misses(runtime: rf.Runtime) -> None:
    go, seen = threading.Event(), []

    def slow(tick: Tick) -> None:
        seen.append(tick.number)
        assert go.wait(20)

    subscription = runtime.subscribe(Tick, slow)
    runtime.publish(Tick(0, 0))
    eventually(lambda: seen == [0], "it comes to that")
    for number in range(1, 10_000):
        runtime.publish(Tick(number, 0))
    go.set()
    eventually(lambda: subscription.received + subscription.missed == 10_000, "it comes to that")
    assert subscription.missed > 0 and seen == sorted(seen) and seen[-1] == 9_999


def test_arrays_travel_as_bytes(runtime: rf.Runtime) -> None:
    inbox: queue.Queue[Frame] = queue.Queue()
    runtime.subscribe(Frame, inbox.put)
    rows = np.arange(1024, dtype=np.float32)
    runtime.publish(Frame(rows.tobytes()))
    np.testing.assert_array_equal(np.frombuffer(inbox.get(timeout=20).rows, np.float32), rows)


def test_long_messages_too(runtime: rf.Runtime) -> None:
    inbox: queue.Queue[Picture] = queue.Queue()
    runtime.subscribe(Picture, inbox.put)
    for number in range(40):
        sent = Picture(bytes([number]) * 60_000, bytes([255 - number]) * 60_000)
        runtime.publish(sent)
        assert inbox.get(timeout=20) == sent


def test_rules_are_kept_at_publish(runtime: rf.Runtime) -> None:
    with pytest.raises(ValueError, match="Frame.rows"):
        runtime.publish(Frame(b""))
    with pytest.raises(OverflowError):
        runtime.publish(Doubled(-1))


class Unsized:
    """Not made by us: what the seed asks for, and nothing more."""

    TYPE_ID = 2010

    def __init__(self, data: bytes) -> None:
        self.data = data

    def to_bytes(self) -> bytes:
        return self.data

    @classmethod
    def from_bytes(cls, data: bytes) -> Unsized:
        return cls(data)


def test_any_class_with_the_three_names_is_a_message(runtime: rf.Runtime) -> None:
    inbox: queue.Queue[bytes] = queue.Queue()
    runtime.subscribe(Unsized, lambda got: inbox.put(got.data))
    for data in (b"", b"x", b"y" * 4096):
        runtime.publish(Unsized(data))
        assert inbox.get(timeout=20) == data
    with pytest.raises(ValueError, match="4097 bytes.*4096"):
        runtime.publish(Unsized(b"z" * 4097))


@pytest.mark.parametrize(
    ("mistake", "kind", "text"),
    [
        (lambda r: r.publish(object()), TypeError, "object cannot be published: it has no to_bytes"),
        (lambda r: r.subscribe(int, print), TypeError, "int has no TYPE_ID"),
        (lambda r: r.subscribe(dict, print), TypeError, "dict cannot be received: it has no from_bytes"),
        (lambda r: r.subscribe(Tick, 7), TypeError, "callback must be callable"),
        (lambda _: rf.Runtime(service_name="x"), ValueError, "give both or neither"),
        (lambda _: rf.Runtime(topology_path="t.toml"), ValueError, "give both or neither"),
        (
            lambda _: rf.Runtime(topology_path="t.toml", service_name="x"),
            RuntimeError,
            "cannot read t.toml: .*check the path",
        ),
        (lambda _: rf.Runtime(schema_digest=b"short"), ValueError, "32 bytes, not 5"),
        (lambda _: rf.Runtime(schema_digest="no hex"), ValueError, "hexadecimal"),
    ],
)
def test_mistakes_say_what_to_do(
    runtime: rf.Runtime, mistake: Callable[[rf.Runtime], object], kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text):
        mistake(runtime)


def test_a_closed_runtime_says_so(runtime: rf.Runtime) -> None:
    subscription = runtime.subscribe(Tick, print)
    runtime.close()
    runtime.close()
    subscription.close()
    with pytest.raises(RuntimeError, match="make another"):
        runtime.publish(Tick(1, 0))
    with pytest.raises(RuntimeError, match="make another"):
        runtime.subscribe(Tick, print)
    assert repr(runtime) == "<ringfence.Runtime, closed>"


def test_close_waits_for_the_callback(runtime: rf.Runtime) -> None:
    """In the seed a callback could run after its subscription was gone (defect 15)."""
    inside, go, after = threading.Event(), threading.Event(), []

    def callback(tick: Tick) -> None:
        inside.set()
        assert go.wait(20)
        after.append(tick.number)

    subscription = runtime.subscribe(Tick, callback)
    runtime.publish(Tick(1, 0))
    runtime.publish(Tick(2, 0))
    assert inside.wait(20)
    closing = threading.Thread(target=subscription.close)
    closing.start()
    go.set()
    closing.join(20)
    assert not closing.is_alive()
    done = list(after)
    runtime.publish(Tick(3, 0))
    assert 1 in done and after == done


def test_two_callbacks_that_close_one_another_do_not_wait(runtime: rf.Runtime) -> None:
    both, done = threading.Barrier(2), queue.Queue[int]()

    def close_all(_: object) -> None:
        both.wait(20)
        runtime.close()
        done.put(1)

    runtime.subscribe(Tick, close_all)
    runtime.subscribe(Doubled, close_all)
    runtime.publish(Tick(1, 0))
    runtime.publish(Doubled(1))
    assert drained(done, 2) == [1, 1]


def test_closing_in_a_signal_handler_while_others_wait() -> None:
    program = """
import signal, threading, time
import ringfence as rf
from ringfence.messages import U64, Message, message

@message(type_id=2001)
class Tick(Message):
    number: U64

runtime = rf.Runtime()
runtime.subscribe(Tick, print)
over = threading.Event()

def leave(number, frame):
    runtime.close()
    over.set()

signal.signal(signal.SIGTERM, leave)
print("ready", flush=True)
while not over.is_set():
    time.sleep(1)
print("closed", runtime.closed, threading.active_count())
"""
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGTERM)
        out, _ = child.communicate(timeout=30)
    assert (child.returncode, out) == (0, "closed True 1\n")


def test_a_process_ends_although_nobody_closed() -> None:
    program = """
import ringfence as rf
from ringfence.messages import U64, Message, message

@message(type_id=2001)
class Tick(Message):
    number: U64

runtime = rf.Runtime()
runtime.subscribe(Tick, print)
runtime.publish(Tick(7))
"""
    result = run_python(program)
    assert result.returncode == 0 and result.stderr == ""
    assert result.stdout in ("", "Tick(number=7)\n")


def test_a_callback_that_never_ends_holds_up_no_end() -> None:
    program = """
import threading, time
import ringfence as rf
from ringfence.messages import U64, Message, message

@message(type_id=2001)
class Tick(Message):
    number: U64

inside = threading.Event()

def for_ever(tick):
    inside.set()
    time.sleep(1000)

runtime = rf.Runtime()
runtime.subscribe(Tick, for_ever)
runtime.publish(Tick(7))
assert inside.wait(20)
print("end")
"""
    result = run_python(program)
    assert (result.returncode, result.stdout, result.stderr) == (0, "end\n", "")


def test_one_process_has_one_schema() -> None:
    program = """
import ringfence as rf
rf.Runtime(schema_digest=bytes(32))
rf.Runtime(schema_digest="00" * 32)
rf.Runtime()
try:
    rf.Runtime(schema_digest=b"\\x01" * 32)
except ValueError as error:
    print(error)
"""
    said = run_python(program).stdout
    assert said.startswith("schema digest mismatch: this process's bus has 0000")
    assert "given was 0101" in said and "ringfence codegen contracts.yaml" in said


def test_a_forked_child_is_told(runtime: rf.Runtime) -> None:
    runtime.subscribe(Tick, print)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        text = b"nothing"
        try:
            runtime.publish(Tick(1, 0))
        except rf.ForkedSession as error:
            text = str(error).encode()
        runtime.close()  # ends nothing of the parent's, and waits for no thread
        os.write(writing, text)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as said:
        assert "make one in the child" in said.read()
    assert os.waitpid(child, 0)[1] == 0


def test_batches_of_100_or_10_ms(runtime: rf.Runtime) -> None:
    """The seed's batch rule, with nothing but the standard library on top of a callback."""
    inbox: queue.Queue[Tick] = queue.Queue(maxsize=1000)
    runtime.subscribe(Tick, inbox.put)
    for number in range(250):
        runtime.publish(Tick(number, 0))
    sizes, numbers = [], []
    while len(numbers) < 250:
        batch = [inbox.get(timeout=20)]
        while len(batch) < 100:
            try:
                batch.append(inbox.get(timeout=0.01))
            except queue.Empty:
                break
        sizes.append(len(batch))
        numbers += [tick.number for tick in batch]
    assert numbers == list(range(250)) and max(sizes) <= 100


def test_long_work_goes_to_a_pool_and_comes_back(runtime: rf.Runtime) -> None:
    results: queue.Queue[Doubled] = queue.Queue()
    runtime.subscribe(Doubled, results.put)
    with ThreadPoolExecutor(4) as pool:

        def offload(tick: Tick) -> None:
            future = pool.submit(lambda: 2 * tick.number)
            future.add_done_callback(lambda done: runtime.publish(Doubled(done.result())))

        runtime.subscribe(Tick, offload)
        for number in range(20):
            runtime.publish(Tick(number, 0))
        got = {doubled.number for doubled in drained(results, 20)}
    assert got == {2 * number for number in range(20)}


def test_unused_width(runtime: rf.Runtime) -> None:
    """A topic is made for the longest message of its class, whatever comes first."""

    @message(type_id=2004)
    class Wide(Message):
        note: Annotated[str, Wire("String(60000)")]
        number: U32

    inbox: queue.Queue[Wide] = queue.Queue()
    runtime.subscribe(Wide, inbox.put)
    for note in ("", "n" * 60_000):
        runtime.publish(Wide(note, 7))
        assert inbox.get(timeout=20) == Wide(note, 7)
