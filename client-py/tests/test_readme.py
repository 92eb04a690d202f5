"""What the README shows is what runs: each fenced example is executed, or is a file that is."""

from __future__ import annotations

import os
import re
import subprocess

from conftest import run_python
from documents import ROOT, blocks
from ringfence.testing import PrivateDaemon

README = "README.md"


def code(path: str) -> str:
    """A file without its own documentation, as the README shows it."""
    lines = (ROOT / path).read_text().splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("//!")).lstrip("\n")


def test_the_python_example_runs(ringfence_daemon: PrivateDaemon) -> None:
    example, _ = blocks(README, "python")
    result = run_python(example, RINGFENCE_TARGET=str(ringfence_daemon.socket))
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("[1] [")
    assert len(example.strip().splitlines()) <= 10


def test_the_example_of_topics_runs(ringfence_daemon: PrivateDaemon) -> None:
    _, example = blocks(README, "python")
    result = run_python(example, RINGFENCE_TARGET=str(ringfence_daemon.socket))
    assert (result.returncode, result.stderr) == (0, "")


def test_the_rust_example_is_the_file_and_runs(ringfence_daemon: PrivateDaemon) -> None:
    hello, _ = blocks(README, "rust")
    assert hello == code("client-rs/examples/hello.rs")
    program = ringfence_daemon.binary.parent / "examples" / "hello"
    env = os.environ | {"RINGFENCE_TARGET": str(ringfence_daemon.socket)}
    result = subprocess.run([program], env=env, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("[1] [")


def test_the_engine_of_ones_own_is_the_file() -> None:
    """`test_own_engine.py` runs it."""
    _, engine = blocks(README, "rust")
    assert engine == code("daemon/examples/greeterd.rs")
    assert len(engine.strip().splitlines()) <= 40


def test_the_shell_blocks_name_what_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", "\n".join(blocks(README, "text")), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
