"""Topologies from Python, and runtimes that belong to a service of one."""

from __future__ import annotations

import queue
from pathlib import Path

import pytest

import ringfence as rf
from conftest import run_python
from ringfence import topology
from ringfence.messages import U64, Message, message

MONOLITHIC = """
[[nodes]]
name = "main"
services = ["rust-strategy", "python-ml-model", "rust-executor"]
"""

HYBRID = """
[[nodes]]
name = "ml-node"
services = ["python-ml-model"]
endpoint.kind = "tcp"
endpoint.addr = "[::]:9091"

[[nodes]]
name = "strategy-node"
services = ["rust-strategy"]
host = "2001:db8::7"
port = 9092
"""

TWO = """
socket_dir = "/tmp/sockets"
nodes = [{name = "a", services = ["one"]}, {name = "b", services = ["two"]}]
"""

KIND_TWICE = """
[[nodes]]
name = "python-worker"
services = ["ml-model"]
endpoint.kind = "unix"
endpoint.kind = "tcp"
endpoint.addr = "0.0.0.0:9091"
"""


@message(type_id=2301)
class Note(Message):
    number: U64


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "topology.toml"


def test_what_stands_in_it(file: Path) -> None:
    file.write_text(HYBRID)
    known = topology.load(file)
    first, second = known.nodes
    assert first == topology.Node("ml-node", "tcp", None, None, ("python-ml-model",))
    assert second == topology.Node("strategy-node", "none", "2001:db8::7", 9092, ("rust-strategy",))
    assert known.services == ("python-ml-model", "rust-strategy")
    assert known.node_of("rust-strategy") == second
    assert known.warnings == ()
    assert repr(known) == f"<ringfence.topology.Topology {file}, 2 services>"


def test_ways(file: Path) -> None:
    file.write_text(HYBRID)
    way = topology.load(str(file)).route("python-ml-model", "rust-strategy")
    assert way == topology.Route("tcp", None, "2001:db8::7", 9092)
    assert str(way) == "tcp [2001:db8::7]:9092"
    file.write_text(TWO)
    way = topology.load(file).route("one", "two")
    assert way == topology.Route("unix", "/tmp/sockets/b.sock", None, None)
    assert str(way) == "unix /tmp/sockets/b.sock"
    assert str(topology.load(file).route("two", "two")) == "local"
    file.write_text(TWO.replace('services = ["two"]', 'services = ["two"], endpoint.kind = "shm"'))
    assert topology.load(file).route("one", "two").kind == "shm"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TWO.replace('"b"', '"a"'), "Duplicate node name: a"),
        (TWO.replace('"two"', '"one"'), "Service one appears in multiple nodes: a and b"),
        (
            HYBRID.replace("port = 9092", ""),
            "Node strategy-node has remote host '2001:db8::7' but no port specified",
        ),
        (KIND_TWICE, "line 6, column 10: duplicate key"),
        (KIND_TWICE.replace('endpoint.kind = "tcp"', "").replace("unix", "udp"), "none, shm, unix, tcp"),
        ("[[node]]", "did you mean `nodes`"),
    ],
)
def test_what_is_wrong_is_a_runtime_error_with_file_and_reason(
    file: Path, text: str, said: str
) -> None:
    file.write_text(text)
    with pytest.raises(RuntimeError) as caught:
        topology.load(file)
    assert str(caught.value).startswith(f"{file}: ") and said in str(caught.value)
    with pytest.raises(RuntimeError) as again:
        rf.Runtime(topology_path=file, service_name="one")
    assert str(again.value) == str(caught.value)


def test_a_service_that_is_nowhere_is_told_with_those_there_are(file: Path) -> None:
    file.write_text(MONOLITHIC)
    with pytest.raises(RuntimeError, match="did you mean rust-strategy.*there are python-ml-model, rust"):
        rf.Runtime(topology_path=file, service_name="rust-strateg")
    with pytest.raises(RuntimeError, match="Service x is on no node of the topology; there are python"):
        topology.load(file).route("x", "rust-strategy")
    with pytest.raises(RuntimeError, match=r"cannot read .*nowhere\.toml.*check the path"):
        rf.Runtime(topology_path=file.with_name("nowhere.toml"), service_name="x")


def test_services_of_one_node_share_the_bus_of_the_process(file: Path) -> None:
    file.write_text(MONOLITHIC)
    inbox: queue.Queue[Note] = queue.Queue()
    with (
        rf.Runtime(topology_path=file, service_name="rust-strategy") as one,
        rf.Runtime(topology_path=file, service_name="python-ml-model") as other,
        rf.Runtime() as bare,
    ):
        other.subscribe(Note, inbox.put)
        one.publish(Note(1))
        bare.publish(Note(2))
        assert [inbox.get(timeout=20) for _ in range(2)] == [Note(1), Note(2)]
        assert repr(one) == "<ringfence.Runtime on this process's bus, 0 subscriptions>"


@pytest.mark.parametrize(
    ("text", "service", "said"),
    [
        (TWO, "one", "one reaches two by unix /tmp/sockets/b.sock: that needs the bridge"),
        (HYBRID, "python-ml-model", r"by tcp \[2001:db8::7\]:9092: that needs the bridge"),
        (HYBRID, "rust-strategy", "Node ml-node has no host, and strategy-node is on another machine"),
    ],
)
def test_what_needs_the_bridge_says_so(file: Path, text: str, service: str, said: str) -> None:
    file.write_text(text)
    with pytest.raises(RuntimeError, match=said):
        rf.Runtime(topology_path=file, service_name=service)


def test_without_the_second_package_a_topology_can_be_read(file: Path) -> None:
    """And the bus says what to install."""
    file.write_text(MONOLITHIC)
    program = """
import sys
sys.modules["ringfence_inproc"] = None
import ringfence as rf
assert rf.topology.load(sys.argv[1]).services[0] == "python-ml-model"
try:
    rf.Runtime(topology_path=sys.argv[1], service_name="rust-strategy")
except ImportError as error:
    print(error)
"""
    result = run_python(program, str(file))
    assert (result.stdout, result.stderr) == (
        "the bus of this process is in a second package: pip install 'ringfence[inproc]'\n",
        "",
    )
