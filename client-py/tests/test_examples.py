"""The examples, the demo and the fixture do what they say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ringfence as rf
from conftest import run_python
from ringfence.testing import PrivateDaemon, private_daemon

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def shm() -> set[str]:
    return {name for name in os.listdir("/dev/shm") if ".demo-" in name}


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
@pytest.mark.parametrize("inproc", [False, True], ids=["daemon", "inproc"])
def test_examples_run(daemon: PrivateDaemon, path: Path, inproc: bool) -> None:
    target = "inproc:" if inproc else str(daemon.socket)
    result = run_python(path.read_text(), RINGFENCE_TARGET=target)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout


@pytest.mark.timeout(300)
def test_the_demo_tells_what_it_does_and_leaves_nothing() -> None:
    before = shm()
    program = rf.find_daemon()
    result = subprocess.run(
        [sys.executable, "-m", "ringfence", "demo"],
        env=os.environ | {"RINGFENCE_BIN": str(program)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert (result.returncode, result.stderr) == (0, ""), result.stdout
    for text in (
        "Started a daemon of our own: process",
        "client.echo(b'hello') came back as b'hello'",
        "20,000 patches",
        "looking at",
        "times the same call in process",
        "Left behind in /dev/shm: nothing.",
    ):
        assert text in result.stdout
    assert shm() <= before


def test_the_version_is_told() -> None:
    result = run_python(
        "import runpy, sys; sys.argv = ['ringfence', 'version']; "
        "runpy.run_module('ringfence', run_name='__main__')",
        RINGFENCE_BIN=str(rf.find_daemon()),
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"ringfence {rf.__version__} (Python 3.")
    assert "ringfenced" in result.stdout


def test_the_fixture_gives_a_daemon_of_its_own(
    ringfence_daemon: PrivateDaemon, daemon: PrivateDaemon
) -> None:
    assert ringfence_daemon.pid != daemon.pid
    with ringfence_daemon.connect() as client:
        assert client.stats().sessions == 1


def test_a_daemon_that_does_not_start_is_explained(tmp_path: Path) -> None:
    broken = tmp_path / "brokend"
    broken.write_text("#!/bin/sh\necho it cannot be >&2\nexit 3\n")
    broken.chmod(0o755)
    with pytest.raises(RuntimeError, match=r"left with code 3\s+it cannot be"):
        with private_daemon(broken):
            pass


def test_the_fixture_notices_what_is_left_behind() -> None:
    """The control of every test that uses it."""
    left: Path | None = None
    try:
        with pytest.raises(AssertionError, match="left behind: .*deadbeef.up"):
            with private_daemon() as running:
                name = f"ringfence.{os.getuid()}.{running.instance}.deadbeef.up"
                left = Path("/dev/shm", name)
                left.touch()
        assert not left.exists(), "it was removed after it was noticed"
    finally:
        if left is not None:
            left.unlink(missing_ok=True)
