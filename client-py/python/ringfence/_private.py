"""A daemon of one's own, started and stopped by this process: what tests and the demo run on."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._connect import connect, find_daemon
from ._errors import DaemonUnavailable, PermissionDenied

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from ._client import Client

START_SECONDS = 20.0
STOP_SECONDS = 10.0
_PAUSE_SECONDS = 0.01


class PrivateDaemon:
    """A daemon that was started for a test. It can be stopped, frozen, killed and started again."""

    def __init__(self, binary: Path, folder: Path, name: str, arguments: Sequence[str]) -> None:
        self.binary = binary
        self.instance = f"{name}-{secrets.token_hex(6)}"
        self.runtime_dir = folder / "run"
        self.socket = self.runtime_dir / self.instance / "control.sock"
        """The path to give to :func:`ringfence.connect`."""
        self.log = folder / "log"
        self._arguments = tuple(arguments)
        self._process: subprocess.Popen[bytes] | None = None
        self._was_killed = False

    def __repr__(self) -> str:
        state = "not running" if self._process is None else f"pid {self._process.pid}"
        return f"<ringfence.testing.PrivateDaemon {self.instance!r}, {state}>"

    @property
    def pid(self) -> int:
        """The daemon's process id; an error while none runs."""
        return self._running().pid

    @property
    def was_killed(self) -> bool:
        """Did its last run end by :meth:`kill`? Then its names are still there."""
        return self._was_killed

    def start(self) -> None:
        """Starts it and waits until it answers."""
        command: list[str | os.PathLike[str]] = [self.binary, "--instance", self.instance]
        command += ["--runtime-dir", self.runtime_dir, *self._arguments]
        # Nothing of the test's own surroundings may change what is tested.
        clean = {k: v for k, v in os.environ.items() if not k.startswith("RINGFENCE_")}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, env=clean, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._was_killed = False
        try:
            self._await_answer()
        except BaseException:
            self.kill()
            raise

    def connect(self, **options: Any) -> Client:
        """Connects to it, with the options of :func:`ringfence.connect`."""
        return connect(self.socket, **options)

    def freeze(self) -> None:
        """Stops it running without ending it (SIGSTOP)."""
        freeze_process(self._running().pid)

    def thaw(self) -> None:
        """Lets it run again (SIGCONT)."""
        self._running().send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Ends it as a crash would (SIGKILL)."""
        process, self._process = self._running(), None
        process.kill()
        process.wait(STOP_SECONDS)
        self._was_killed = True

    def stop(self) -> int:
        """Ends it politely (SIGTERM) and gives its exit code. Does nothing if none runs."""
        if self._process is None:
            return 0
        process = self._process
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            code = process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        self._process = None
        return code

    def leftovers(self) -> list[str]:
        """What of it is in /dev/shm and in its runtime folder. Its lock is not counted: that one
        stays for the next daemon of the same name, see :meth:`forget`."""
        names = [str(path) for path in self._names() if path.suffix != ".lock"]
        return names + [str(self.socket)] * self.socket.exists()

    def forget(self) -> None:
        """Removes what a killed daemon left behind, and the lock of a name that nobody will use
        again. Only while it does not run."""
        for path in self._names():
            path.unlink(missing_ok=True)

    def _names(self) -> list[Path]:
        return sorted(Path("/dev/shm").glob(f"ringfence.{os.getuid()}.{self.instance}.*"))

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the daemon is not running")
        return self._process

    def _await_answer(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.connect(timeout=START_SECONDS).close()
                return
            except (DaemonUnavailable, PermissionDenied) as error:
                code = self._running().poll()
                if code is not None or time.monotonic() > deadline:
                    state = "does not answer" if code is None else f"left with code {code}"
                    raise RuntimeError(f"{self.binary} {state}\n{self.log.read_text()}") from error
            time.sleep(_PAUSE_SECONDS)


@contextmanager
def private_daemon(
    binary: str | os.PathLike[str] | None = None,
    arguments: Sequence[str] = (),
    name: str = "test",
) -> Generator[PrivateDaemon]:
    """Runs a daemon for as long as the block takes. ``binary``: a daemon with engines of your own
    instead of ``ringfenced``; ``arguments``: more flags for it; ``name``: how its instance's name
    starts."""
    program = find_daemon() if binary is None else Path(binary).absolute()
    if program is None:
        raise FileNotFoundError(
            "the program `ringfenced` was not found; build it (`make build`) or name it with "
            "RINGFENCE_BIN"
        )
    # Not under pytest's own folder: the path of a socket may have 107 bytes only.
    with tempfile.TemporaryDirectory(prefix="rf-", ignore_cleanup_errors=True) as folder:
        daemon = PrivateDaemon(program, Path(folder), name, arguments)
        try:
            daemon.start()
            yield daemon
        finally:
            code = daemon.stop()
            left = [] if daemon.was_killed else daemon.leftovers()
            daemon.forget()
        if code != 0 or left:
            raise AssertionError(
                f"the daemon left with code {code} and left behind: {left}\n"
                + daemon.log.read_text()
            )


def freeze_process(pid: int) -> None:
    """Stops a process (SIGSTOP), and returns when all its threads stand still: the signal alone
    leaves them time to answer."""
    os.kill(pid, signal.SIGSTOP)
    while not _stands_still(pid):
        time.sleep(0.001)


def _stands_still(pid: int) -> bool:
    """Is every thread of the process in state T (proc_pid_stat(5))?"""
    tasks = Path(f"/proc/{pid}/task")
    states = (task.joinpath("stat").read_text().rpartition(")")[2].split()[0] for task in tasks.iterdir())
    return all(state == "T" for state in states)
