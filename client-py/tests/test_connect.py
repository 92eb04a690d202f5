"""Targets, autostart, and what is said when nobody answers."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
import tempfile

import pytest

import ringfence as rf
from conftest import eventually, run_python
from ringfence.testing import PrivateDaemon

NOWHERE = "/nonexistent/ringfence/control.sock"


@pytest.fixture
def home() -> Iterator[dict[str, str]]:
    """The environment of a user who has no daemon yet."""
    program = rf.find_daemon()
    assert program is not None, "build the daemon first: make build"
    # Short, because the path of a socket may have 107 bytes only.
    with tempfile.TemporaryDirectory(prefix="rf-") as folder:
        yield {"XDG_RUNTIME_DIR": folder, "RINGFENCE_BIN": str(program)}


def test_by_path_and_as_a_path_object(daemon: PrivateDaemon) -> None:
    for target in (daemon.socket, str(daemon.socket)):
        with rf.connect(target) as client:
            assert client.echo(b"x") == b"x"
            assert client.daemon.instance == daemon.instance
            assert client.daemon.pid == daemon.pid
            assert not client.daemon.autostarted


def test_by_name_and_by_environment(daemon: PrivateDaemon) -> None:
    script = """
import sys, ringfence as rf
print(rf.connect(*sys.argv[1:]).daemon.pid)
"""
    home = {"XDG_RUNTIME_DIR": str(daemon.runtime_dir.parent)}
    (daemon.runtime_dir.parent / "ringfence").symlink_to(daemon.runtime_dir)
    try:
        by_name = run_python(script, daemon.instance, **home)
        by_path = run_python(script, RINGFENCE_TARGET=str(daemon.socket))
        by_variable = run_python(script, RINGFENCE_TARGET=daemon.instance, **home)
    finally:
        (daemon.runtime_dir.parent / "ringfence").unlink()
    for result in (by_name, by_path, by_variable):
        assert (result.stdout.strip(), result.stderr) == (str(daemon.pid), "")


def test_nobody_there_says_what_was_tried() -> None:
    with pytest.raises(ConnectionError, match=NOWHERE) as caught:
        rf.connect(NOWHERE, timeout=0.1)
    assert isinstance(caught.value, rf.DaemonUnavailable)
    assert "ringfenced" in str(caught.value)


def test_a_wrong_target_is_explained() -> None:
    with pytest.raises(ValueError, match="No Spaces"):
        rf.connect("No Spaces")
    with pytest.raises(ValueError, match='it can be "adaptive", "always" or "never"'):
        rf.connect(NOWHERE, spin="often")  # type: ignore[arg-type] # pyright: ignore
    with pytest.raises(FileNotFoundError, match="greeterd"):
        rf.connect(daemon="./no/greeterd")


@pytest.mark.parametrize("spin", ["adaptive", "always", "never"])
def test_every_way_to_wait(daemon: PrivateDaemon, spin: str) -> None:
    with daemon.connect(spin=spin, name="a test") as client:
        assert client.echo_many([b"x"] * 100) == [b"x"] * 100


def test_a_client_closes_itself_behind_a_with(client: rf.Client) -> None:
    assert isinstance(client, rf.Client)
    assert repr(client).startswith("<ringfence.Client ")
    with pytest.raises(TypeError, match="connect in the other process instead"):
        pickle.dumps(client)
    with client as same:
        assert same is client
    with pytest.raises(rf.RingfenceError, match="closed"):
        client.ping()


def test_the_in_process_core_is_this_process() -> None:
    with rf.connect("inproc:") as client:
        assert client.daemon.pid == os.getpid()
        assert client.daemon.inproc and client.daemon.instance is None
        assert isinstance(client, rf.Client) and not isinstance(5, rf.Client)


def test_a_missing_package_says_how_to_get_it() -> None:
    script = """
import sys
sys.modules["ringfence_inproc"] = None
import ringfence
try:
    ringfence.connect("inproc:")
except ImportError as error:
    assert "pip install ringfence[inproc]" in str(error), error
else:
    raise AssertionError("no error")
"""
    result = run_python(script)
    assert (result.returncode, result.stderr) == (0, "")


AUTOSTART = """
import logging, sys
logging.basicConfig(level=logging.INFO, format="%(name)s %(levelname)s %(message)s")
import ringfence as rf
with rf.connect() as client:
    assert client.echo(b"hello") == b"hello"
    daemon = client.daemon
    assert daemon.private
    print(daemon.pid, daemon.autostarted, daemon.instance, flush=True)
    sys.stdin.readline()
"""


def gone(pid: int) -> bool:
    """Has the process ended? A zombie that nobody waits for has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_autostart_starts_one_daemon_and_it_leaves(home: dict[str, str]) -> None:
    result = run_python(AUTOSTART, **home)
    assert result.returncode == 0, result.stderr
    pid, autostarted, instance = result.stdout.split()
    assert autostarted == "True"
    [line] = result.stderr.splitlines()
    assert line.startswith("ringfence INFO started a private daemon: ")
    assert f"instance {instance}, pid {pid}" in line
    eventually(lambda: gone(int(pid)), "the private daemon leaves after its last client")
    left = [n for n in os.listdir("/dev/shm") if f".{instance}." in n and ".lock" not in n]
    assert left == []


def test_two_racers_share_one_daemon(home: dict[str, str]) -> None:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("RINGFENCE_")}
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", AUTOSTART],
            env=clean | home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    try:
        lines = [racer.stdout.readline().split() for racer in racers if racer.stdout]
        errors = [racer.communicate("\n", timeout=60)[1] for racer in racers]
    finally:
        for racer in racers:
            racer.kill()
    assert len({pid for pid, _, _ in lines}) == 1
    assert [started for _, started, _ in lines].count("True") == 1
    assert sum("started a private daemon" in text for text in errors) == 1
    eventually(lambda: gone(int(lines[0][0])), "the shared daemon leaves")


def test_autostart_can_be_forbidden(home: dict[str, str]) -> None:
    script = "import ringfence as rf; rf.connect(**eval({!r}))"
    by_variable = run_python(script.format("{}"), RINGFENCE_AUTOSTART="0", **home)
    assert "DaemonUnavailable" in by_variable.stderr
    assert "RINGFENCE_AUTOSTART=0 forbids" in by_variable.stderr
    by_argument = run_python(script.format("dict(autostart=False)"), **home)
    assert "DaemonUnavailable" in by_argument.stderr
    named = run_python(script.format("dict(target='default')"), **home)
    assert "DaemonUnavailable" in named.stderr


def test_a_daemon_that_cannot_be_found_is_explained() -> None:
    script = """
import ringfence as rf
from ringfence import _connect
_connect.find_daemon = lambda: None
rf.connect()
"""
    with tempfile.TemporaryDirectory(prefix="rf-") as folder:
        result = run_python(script, XDG_RUNTIME_DIR=folder)
    assert "DaemonUnavailable" in result.stderr
    assert "`ringfenced` was not found" in result.stderr


def test_the_binary_is_found_where_it_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = tmp_path / "ringfenced"
    binary.write_text("#!/bin/sh\n")
    binary.chmod(0o755)
    monkeypatch.delenv("RINGFENCE_BIN", raising=False)
    monkeypatch.setenv("PATH", f"/nonexistent:{tmp_path}")
    found = rf.find_daemon()
    assert found is not None and found.name == "ringfenced"
    monkeypatch.setenv("RINGFENCE_BIN", "/elsewhere/ringfenced")
    assert rf.find_daemon() == Path("/elsewhere/ringfenced")


def test_connecting_is_quick_enough_to_be_done_often(daemon: PrivateDaemon) -> None:
    """Not a measurement: a connect that waits for something takes far longer than this."""
    start = time.monotonic()
    for _ in range(50):
        daemon.connect().close()
    assert time.monotonic() - start < 10
