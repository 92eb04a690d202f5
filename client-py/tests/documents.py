"""Reads what the documents show, so that tests can run it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parents[2]


def blocks(document: str, language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    text = (ROOT / document).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def all_blocks(document: str) -> list[tuple[str, str]]:
    """Language and text of all fenced blocks, in order."""
    text = (ROOT / document).read_text()
    return re.findall(r"^```(\w+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def file_name(block: str) -> str | None:
    """The file that a reader saves a block in: what a comment in its first line names."""
    found = re.match(r"(?:#|//) ([\w./-]+\.(?:py|rs|toml|yaml))\n", block)
    return found[1] if found else None


def script(document: str) -> str:
    """The Python blocks of a document that are no files and no tests, as one program."""
    parts = blocks(document, "python")
    return "\n".join(p for p in parts if not file_name(p) and not re.search(r"^def test_", p, re.M))


def write_tests(document: str, folder: Path) -> int:
    """Lays each Python block of a document into a test file of its own; gives how many tests."""
    files = blocks(document, "python")
    for number, text in enumerate(files, 1):
        (folder / f"test_example_{number}.py").write_text(text)
    return sum(len(re.findall(r"^ *def test_", text, re.MULTILINE)) for text in files)


def commands(document: str) -> list[tuple[str, str]]:
    """What is typed in the console blocks of a document, each with what it prints."""
    return commands_of(blocks(document, "console"))


def commands_of(consoles: Iterable[str]) -> list[tuple[str, str]]:
    """What is typed after `$` (and after `>` for the lines that belong to it), each with what it
    prints."""
    found: list[tuple[str, str]] = []
    for block in consoles:
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *rest = part.splitlines(keepends=True)
            while rest and rest[0].startswith(">"):
                command += rest.pop(0)[2:].lstrip("\r") or "\n"
            found.append((command, "".join(rest)))
    return found


def matches(shown: str, printed: str) -> bool:
    """Is this what the document shows? `...` there stands for anything within a line."""
    pattern = re.escape(shown).replace(re.escape("..."), ".*")
    return re.fullmatch(pattern, printed) is not None


class Shell:
    """A shell into which commands are typed one after the other."""

    def __init__(self, work: Path, env: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash", "--norc"],
            cwd=work,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # What it started in the background and did not stop ends with it.
        try:
            self._process.communicate("kill $(jobs -p) 2> /dev/null\nwait\n", timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)  # a command that does not end
            raise

    def type(self, command: str, shown: str) -> str:
        """Types a command and gives what it prints; fails if that is not what is shown."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        stdin.write(f"{command}\nprintf '\\n%s\\n' END-OF-COMMAND\n")
        stdin.flush()
        lines: list[str] = []
        while (line := stdout.readline()) != "END-OF-COMMAND\n":
            assert line, f"the shell ended in: {command}"
            lines.append(line)
        printed = "".join(lines)[:-1]
        assert matches(shown, printed), f"$ {command}shown:\n{shown}printed:\n{printed}"
        return printed
