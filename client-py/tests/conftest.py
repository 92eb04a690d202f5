"""Daemons and clients for the tests. Most tests run twice: through a daemon and in process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

import ringfence as rf
from ringfence.testing import PrivateDaemon, private_daemon

SECONDS = 30.0
Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)
BUILDS = Path(__file__).resolve().parents[2] / "target"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    return allow_no_skip(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    return allow_no_skip(report)


def allow_no_skip(report: Report) -> Report:
    """What is skipped has failed where RINGFENCE_REQUIRE is set, as in `.ci/run`."""
    if report.skipped and os.environ.get("RINGFENCE_REQUIRE"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{reason}\nRINGFENCE_REQUIRE allows no skip."
    return report


def pytest_configure() -> None:
    # What a shell starts in the background ignores Ctrl-C, and so would all that is tested with it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def daemon() -> Iterator[PrivateDaemon]:
    """One daemon for all tests that do it no harm."""
    with private_daemon() as running:
        yield running


def trial_program() -> Path:
    """The daemon whose engine `trial` naps, counts, notes and panics on demand."""
    for build in ("release", "debug"):
        path = BUILDS / build / "examples" / "testd"
        if os.access(path, os.X_OK):
            return path
    pytest.skip("not built: cargo build -p ringfenced --example testd")


@pytest.fixture(scope="module")
def trial_daemon() -> Iterator[PrivateDaemon]:
    """A daemon whose engine `trial` naps, counts and panics on demand."""
    with private_daemon(trial_program()) as running:
        yield running


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where `trial.note` writes the numbers it is given; no restart loses any."""
    path = tmp_path / "journal"
    path.touch()
    monkeypatch.setenv("TRIAL_JOURNAL", str(path))
    return path


@pytest.fixture
def trial(journal: Path) -> Iterator[PrivateDaemon]:
    """A daemon with the engine `trial`, for this test alone."""
    with private_daemon(trial_program()) as running:
        yield running


@pytest.fixture(params=["daemon", "inproc"])
def client(request: pytest.FixtureRequest) -> Iterator[rf.Client]:
    """A client of either kind."""
    if request.param == "inproc":
        connection = rf.connect("inproc:")
    else:
        running: PrivateDaemon = request.getfixturevalue("daemon")
        connection = running.connect()
    with connection:
        yield connection


@pytest.fixture(params=["daemon", "inproc"])
def target(request: pytest.FixtureRequest) -> str:
    """What a child process connects to."""
    if request.param == "inproc":
        return "inproc:"
    running: PrivateDaemon = request.getfixturevalue("daemon")
    return str(running.socket)


def signal_soon() -> None:
    """SIGUSR1 to this process in a moment. Not SIGALRM: that is the test runner's time-out."""
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()


def run_python(
    script: str, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs a script in a fresh interpreter that sees nothing of this one's settings."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("RINGFENCE_", "PYTEST_"))}
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=clean | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def eventually(condition: Callable[[], object], what: str) -> None:
    """Waits until the condition holds."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not within {SECONDS} s: {what}"
        time.sleep(0.005)
