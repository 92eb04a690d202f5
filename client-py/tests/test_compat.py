"""Programs of an earlier system, with nothing but their imports changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from documents import ROOT

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
