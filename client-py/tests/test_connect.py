"""Targets, autostart, and what is said when nobody answers."""

from __future__ import annotations

import fcntl
import os
import pickle
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import ringfence as rf
from conftest import eventually, run_python
from ringfence.testing import PrivateDaemon

NOWHERE = "/nonexistent/ringfence/control.sock"


def default_is_free() -> bool:
    """Does no daemon of this user run as `default`? Its name is one for all runtime folders."""
    try:
        with open(f"/dev/shm/ringfence.{os.getuid()}.default.lock", "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True
    except BlockingIOError:
        return False
    return True


@pytest.fixture
def home() -> Iterator[dict[str, str]]:
    """The environment of a user of another machine, as it were."""
    program = rf.find_daemon()
    assert program is not None, "build the daemon first: make build"
    # Short, because the path of a socket may have 107 bytes only.
    with tempfile.TemporaryDirectory(prefix="rf-") as folder:
        yield {"XDG_RUNTIME_DIR": folder, "RINGFENCE_BIN": str(program)}


@pytest.fixture
def no_default() -> None:
    """This user has no daemon yet."""
    deadline = time.monotonic() + 10
    while not default_is_free():
        if time.monotonic() > deadline:
            pytest.skip("a daemon of this user runs as `default`; this test would meet it")
        time.sleep(0.05)


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


def test_a_closed_client_says_so(daemon: PrivateDaemon) -> None:
    for client in (daemon.connect(), rf.connect("inproc:")):
        assert "closed" not in repr(client)
        client.close()
        assert repr(client) == "<ringfence.Client, closed>"


def test_a_daemon_in_process_is_a_contradiction() -> None:
    with pytest.raises(ValueError, match="leave one of them out"):
        rf.connect("inproc:", daemon="greeterd")


def test_a_private_daemon_says_what_it_is(daemon: PrivateDaemon) -> None:
    assert repr(daemon) == (
        f"<ringfence.testing.PrivateDaemon {daemon.instance!r}, pid {daemon.pid}>"
    )


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
import logging, os, sys
logging.basicConfig(level=logging.INFO, format="%(name)s %(levelname)s %(message)s")
import ringfence as rf
named = sys.argv[1:]
with rf.connect(*named, daemon=os.environ["RINGFENCE_BIN"] if named else None) as client:
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


def run_as_default(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a script that starts `default`; again, if another test of this user was there first."""
    for _ in range(3):
        result = run_python(script, **environment)
        if result.returncode == 0 or default_is_free():
            break
        eventually(default_is_free, "the other daemon leaves")
    return result


@pytest.mark.usefixtures("no_default")
def test_autostart_starts_one_daemon_and_it_leaves(home: dict[str, str]) -> None:
    result = run_as_default(AUTOSTART, **home)
    assert result.returncode == 0, result.stderr
    pid, autostarted, instance = result.stdout.split()
    assert autostarted == "True"
    [line] = result.stderr.splitlines()
    assert line.startswith("ringfence INFO started a private daemon: ")
    assert f"instance {instance}, pid {pid}" in line
    eventually(lambda: gone(int(pid)), "the private daemon leaves after its last client")
    left = Path("/dev/shm").glob(f"ringfence.*.{instance}.*")
    assert {path.suffix for path in left} <= {".lock"}


@pytest.fixture
def instance() -> Iterator[str]:
    """A name that nobody else uses; whoever bore it has left in the end."""
    name = f"race-{secrets.token_hex(6)}"
    yield name
    eventually(lambda: not living(name), "the private daemon leaves")
    for left in Path("/dev/shm").glob(f"ringfence.*.{name}.*"):
        assert left.suffix == ".lock"
        left.unlink()
    # Where a daemon without an XDG_RUNTIME_DIR was.
    with suppress(FileNotFoundError):
        Path(f"/tmp/ringfence-{os.getuid()}", name).rmdir()


def living(instance: str) -> bool:
    """Does a daemon hold the lock of this name?"""
    try:
        with open(f"/dev/shm/ringfence.{os.getuid()}.{instance}.lock", "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


@contextmanager
def autostarting(
    instance: str, home: dict[str, str], count: int = 1
) -> Iterator[list[subprocess.Popen[str]]]:
    """So many processes that connect at the same moment, and stay until they read a line."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("RINGFENCE_")}
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", AUTOSTART, instance],
            env=clean | home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]
    try:
        yield racers
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()


def first_words(racer: subprocess.Popen[str]) -> list[str]:
    assert racer.stdout is not None
    words = racer.stdout.readline().split()
    assert words, racer.communicate()[1]
    return words


@pytest.mark.parametrize("count", [2, 4, 8])
def test_racers_share_one_daemon(home: dict[str, str], instance: str, count: int) -> None:
    with autostarting(instance, home, count) as racers:
        lines = [first_words(racer) for racer in racers]
        errors = [racer.communicate("\n", timeout=60)[1] for racer in racers]
    assert len({pid for pid, _, _ in lines}) == 1
    assert [started for _, started, _ in lines].count("True") == 1
    assert sum("started a private daemon" in text for text in errors) == 1
    eventually(lambda: gone(int(lines[0][0])), "the shared daemon leaves")


def test_it_leaves_two_seconds_after_its_last_client(home: dict[str, str], instance: str) -> None:
    with autostarting(instance, home, 2) as (first, second):
        pid = int(first_words(first)[0])
        assert int(first_words(second)[0]) == pid
        first.communicate("\n", timeout=60)
        # The other one is still connected, idle.
        end = time.monotonic() + 3
        while time.monotonic() < end:
            assert not gone(pid)
            time.sleep(0.05)
        left = time.monotonic()
        second.communicate("\n", timeout=60)
        eventually(lambda: gone(pid), "it leaves")
        assert time.monotonic() - left >= 1.5


def test_a_private_daemon_that_died_is_started_again(
    home: dict[str, str], instance: str
) -> None:
    script = """
import os, signal, sys
import ringfence as rf
with rf.connect(sys.argv[1], daemon=os.environ["RINGFENCE_BIN"]) as client:
    for _ in range(3):
        before = client.daemon.pid
        os.kill(before, signal.SIGKILL)
        assert client.echo(b"again") == b"again"
        assert client.daemon.pid != before and client.daemon.private
"""
    result = run_python(script, instance, **home)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("runtime", [None, "", "relative/folder"])
def test_without_a_usable_xdg_runtime_dir(
    home: dict[str, str], instance: str, runtime: str | None
) -> None:
    """Then it is /tmp/ringfence-<uid>; a relative path is none, says the XDG specification."""
    script = f"""
import os, sys
if {runtime!r} is None:
    del os.environ["XDG_RUNTIME_DIR"]
{AUTOSTART}
    print(daemon.socket)
"""
    surroundings = home if runtime is None else home | {"XDG_RUNTIME_DIR": runtime}
    result = run_python(script, instance, **surroundings)
    assert result.returncode == 0, result.stderr
    folder = Path(f"/tmp/ringfence-{os.getuid()}")
    assert result.stdout.splitlines()[1] == str(folder / instance / "control.sock")
    eventually(lambda: not (folder / instance / "control.sock").exists(), "its socket goes")
    assert folder.stat().st_mode & 0o022 == 0, "others may not put a socket there"


def test_a_runtime_dir_that_cannot_be_written(home: dict[str, str], instance: str) -> None:
    # Not even root makes a folder there.
    result = run_python(AUTOSTART, instance, **home | {"XDG_RUNTIME_DIR": "/proc/sys"})
    last = result.stderr.splitlines()[-1]
    assert "DaemonUnavailable" in last and "run it by hand to see why" in last


@pytest.mark.usefixtures("no_default")
def test_a_target_in_the_environment_starts_nothing(home: dict[str, str]) -> None:
    """A daemon that was named is not replaced by an empty one."""
    with tempfile.TemporaryDirectory(prefix="rf-") as folder:
        for target in ("no-such-instance", f"{folder}/control.sock"):
            result = run_python(
                "import ringfence as rf; rf.connect()", RINGFENCE_TARGET=target, **home
            )
            assert "DaemonUnavailable" in result.stderr and target in result.stderr
        empty = run_as_default(AUTOSTART, RINGFENCE_TARGET="", **home)
        assert empty.returncode == 0, empty.stderr
        pid = int(empty.stdout.split()[0])
    eventually(lambda: gone(pid), "the private daemon leaves")


@pytest.mark.usefixtures("no_default")
def test_a_system_daemon_that_is_away_is_not_replaced(home: dict[str, str]) -> None:
    """Its socket is there though nobody listens: it is restarting."""
    own_run = "mount -t tmpfs none /run && mkdir -p /run/ringfence/default && "
    own_run += ": > /run/ringfence/default/control.sock"
    if subprocess.run(["unshare", "-m", "sh", "-c", own_run], capture_output=True).returncode:
        pytest.skip("this user may not have a /run of its own")
    script = "import ringfence as rf; rf.connect()"
    clean = {k: v for k, v in os.environ.items() if not k.startswith("RINGFENCE_")}
    result = subprocess.run(
        ["unshare", "-m", "sh", "-c", f'{own_run} && exec "$0" -c "$1"', sys.executable, script],
        env=clean | home,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "DaemonUnavailable" in result.stderr
    assert "/run/ringfence/default/control.sock" in result.stderr
    assert default_is_free()


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
