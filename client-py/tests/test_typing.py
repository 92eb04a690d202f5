"""The types are complete and true: stubtest, mypy --strict and pyright strict."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
CLIENT = HERE.parent
PACKAGES = [CLIENT / "python" / "ringfence", CLIENT / "inproc" / "python" / "ringfence_inproc"]
EXAMPLES = CLIENT / "examples"

pytestmark = pytest.mark.timeout(300)


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *map(str, arguments)]
    return subprocess.run(command, cwd=CLIENT, capture_output=True, text=True, timeout=280)


def test_stubs_are_what_the_extension_has(tmp_path: Path) -> None:
    allowed = tmp_path / "allowed"
    # Set by PyO3's module machinery; nothing that a program would use.
    allowed.write_text("ringfence\\._core\\.__all__\n")
    result = run("mypy.stubtest", "ringfence._core", "--allowlist", allowed)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("where", [*PACKAGES, EXAMPLES], ids=lambda path: path.name)
def test_mypy_strict(where: Path) -> None:
    result = run("mypy", "--strict", "--no-error-summary", where)
    assert (result.returncode, result.stdout) == (0, "")


def test_pyright_strict() -> None:
    paths = [*PACKAGES, EXAMPLES]
    result = run("pyright", "--outputjson", "--pythonpath", sys.executable, *paths)
    report = json.loads(result.stdout)
    wrong = [
        f"{d['file']}:{d['range']['start']['line'] + 1}: {d['message']}"
        for d in report["generalDiagnostics"]
        if d["severity"] == "error"
    ]
    assert not wrong, "\n".join(wrong)
    assert report["summary"]["filesAnalyzed"] >= len(list(EXAMPLES.glob("*.py")))


def test_the_types_are_marked_as_such() -> None:
    assert all((package / "py.typed").is_file() for package in PACKAGES)


def test_a_wrong_type_is_noticed(tmp_path: Path) -> None:
    """The control of the tests above: the checkers see the types of the package."""
    wrong = tmp_path / "wrong.py"
    wrong.write_text("import ringfence as rf\nrf.connect().echo('text')\nrf.connect(5)\n")
    found = run("mypy", "--strict", wrong).stdout
    assert 'Argument 1 to "echo"' in found and 'Argument 1 to "connect"' in found
