"""A Rust program that embeds CPython and shares one bus with its Python code."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from documents import ROOT

LIBRARY = Path(sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("LDLIBRARY"))
READINGS = 2000


@pytest.fixture(scope="module")
def embed() -> Path:
    """The example, linked with the Python that runs the tests."""
    if shutil.which("cargo") is None:
        pytest.skip("it needs cargo")
    if LIBRARY.suffix != ".so" or not LIBRARY.exists():
        pytest.skip(f"this Python has no shared library to link with: {LIBRARY}")
    command = ["cargo", "build", "--locked", "--offline", "-p", "ringfence-inproc", "--example", "embed"]
    env = os.environ | {"PYO3_PYTHON": sys.executable}
    built = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=850)
    assert built.returncode == 0, built.stderr
    return ROOT / "target" / "debug" / "examples" / "embed"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_rust_and_python_share_one_bus(embed: Path) -> None:
    """From threads of either language to the other, all of it, and an end in order."""
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONHOME": sys.base_prefix,
        "PYTHONPATH": ":".join(path for path in sys.path if path),
        "LD_LIBRARY_PATH": str(LIBRARY.parent),
    }
    done = subprocess.run([embed], env=env, capture_output=True, text=True, timeout=60)
    total = sum(2 * number for number in range(READINGS))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"Rust to Python and back: {total}",
        f"Python to Rust: {total}",
        f"Python received {2 * READINGS}, missed 0, errors 0",
    ]
