"""Random messages, across: Rust encodes and Python decodes, and the other way round."""

from __future__ import annotations

import os
import random
import subprocess
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest

from documents import ROOT
from ringfence.messages import Timestamp
from test_messages import CLASSES, VECTORS, generated

SEED = 20
# What a message's repr names.
NAMES = {"UUID": UUID, "Decimal": Decimal, "Timestamp": Timestamp, "inf": float("inf")}
BY_ID = {cls.TYPE_ID: cls for cls in CLASSES}


@pytest.fixture(scope="module")
def peer() -> Path:
    """The example of the Rust client, which `make build` builds."""
    built = [ROOT / "target" / build / "examples" / "message_peer" for build in ("release", "debug")]
    found = [path for path in built if os.access(path, os.X_OK)]
    if not found:
        pytest.skip("not built: cargo build -p ringfence --example message_peer")
    # The one that was built last.
    return max(found, key=lambda path: path.stat().st_mtime)


def run(peer: Path, *arguments: str, lines: list[str] | None = None) -> list[str]:
    told = subprocess.run(
        [peer, *arguments],
        input="".join(f"{line}\n" for line in lines or []),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (told.returncode, told.stderr) == (0, "")
    return told.stdout.splitlines()


def test_python_reads_what_rust_writes(peer: Path) -> None:
    lines = run(peer, "random", str(SEED), "200")
    assert len(lines) == 1200
    for line in lines:
        number, text = line.split(" ")
        cls, data = BY_ID[int(number)], bytes.fromhex(text)
        got = cls.from_bytes(data)
        assert got.to_bytes() == data, got
        # Made anew from its values, not from its bytes.
        assert eval(repr(got), vars(generated) | NAMES).to_bytes() == data


def test_rust_reads_what_python_writes_and_both_refuse_the_same(peer: Path) -> None:
    """Good messages with some bytes changed: what one side takes, the other takes alike."""
    chance = random.Random(SEED)
    lines: list[str] = []
    mine: list[str | None] = []
    for row in VECTORS["good"] * 60:
        cls = getattr(generated, row["message"])
        data = bytearray(bytes.fromhex(row["bytes"]))
        for _ in range(chance.choice([0, 1, 1, 1, 2, 5]) if data else 0):
            data[chance.randrange(len(data))] = chance.choice([0, 1, 2, 0x80, 0xFF, 0x61])
        lines.append(f"{cls.TYPE_ID} {data.hex()}")
        try:
            got = cls.from_bytes(data)
        except ValueError:
            mine.append(None)
        else:
            # Python's floats make a signalling NaN of an f32 a quiet one.
            mine.append("nan" if "nan" in repr(got) else got.to_bytes().hex())
    theirs = run(peer, "echo", lines=lines)
    refused = 0
    for line, here, there in zip(lines, mine, theirs, strict=True):
        if here is None:
            refused += 1
            assert there.startswith("error: "), line
        else:
            assert there == here or here == "nan", line
    assert 200 < refused < len(lines) - 200
