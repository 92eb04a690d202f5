"""Services of a topology as real processes: they meet in a daemon, die, come back and end in order."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import pytest

import ringfence as rf
from conftest import eventually, run_python
from documents import ROOT
from ringfence.compat.mycelium import MessageBus, UnixTransport
from ringfence.messages import U64, Message, Wire, message
from ringfence.testing import PrivateDaemon, private_daemon
from test_messages import generated

EDGE = """
[[nodes]]
name = "edge-device"
services = ["collector", "preprocessor", "aggregator"]
endpoint.kind = "shm"

[[nodes]]
name = "alerts"
services = ["alerter"]
endpoint.kind = "shm"

[[nodes]]
name = "desk"
services = ["operator"]
"""

# A service: it says when it is there, answers to its messages, and ends by a signal.
SERVICE = """
import signal, sys, threading
import ringfence as rf
from ringfence.messages import U64, Message, message

@message(type_id=2501)
class Raw(Message):
    number: U64

@message(type_id=2502)
class Clean(Message):
    number: U64

@message(type_id=2503)
class Total(Message):
    number: U64

@message(type_id=2504)
class Alert(Message):
    number: U64

file, service = sys.argv[1:3]
runtime = rf.Runtime(topology_path=file, service_name=service)
over = threading.Event()

def leave(number, frame):
    runtime.close()
    over.set()

signal.signal(signal.SIGTERM, leave)
signal.signal(signal.SIGINT, leave)
"""

READY = """
print("ready", flush=True)
while not over.wait(1):
    pass
print(service, "left", runtime.closed, threading.active_count())
"""

PREPROCESSOR = "runtime.subscribe(Raw, lambda raw: runtime.publish(Clean(2 * raw.number)))"
AGGREGATOR = """
seen = []

def add(clean):
    seen.append(clean.number)
    runtime.publish(Total(sum(seen)))

runtime.subscribe(Clean, add)
"""
ALERTER = "runtime.subscribe(Total, lambda t: t.number > 15 and runtime.publish(Alert(t.number)))"


@message(type_id=2501)
class Raw(Message):
    number: U64


@message(type_id=2502)
class Clean(Message):
    number: U64


@message(type_id=2504)
class Alert(Message):
    number: U64


@message(type_id=2505)
class Picture(Message):
    upper: Annotated[bytes, Wire("bytes(60000)")]
    lower: Annotated[bytes, Wire("bytes(60000)")]


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Iterator[PrivateDaemon]:
    """A daemon of the test's own, which all runtimes find."""
    with private_daemon(name="services") as daemon:
        monkeypatch.setenv("RINGFENCE_TARGET", str(daemon.socket))
        yield daemon


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "topology.toml"
    path.write_text(EDGE)
    return path


@contextmanager
def running(file: Path, service: str, program: str) -> Iterator[subprocess.Popen[str]]:
    """A service as a process of its own, from when it is there."""
    command = [sys.executable, "-c", SERVICE + program + READY, str(file), service]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:  # type: ignore[call-overload]
        try:
            assert process.stdout.readline() == "ready\n", process.stderr.read()
            yield process
        finally:
            process.kill()


def leave(process: subprocess.Popen[str], number: signal.Signals) -> str:
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    return out


def test_a_chain_of_services_over_five_processes(own: PrivateDaemon, file: Path) -> None:
    """The edge mode. The operator's node offers nothing, and reads what its daemon has."""
    alerts: queue.Queue[Alert] = queue.Queue()
    with (
        running(file, "preprocessor", PREPROCESSOR) as preprocessor,
        running(file, "aggregator", AGGREGATOR) as aggregator,
        running(file, "alerter", ALERTER) as alerter,
        rf.Runtime(topology_path=file, service_name="operator") as operator,
        rf.Runtime(topology_path=file, service_name="collector") as collector,
    ):
        operator.subscribe(Alert, alerts.put)
        assert repr(operator) == "<ringfence.Runtime on the daemon's bus, 1 subscriptions>"
        for number in range(5):
            collector.publish(Raw(number))
        assert alerts.get(timeout=30) == Alert(20)
        assert leave(preprocessor, signal.SIGTERM) == "preprocessor left True 1\n"
        assert leave(aggregator, signal.SIGINT) == "aggregator left True 1\n"
        assert leave(alerter, signal.SIGTERM) == "alerter left True 1\n"
    with own.connect() as client:
        eventually(lambda: client.stats().sessions == 1, "all sessions have ended")


def test_messages_arrive_in_order_and_once(own: PrivateDaemon, file: Path) -> None:
    """Also where publisher and subscriber are in one process: there is one way, not two."""
    here: queue.Queue[Clean] = queue.Queue()
    with (
        running(file, "preprocessor", PREPROCESSOR),
        rf.Runtime(topology_path=file, service_name="collector") as collector,
        rf.Runtime(topology_path=file, service_name="aggregator") as aggregator,
    ):
        raw: queue.Queue[Raw] = queue.Queue()
        collector.subscribe(Raw, raw.put)
        subscription = aggregator.subscribe(Clean, here.put)
        places = [collector.publish(Raw(number)) for number in range(1000)]
        assert [here.get(timeout=30).number for _ in range(1000)] == list(range(0, 2000, 2))
        assert [raw.get(timeout=30).number for _ in range(1000)] == list(range(1000))
        assert [sequence for _, sequence in places] == list(range(1000))
        assert len({epoch for epoch, _ in places}) == 1
        assert here.empty() and raw.empty() and subscription.missed == 0


def test_long_messages_too(own: PrivateDaemon, file: Path) -> None:
    """More of them than a topic has blocks: each block is free again once its message was handed over."""
    pictures: queue.Queue[Picture] = queue.Queue()
    with (
        rf.Runtime(topology_path=file, service_name="collector") as collector,
        rf.Runtime(topology_path=file, service_name="aggregator") as aggregator,
    ):
        aggregator.subscribe(Picture, pictures.put)
        for number in range(40):
            sent = Picture(bytes([number]) * 60_000, bytes([255 - number]) * 60_000)
            collector.publish(sent)
            assert pictures.get(timeout=30) == sent


def test_a_killed_service_takes_nobody_along(own: PrivateDaemon, file: Path) -> None:
    cleaned: queue.Queue[Clean] = queue.Queue()
    with (
        rf.Runtime(topology_path=file, service_name="collector") as collector,
        rf.Runtime(topology_path=file, service_name="aggregator") as aggregator,
    ):
        aggregator.subscribe(Clean, cleaned.put)
        for number in range(2):
            with running(file, "preprocessor", PREPROCESSOR) as process:
                collector.publish(Raw(number))
                assert cleaned.get(timeout=30) == Clean(2 * number)
                process.kill()
                process.wait(30)
            collector.publish(Raw(99))  # nobody listens, and that is no error
            aggregator.publish(Clean(7))
            assert cleaned.get(timeout=30) == Clean(7)


def test_subscriptions_outlive_a_killed_daemon(own: PrivateDaemon, file: Path) -> None:
    inbox: queue.Queue[Raw] = queue.Queue()
    with (
        rf.Runtime(topology_path=file, service_name="collector") as collector,
        rf.Runtime(topology_path=file, service_name="aggregator") as aggregator,
    ):
        subscription = aggregator.subscribe(Raw, inbox.put)
        collector.publish(Raw(1))
        assert inbox.get(timeout=30) == Raw(1)
        own.kill()
        own.start()

        def publish() -> bool:
            try:
                collector.publish(Raw(2))
            except rf.DaemonRestarted:
                return False
            return True

        eventually(publish, "the next daemon takes messages")
        assert inbox.get(timeout=30) == Raw(2)
        assert subscription.errors == 0


def test_a_runtime_closes_while_its_daemon_is_gone(own: PrivateDaemon, file: Path) -> None:
    runtime = rf.Runtime(topology_path=file, service_name="collector")
    runtime.subscribe(Raw, print)
    own.kill()
    runtime.close()
    own.start()
    assert runtime.closed


def test_who_is_too_slow_counts_exactly_what_it_misses(own: PrivateDaemon, file: Path) -> None:
    go: queue.Queue[None] = queue.Queue()
    seen: list[int] = []

    def slow(raw: Raw) -> None:
        seen.append(raw.number)
        if raw.number == 0:
            go.get(timeout=30)

    with rf.Runtime(topology_path=file, service_name="collector") as runtime:
        subscription = runtime.subscribe(Raw, slow)
        runtime.publish(Raw(0))
        eventually(lambda: seen == [0], "it comes to that")
        for number in range(1, 6000):
            runtime.publish(Raw(number))
        go.put(None)
        eventually(lambda: subscription.received + subscription.missed == 6000, "all is accounted for")
        assert subscription.missed > 0 and seen == sorted(seen) and seen[-1] == 5999


def test_one_daemon_has_one_schema(own: PrivateDaemon, file: Path) -> None:
    program = """
import sys
import ringfence as rf
try:
    rf.Runtime(sys.argv[2], sys.argv[1], "alerter")
except ValueError as error:
    print(error)
"""
    with rf.Runtime(bytes(32), topology_path=file, service_name="collector"):
        same = run_python(program, str(file), "00" * 32, RINGFENCE_TARGET=str(own.socket))
        assert (same.stdout, same.stderr) == ("", "")
        other = run_python(program, str(file), "01" * 32, RINGFENCE_TARGET=str(own.socket))
    assert other.stdout.startswith("schema digest mismatch: the daemon's bus has 0000")
    assert "given was 0101" in other.stdout and "ringfence codegen" in other.stdout


def test_without_a_daemon_it_says_so(file: Path, tmp_path: Path) -> None:
    nowhere = {"RINGFENCE_TARGET": str(tmp_path / "no.sock")}
    program = "import sys, ringfence as rf; rf.Runtime(topology_path=sys.argv[1], service_name='operator')"
    result = run_python(program, str(file), **nowhere)
    assert result.returncode == 1 and "DaemonUnavailable" in result.stderr


def test_the_second_package_is_not_needed(own: PrivateDaemon, file: Path) -> None:
    program = """
import queue, sys
sys.modules["ringfence_inproc"] = None
""" + SERVICE + """
inbox = queue.Queue()
runtime.subscribe(Raw, inbox.put)
runtime.publish(Raw(7))
print(inbox.get(timeout=20))
runtime.close()
"""
    result = run_python(program, str(file), "operator", RINGFENCE_TARGET=str(own.socket))
    assert (result.stdout, result.stderr) == ("Raw(number=7)\n", "")


def test_a_bus_by_its_earlier_names(own: PrivateDaemon, file: Path) -> None:
    with (
        running(file, "preprocessor", PREPROCESSOR),
        MessageBus.from_topology(file, "collector", bytes(32)) as bus,
    ):
        cleaned = bus.subscriber(Clean)
        bus.publisher_to("preprocessor", Raw).publish(Raw(21))
        assert cleaned.recv(timeout=30) == Clean(42)


def test_a_transport_by_its_earlier_name(own: PrivateDaemon, file: Path) -> None:
    """Its path is the daemon's socket; nothing is said of services."""
    transport = UnixTransport(own.socket, bytes(32))
    with pytest.raises(RuntimeError, match=r"call connect\(\) first"):
        transport.publisher(Raw)
    transport.connect()
    with running(file, "preprocessor", PREPROCESSOR):
        cleaned = transport.subscriber(Clean)
        transport.publisher(Raw).publish(Raw(4))
        assert cleaned.recv(timeout=30) == Clean(8)
    with pytest.raises(ValueError, match="schema digest mismatch: the daemon's bus"):
        UnixTransport(own.socket, b"\1" * 32).connect()
    transport.close()
    transport.close()


def test_the_daemon_can_be_named(
    own: PrivateDaemon, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox: queue.Queue[Raw] = queue.Queue()
    with rf.Runtime(topology_path=file, service_name="collector") as found:
        monkeypatch.setenv("RINGFENCE_TARGET", "inproc:")
        with (
            rf.Runtime(topology_path=file, service_name="collector", target=own.socket) as named,
            rf.Runtime(target=str(own.socket)) as bare,
        ):
            bare.subscribe(Raw, inbox.put)
            for number, runtime in enumerate((found, named, bare)):
                runtime.publish(Raw(number))
            assert [inbox.get(timeout=30).number for _ in range(3)] == [0, 1, 2]
        with pytest.raises(RuntimeError, match="inproc: has no processes in it"):
            rf.Runtime(topology_path=file, service_name="collector")
    file.write_text('nodes = [{name = "a", services = ["s"]}]')
    with pytest.raises(ValueError, match="s meets nobody in a daemon: leave target out"):
        rf.Runtime(topology_path=file, service_name="s", target=own.socket)


@pytest.fixture(scope="module")
def service() -> Path:
    """The example of the Rust client, which `make build` builds."""
    built = [ROOT / "target" / build / "examples" / "service" for build in ("release", "debug")]
    found = [path for path in built if os.access(path, os.X_OK)]
    if not found:
        pytest.skip("not built: cargo build -p ringfence --example service")
    return max(found, key=lambda path: path.stat().st_mtime)


def test_services_in_rust_and_python_meet(own: PrivateDaemon, file: Path, service: Path) -> None:
    """By the type of their messages: nobody names a topic."""
    texts: queue.Queue[Message] = queue.Queue()
    counter, text = generated.CounterUpdate, generated.TextMessage
    with (
        rf.Runtime(generated.SCHEMA_DIGEST, file, "collector") as collector,
        subprocess.Popen([service, file, "aggregator"], stdout=subprocess.PIPE) as process,
    ):
        try:
            assert process.stdout is not None and process.stdout.readline() == b"ready\n"
            collector.subscribe(text, texts.put)
            for value, delta in ((100, 5), (7, -8), (7, 0)):
                collector.publish(counter(1, value, delta))
            got = [texts.get(timeout=30) for _ in range(3)]
            assert process.wait(30) == 0
        finally:
            process.kill()
    said = [(message.sender, message.content) for message in got]
    assert said == [("aggregator", f"1 is {n}") for n in (105, -1, 7)]


def test_a_forked_child_is_told(own: PrivateDaemon, file: Path) -> None:
    with rf.Runtime(topology_path=file, service_name="collector") as runtime:
        runtime.subscribe(Raw, print)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            text = b"nothing"
            try:
                runtime.publish(Raw(1))
            except rf.ForkedSession as error:
                text = str(error).encode()
            runtime.close()  # ends nothing of the parent's
            os.write(writing, text)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as said:
            assert "make one in the child" in said.read()
        assert os.waitpid(child, 0)[1] == 0
        assert runtime.publish(Raw(2))[1] == 0
