"""What docs/ shows is what runs. The transcript of docs/getting-started.md is run in
test_wheels.py, by which it is also what an installed wheel does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from documents import blocks, commands, matches, write_tests
from test_processes import get, gunicorn

from ringfence.testing import PrivateDaemon


def test_the_examples_of_testing_md(tmp_path: Path) -> None:
    count = write_tests("docs/testing.md", tmp_path)
    result = run_pytest(sys.executable, tmp_path)
    assert result.returncode == 0, result.stdout
    assert f"{count} passed" in result.stdout and count >= 8


def test_the_examples_of_processes_md(tmp_path: Path) -> None:
    count = write_tests("docs/processes.md", tmp_path)
    result = run_pytest(sys.executable, tmp_path)
    assert result.returncode == 0, result.stdout
    assert f"{count} passed" in result.stdout and count >= 4


def test_the_web_app_of_processes_md(daemon: PrivateDaemon) -> None:
    [app] = blocks("docs/processes.md", "python pages.py")
    [command] = blocks("docs/processes.md", "sh")
    with gunicorn(str(daemon.socket), app, command.split()) as (_, web):
        assert get(web) == b"hello from the daemon"


def run_pytest(python: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs the tests of a folder as the project of a stranger would."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("RINGFENCE_", "PYTEST_"))}
    return subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."],
        cwd=folder,
        env=clean,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
    )


def test_the_transcript_is_read_as_it_is_typed() -> None:
    """The control of the test that runs it."""
    typed = dict(commands("docs/getting-started.md"))
    assert typed["python first.py\n"] == "[1] [0.00496...]\n"
    script = next(command for command in typed if command.startswith("cat > first.py"))
    assert "\n\nwith rf.connect() as client:\n    docs = " in script
    assert script.endswith("\nEOF\n")
    assert matches("a ... c\n", "a (b) c\n") and not matches("a ... c\n", "a\nc\n")
