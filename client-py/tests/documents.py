"""Reads what the documents show, so that tests can run it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def blocks(document: str, language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    text = (ROOT / document).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def write_tests(document: str, folder: Path) -> int:
    """Lays each Python block of a document into a test file of its own; gives how many tests."""
    files = blocks(document, "python")
    for number, text in enumerate(files, 1):
        (folder / f"test_example_{number}.py").write_text(text)
    return sum(len(re.findall(r"^ *def test_", text, re.MULTILINE)) for text in files)


def commands(document: str) -> list[tuple[str, str]]:
    """What is typed after `$` in the console blocks of a document (and after `>` for the lines that
    belong to it), each with what it prints."""
    found: list[tuple[str, str]] = []
    for block in blocks(document, "console"):
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
