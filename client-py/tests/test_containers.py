"""Client and daemon in different containers, as far as the kernel knows any: mount, process and IPC
namespaces of their own, a /dev/shm of its own, and nothing in common but the socket's folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import ringfence as rf
from conftest import eventually
from peer import Peer, peer
from ringfence.testing import PrivateDaemon

# Users of their own too, which needs no right; root can do without, as most containers do.
KINDS = {"userns": ["--map-root-user"]} | ({"plain": []} if os.geteuid() == 0 else {})
# Process 1 stays until its input ends, also where the program ends before.
INSIDE = """
mount -t tmpfs none /dev/shm && mount -t proc none /proc && mount -t tmpfs none /run || exit 77
mkdir -p /run/shared && mount --bind "$SHARED" /run/shared || exit 77
"$@"
cat > /dev/null
"""
# What Docker gives unless it is asked for more.
DOCKER_SHM = "64m"
DAEMON_INSIDE = """
mount -t tmpfs -o size=$SIZE none /dev/shm && mount -t proc none /proc || exit 77
exec "$@"
"""


def apart(kind: str, script: str) -> list[str]:
    """The command of a program in namespaces of its own, less the program."""
    unshare = ["unshare", *KINDS[kind], "--mount", "--pid", "--ipc", "--fork", "--kill-child"]
    return [*unshare, "sh", "-uc", script, "sh"]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """How a container is made; skips where nobody may."""
    kind: str = request.param
    made = subprocess.run(
        [*apart(kind, INSIDE), "true"],
        env=os.environ | {"SHARED": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    if made.returncode != 0:
        pytest.skip(f"this machine lets nobody have namespaces of their own: {made.stdout.strip()}")
    return kind


@contextmanager
def client_of(daemon: PrivateDaemon, kind: str) -> Iterator[Peer]:
    """A client that shares the folder of the daemon's socket and nothing else."""
    command = ["env", f"SHARED={daemon.socket.parent}", *apart(kind, INSIDE), sys.executable]
    with peer(command, "/run/shared/control.sock") as someone:
        yield someone


def test_calls_of_all_sizes_work(ringfence_daemon: PrivateDaemon, kind: str) -> None:
    """All descriptors are passed: of lanes, of large requests, of large replies, of topics."""
    with client_of(ringfence_daemon, kind) as client:
        assert client.ask("os.listdir('/dev/shm')") == "[]"
        assert int(client.ask("os.getpid()")) < 10, "it has its own numbers for processes"
        for size in (5, 50_000, 8 << 20):
            assert client.ask(f"client.echo(bytes({size})) == bytes({size})") == "True"
        client.ask("(docs := client.vectors.create('docs', dim=64))")
        client.ask("(rows := np.random.default_rng(3).random((5000, 64), np.float32))[0, 0]")
        client.ask("docs.add(range(5000), rows)")
        assert client.ask("docs.search(rows[7], 1, exact=True).ids.tolist()") == "[7]"
        assert client.ask("bool((docs.get(range(5000))[0] == rows).all())") == "True"
        client.ask("(topic := client.topic('spoken'), heard := topic.subscribe())")
        client.ask("topic.publish(b'to myself')")
        assert client.ask("bytes(heard.recv(timeout=10).data)") == "b'to myself'"
        assert client.ask("os.listdir('/dev/shm')") == "[]", "clients make no names"


def test_the_doctor_knows_that_the_daemon_is_elsewhere(daemon: PrivateDaemon, kind: str) -> None:
    program = str(daemon.binary.with_name("ringfence"))
    command = [*apart(kind, INSIDE), program, "doctor", "--json"]
    told = subprocess.run(
        [*command, "--target", "/run/shared/control.sock"],
        env=os.environ | {"SHARED": str(daemon.socket.parent)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    checks = {check["name"]: check for check in json.loads(told.stdout)["checks"]}
    assert "is in another container" in checks["shared_memory"]["found"]
    assert checks["open_files"]["found"].startswith("this process"), "its number is not ours"


def test_the_death_of_the_daemon_is_noticed(ringfence_daemon: PrivateDaemon, kind: str) -> None:
    with client_of(ringfence_daemon, kind) as client:
        client.ask("client.vectors.create('docs', dim=2)")
        ringfence_daemon.freeze()
        client.ask("(pending := client.submit('vectors.drop', collection='docs'))")
        ringfence_daemon.kill()
        client.ask("(start := time.monotonic())")
        assert client.fail("pending.result(timeout=10)").startswith("DaemonRestarted")
        assert float(client.ask("time.monotonic() - start")) < 1.0
        ringfence_daemon.start()
        assert client.ask("client.echo(b'again')") == "b'again'"


def test_the_death_of_a_client_is_noticed_though_its_child_keeps_the_socket(
    ringfence_daemon: PrivateDaemon, kind: str
) -> None:
    """By the pidfd that the kernel gives for the socket, whatever number the process has where."""
    with ringfence_daemon.connect() as bystander, client_of(ringfence_daemon, kind) as client:
        assert bystander.stats().sessions == 2
        # The child sleeps in the middle of a line, with all descriptors of its parent.
        client.ask("(child := os.fork()) or time.sleep(3600)")
        pids = programs(client.process.pid)
        assert len(pids) == 2, pids
        client.tell("os.kill(os.getpid(), signal.SIGKILL)")
        eventually(lambda: bystander.stats().sessions == 1, "the session ends")
        assert len(programs(client.process.pid)) == 1, "the child is there, and has the socket"


def programs(pid: int) -> list[int]:
    """The Python processes at and below a process that have not ended."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        _, _, stat = Path(f"/proc/{pid}/stat").read_text().partition(" (")
    except (FileNotFoundError, ProcessLookupError):
        return []
    name, _, rest = stat.rpartition(") ")
    found = [pid] if name.startswith("python") and rest[0] != "Z" else []
    return found + [below for child in children for below in programs(int(child))]


@contextmanager
def daemon_apart(kind: str, size: str) -> Iterator[Path]:
    """The socket of a daemon in a container whose /dev/shm has a size."""
    program = rf.find_daemon()
    assert program is not None, "build the daemon first: make build"
    with tempfile.TemporaryDirectory(prefix="rf-") as folder:
        command = [*apart(kind, DAEMON_INSIDE), str(program), "--instance", "box"]
        command += ["--runtime-dir", folder]
        clean = {k: v for k, v in os.environ.items() if not k.startswith("RINGFENCE_")}
        process = subprocess.Popen(command, env=clean | {"SIZE": size}, stdin=subprocess.DEVNULL)
        try:
            socket = Path(folder, "box", "control.sock")
            eventually(lambda: socket.exists() or process.poll() is not None, "the daemon listens")
            assert process.poll() is None, f"the daemon left with {process.returncode}"
            yield socket
        finally:
            # `unshare` dies, and by --kill-child all that runs in there.
            process.kill()
            process.wait()


def test_a_daemon_in_a_container_serves_whoever_reaches_its_socket(kind: str) -> None:
    """Also one that has no process number there; and room is that of its own /dev/shm."""
    before = set(os.listdir("/dev/shm"))
    with daemon_apart(kind, DOCKER_SHM) as socket, rf.connect(socket) as client:
        assert client.echo(b"hello") == b"hello"
        assert client.daemon.pid == 1, "the daemon's number is that of its own container"
        data = bytes(8 << 20)
        assert client.echo(data) == data
        with pytest.raises(MemoryError, match="/dev/shm"):
            client.echo(bytes(60 << 20))
        assert client.echo(b"still here") == b"still here"
        assert not {name for name in os.listdir("/dev/shm") if ".box." in name} - before
        with peer([sys.executable], str(socket)) as other:
            sessions = client.stats().sessions
            other.ask("(child := os.fork()) or time.sleep(3600)")
            [child] = [pid for pid in programs(other.process.pid) if pid != other.process.pid]
            other.process.kill()
            try:
                eventually(lambda: client.stats().sessions == sessions - 1, "the session ends")
            finally:
                os.kill(child, 9)


def test_there_is_room_for_what_shm_size_says(kind: str) -> None:
    """The control of the test above: the same payload, with `--shm-size=1g`."""
    with daemon_apart(kind, "1g") as socket, rf.connect(socket) as client:
        assert np.frombuffer(client.echo(bytes(60 << 20)), np.uint8).max() == 0
