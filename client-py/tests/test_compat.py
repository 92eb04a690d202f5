"""Programs of an earlier system, with nothing but their imports changed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from documents import ROOT
from ringfence.compat import mycelium, mycelium_protocol

CONTRACTS = """
schema: {id: 0x4D594345, version: 1, min_compatible: 1}
tag_ranges: {core: 1-999, app: 1000-49999, experimental: 50000-65535}
messages:
  TextMessage:
    tlv_type: 1001
    domain: Core
    description: Text from somebody.
    fields:
      sender: {type: String, description: Who., validation: [{max_length: 32}]}
      content: {type: String, description: What., validation: [{max_length: 256}]}
      timestamp: {type: u64, description: When.}
  CounterUpdate:
    tlv_type: 1002
    domain: Core
    description: A counter has moved.
    fields: {counter_id: u64, value: i32, delta: i32}
  TradeSignal:
    tlv_type: 1020
    domain: Trading
    description: Buy or sell.
    fields:
      symbol: {type: String, description: Of what., validation: [{max_length: 16}, not_empty]}
      action: {type: String, description: Which., validation: [{max_length: 8}, not_empty]}
"""

QUICK_START = """
import queue
from ringfence.compat.mycelium_native import Runtime
from mycelium_protocol import SCHEMA_DIGEST
from mycelium_protocol.messages import CounterUpdate, TextMessage, TradeSignal

# Create FFI runtime (uses local MessageBus)
runtime = Runtime(schema_digest=SCHEMA_DIGEST)

# Subscribe with callback
seen = queue.Queue()
def on_trade(msg):
    print(f"Trade: {msg.symbol} {msg.action}")
    seen.put(msg)

subscription = runtime.subscribe(TradeSignal, on_trade)

# Publish directly to the bus
runtime.publish(TradeSignal(symbol="BTC", action="buy"))
assert seen.get(timeout=10) == TradeSignal("BTC", "buy")

# The layouts are those of the original.
assert len(TextMessage("Ada", "hello", 7).to_bytes()) == 312
assert len(CounterUpdate(1, 100, 5).to_bytes()) == 16

# Cleanup
subscription.close()
runtime.close()
"""

MISMATCH = """
from ringfence.compat.mycelium_native import Runtime
from mycelium_protocol import SCHEMA_DIGEST
Runtime(schema_digest=SCHEMA_DIGEST)
try:
    Runtime(schema_digest=bytes(32))
except ValueError as error:
    print(error)
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder with the package that their generator made, made by ours."""
    (tmp_path / "contracts.yaml").write_text(CONTRACTS)
    folder = tmp_path / "mycelium_protocol"
    folder.mkdir()
    (folder / "__init__.py").write_text("from .messages import SCHEMA_DIGEST as SCHEMA_DIGEST\n")
    builds = [ROOT / "target" / build / "ringfence" for build in ("release", "debug")]
    program = next((build for build in builds if build.exists()), None)
    if program is None:
        pytest.skip("not built: cargo build -p ringfence-cli")
    command = [program, "codegen", "contracts.yaml", "--lang", "python", "--out"]
    subprocess.run([*command, folder / "messages.py"], cwd=tmp_path, check=True, timeout=30)
    return tmp_path


def run(program: str, folder: Path) -> str:
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def test_the_quick_start_of_mycelium_runs(package: Path) -> None:
    """In the original its import of SCHEMA_DIGEST failed (defect 13), and nothing was delivered from
    Python to Python (defect 12)."""
    assert run(QUICK_START, package) == "Trade: BTC buy\n"


def test_another_digest_is_refused_with_the_command_that_helps(package: Path) -> None:
    said = run(MISMATCH, package)
    assert said.startswith("schema digest mismatch") and "ringfence codegen contracts.yaml" in said

BUS = """
import asyncio, queue
from ringfence.compat.mycelium import MessageBus
from ringfence.compat.mycelium_protocol import SCHEMA_DIGEST
from mycelium_protocol.messages import CounterUpdate, TradeSignal

with MessageBus.from_topology("topology.toml", "strategy", SCHEMA_DIGEST) as bus:
    trades = bus.subscriber(TradeSignal)
    counters = bus.subscriber(CounterUpdate)
    publisher = bus.publisher_to("executor", TradeSignal)
    for symbol in ("BTC", "ETH", "SOL"):
        publisher.publish(TradeSignal(symbol, "buy"))
    assert trades.recv(timeout=20).symbol == "BTC"
    assert next(iter(trades)).symbol == "ETH"
    assert asyncio.run(trades.recv_async()).symbol == "SOL"
    assert trades.message_cls is publisher.message_cls is TradeSignal
    for receive in (counters.recv_nowait, lambda: counters.recv(timeout=0.001)):
        try:
            receive()
        except queue.Empty:
            print("empty")
    for mistake in (
        lambda: publisher.publish(CounterUpdate(1, 100, 5)),
        lambda: bus.publisher_to("executer", TradeSignal),
        lambda: MessageBus.from_topology("topology.toml", "nobody", SCHEMA_DIGEST),
    ):
        try:
            mistake()
        except (TypeError, RuntimeError) as error:
            print(type(error).__name__, error)
    trades.close()
try:
    bus.subscriber(TradeSignal)
except RuntimeError as error:
    print(error)
"""


def test_a_bus_of_a_topology(package: Path) -> None:
    """In the original nothing of this was for services of one process."""
    file = package / "topology.toml"
    file.write_text('nodes = [{name = "main", services = ["strategy", "executor"]}]')
    assert run(BUS, package).splitlines() == [
        "empty",
        "empty",
        "TypeError this publisher is for TradeSignal, not for CounterUpdate",
        "RuntimeError Service executer is on no node of the topology; did you mean executor?; there are "
        "executor, strategy",
        "RuntimeError Service nobody is on no node of the topology; there are executor, strategy",
        "the runtime is closed: make another",
    ]


def test_the_digest_is_that_of_the_generated_classes(package: Path, tmp_path: Path) -> None:
    program = """
from ringfence.compat import mycelium_protocol
try:
    print(len(mycelium_protocol.SCHEMA_DIGEST))
except ImportError as error:
    print(error)
"""
    assert run(program, package) == "32\n"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    said = run(program, elsewhere)
    assert said.startswith("SCHEMA_DIGEST is your contract's") and "ringfence codegen" in said
    with pytest.raises(AttributeError, match="no attribute 'SCHEMA'"):
        getattr(mycelium_protocol, "SCHEMA")  # noqa: B009


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: mycelium.TcpTransport("localhost", 9091, bytes(32)), "TcpTransport"),
        (lambda: mycelium.SharedMemoryTransport.create("/x", bytes(32)), "SharedMemoryTransport"),
        (lambda: mycelium.SharedMemoryTransport.open("/x", bytes(32)), "SharedMemoryTransport"),
    ],
)
def test_what_there_is_not_says_what_to_use(make: Callable[[], object], name: str) -> None:
    with pytest.raises(RuntimeError, match=rf"^{name} is not offered: .*MessageBus\.from_topology"):
        make()
