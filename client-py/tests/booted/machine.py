"""A machine with a systemd of its own as process 1: `systemd-nspawn` over this machine's files.

What is written there goes to memory and is gone with it; it has no network and its own /run, /tmp and
/dev/shm. It boots to `basic.target`: none of this machine's services start in it. It ends with the
process that started it, whatever happens to that, and two at one time know nothing of each other.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from documents import ROOT

BOOT_SECONDS = 60.0
STOP_SECONDS = 30.0
# Where things of this machine are seen in the other one. The way to them may be closed to ordinary
# users here (a checkout and a Python in root's home); there it is open.
CHECKOUT = Path("/opt/ringfence")
PYTHON = Path("/opt/python")
PACKAGES = Path("/opt/packages")
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "PYTHONPATH": f"{CHECKOUT / 'client-py/python'}:{PACKAGES}",
    "PYTHONDONTWRITEBYTECODE": "1",
    # Where Python is a shared library, its program has the path of it on this machine.
    "LD_LIBRARY_PATH": str(PYTHON / "lib"),
}
TOOLS = {"systemd-nspawn": "systemd-container", "nsenter": "util-linux", "setpriv": "util-linux"}


class NoMachineError(Exception):
    """Why none can be booted here."""


class Machine:
    """A booted machine. Commands run in it as root or as one of its users."""

    def __init__(self, leader: int) -> None:
        self.leader = leader
        """Its process 1, by the number that it has outside."""
        version = "{}.{}".format(*sys.version_info)
        self.python = str(PYTHON / "bin" / f"python{version}")

    def command(self, words: list[str], user: str | None = None) -> list[str]:
        """What to start outside for `words` to run inside, with nothing of this environment."""
        env = ["env", "--ignore-environment", "--chdir=/"]
        env += [f"{key}={value}" for key, value in ENVIRONMENT.items()]
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"] if user else []
        return ["nsenter", f"--target={self.leader}", "--all", *env, *become, *words]

    def run(self, *words: str, user: str | None = None) -> str:
        """Runs a command to its end and gives what it printed; it must succeed."""
        done = self.attempt(*words, user=user)
        assert done.returncode == 0, f"{words} left with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def attempt(self, *words: str, user: str | None = None) -> subprocess.CompletedProcess[str]:
        """Runs a command that may fail; errors are in its output."""
        return subprocess.run(
            self.command(list(words), user),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )

    def script(self, text: str, user: str | None = None) -> str:
        """Runs lines of shell; the first that fails fails all."""
        return self.run("sh", "-euc", text, user=user)

    def property(self, unit: str, name: str) -> str:
        """What systemd says of a unit."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).strip()

    def main_pid(self, unit: str) -> int:
        """The process of a service as the machine numbers it; 0 if there is none."""
        return int(self.property(unit, "MainPID"))

    def daemons(self) -> list[str]:
        """The command lines of all `ringfenced` that run there."""
        found = self.attempt("pgrep", "--list-full", "--exact", "ringfenced")
        assert found.returncode in (0, 1), found.stdout  # 1: none
        return found.stdout.splitlines()

    def names(self, instance: str = "") -> list[str]:
        """The names of segments and locks in its /dev/shm, of one instance or of all."""
        listed = self.run("ls", "-A", "/dev/shm").split()
        parts = [(name, name.split(".")) for name in listed if name.startswith("ringfence.")]
        return sorted(name for name, part in parts if instance in ("", part[2]))


@contextmanager
def booted() -> Iterator[Machine]:
    """Boots a machine for as long as the block takes; `NoMachineError` if that cannot be here."""
    missing = {package for tool, package in TOOLS.items() if shutil.which(tool) is None}
    if missing:
        raise NoMachineError(f"not installed: {', '.join(sorted(missing))}")
    if os.geteuid() != 0:
        raise NoMachineError("only root may boot one (sudo make test-systemd)")
    name = f"ringfence-test-{secrets.token_hex(4)}"
    with (
        tempfile.TemporaryDirectory(prefix="rf-") as folder,
        control_groups(name) as groups,
    ):
        root, log = Path(folder, "root"), Path(folder, "log")
        root.mkdir()
        with log.open("wb") as output:
            process = subprocess.Popen(
                alone(groups, root, nspawn(name, root)),
                env=os.environ | {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            yield await_boot(process, log)
        finally:
            stop(process)


def nspawn(name: str, root: Path) -> list[str]:
    """The command that boots the files below `root`."""
    packages = sysconfig.get_path("purelib")
    command = ["systemd-nspawn", "--boot", f"--machine={name}", f"--directory={root}"]
    command += ["--volatile=overlay", "--private-network", "--console=pipe", "--quiet"]
    command += ["--register=no", "--link-journal=no", "--resolv-conf=off", "--timezone=off"]
    for here, there in ((ROOT, CHECKOUT), (sys.base_prefix, PYTHON), (packages, PACKAGES)):
        command.append(f"--bind-ro={here}:{there}")
    if not Path("/run/systemd/system").exists():
        command.append("--keep-unit")  # nobody here gives it a scope
    return [*command, "systemd.unit=basic.target"]


def alone(groups: list[Path], root: Path, command: list[str]) -> list[str]:
    """The same command in these control groups, with a view of / at `root` that nobody else sees."""
    script = "".join(f"echo $$ > {group}/cgroup.procs; " for group in groups)
    script += 'mount --bind / "$0" && exec "$@"'
    # Told to stop when this process ends, whatever its end is.
    bound = ["setpriv", "--pdeathsig=TERM", "unshare", "--mount", "--propagation=slave"]
    return [*bound, "sh", "-euc", script, str(root), *command]


@contextmanager
def control_groups(name: str) -> Iterator[list[Path]]:
    """Groups of its own where no systemd runs that would make some: below one group two machines
    take each other's processes for their own."""
    groups: list[Path] = []
    if not Path("/run/systemd/system").exists():
        for line in Path("/proc/self/mounts").read_text().splitlines():
            _, place, kind, options, *_ = line.split()
            if kind == "cgroup2" or "name=systemd" in options.split(","):
                groups.append(Path(place, name))
    try:
        make(groups)
        yield groups
    finally:
        for group in groups:
            for folder, _, _ in os.walk(group, topdown=False):
                with suppress(OSError):  # somebody's last process is still leaving
                    os.rmdir(folder)


def make(groups: list[Path]) -> None:
    try:
        for group in groups:
            group.mkdir()
    except OSError as error:
        raise NoMachineError(f"no control groups can be made here: {error}") from error


def await_boot(process: subprocess.Popen[bytes], log: Path) -> Machine:
    """Waits until its systemd says that it is up."""
    deadline = time.monotonic() + BOOT_SECONDS
    state = "not there yet"
    while time.monotonic() < deadline and process.poll() is None:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for child in children:
            asked = Machine(int(child)).attempt("systemctl", "is-system-running")
            state = asked.stdout.strip()
            if state in ("running", "degraded"):
                return Machine(int(child))
        time.sleep(0.1)
    raise NoMachineError(f"systemd-nspawn boots nothing here ({state}): {log.read_text().strip()}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Shuts it down in order, or else ends it; its process 1 does not outlive systemd-nspawn."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
