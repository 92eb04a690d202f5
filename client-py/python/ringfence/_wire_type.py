"""Types of fields as contracts write them: ``u64``, ``String(32)``, ``Vec<[u8; 20]>(10)``.

The rules are those of the Rust crate (``protocol/src/contract``), which tests compare byte by byte.
It does not encode: that is ``_wire_codec``.
"""

from __future__ import annotations

import re
from typing import NamedTuple

HEAD_BYTES = 8
"""In front of the bytes or elements of what has a length: a u16 and six zeros."""

DEPTH = 8
MOST_BYTES = 4 * 1024 * 1024

# Name -> size, alignment.
PLAIN = {
    "bool": (1, 1),
    "u8": (1, 1),
    "u16": (2, 2),
    "u32": (4, 4),
    "u64": (8, 8),
    "i8": (1, 1),
    "i16": (2, 2),
    "i32": (4, 4),
    "i64": (8, 8),
    "f32": (4, 4),
    "f64": (8, 8),
    "U256": (32, 8),
    "UUID": (16, 1),
    "datetime": (8, 8),
    "Decimal": (24, 8),
}
SIZED = ("String", "bytes", "JSON")


def up(at: int, align: int) -> int:
    """The next multiple of an alignment."""
    return -(-at // align) * align


class FieldType(NamedTuple):
    """A type: what it is, how many of it there are, of which element."""

    kind: str
    length: int = 0
    element: FieldType | None = None

    @property
    def size(self) -> int:
        """Bytes that a field takes."""
        if self.kind in PLAIN:
            return PLAIN[self.kind][0]
        if self.element is None:
            return HEAD_BYTES + self.length
        if self.kind == "Option":
            return self.element.align + self.element.size
        return self.element.stride * self.length + (HEAD_BYTES if self.kind == "Vec" else 0)

    @property
    def align(self) -> int:
        """What its place is a multiple of."""
        if self.kind in PLAIN:
            return PLAIN[self.kind][1]
        if self.element is None or self.kind == "Vec":
            return 8
        return self.element.align

    @property
    def stride(self) -> int:
        """Bytes from one element to the next."""
        return up(self.size, self.align)

    def __str__(self) -> str:
        if self.kind in PLAIN:
            return self.kind
        if self.kind == "Array":
            return f"[{self.element}; {self.length}]"
        if self.kind == "Option":
            return f"Option<{self.element}>"
        return f"{self.kind}{f'<{self.element}>' if self.element else ''}({self.length})"


def parse(text: str) -> FieldType:
    """The type that a text names; ValueError says what is wrong."""
    words = re.findall(r"\w+|\S", text)
    words.reverse()
    found = _read(words, text, 1)
    if words:
        raise ValueError(f"type {text!r}: the end is missing before {words[-1]!r}")
    if found.size > MOST_BYTES:
        raise ValueError(f"type {text!r}: {found.size} bytes, the most is {MOST_BYTES}")
    return found


def _read(words: list[str], text: str, depth: int) -> FieldType:
    if depth > DEPTH:
        raise ValueError(f"type {text!r} is nested more than {DEPTH} deep")
    word = words.pop() if words else ""
    if word in PLAIN:
        return FieldType(word)
    if word == "[":
        element = _read(words, text, depth + 1)
        _need(words, text, ";")
        count = _number(words, text, 2**32 - 1)
        _need(words, text, "]")
        return FieldType("Array", count, element)
    if word in SIZED:
        return FieldType(word, _capacity(words, text))
    if word not in ("Vec", "Option"):
        known = ", ".join([*PLAIN, "String(n), bytes(n), JSON(n), [T; N], Vec<T>(n) and Option<T>"])
        raise ValueError(f"{word!r} is no type; there are {known}")
    _need(words, text, "<")
    element = _read(words, text, depth + 1)
    _need(words, text, ">")
    if word == "Vec":
        return FieldType("Vec", _capacity(words, text), element)
    if element.kind == "Option":
        raise ValueError(f"type {text!r}: an option of an option is one option")
    return FieldType("Option", 0, element)


def _capacity(words: list[str], text: str) -> int:
    _need(words, text, "(")
    count = _number(words, text, 65535)
    _need(words, text, ")")
    return count


def _need(words: list[str], text: str, mark: str) -> None:
    if not words or words.pop() != mark:
        raise ValueError(f"type {text!r}: `{mark}` is missing")


def _number(words: list[str], text: str, most: int) -> int:
    word = words.pop() if words else ""
    if not (word.isascii() and word.isdigit() and 1 <= int(word) <= most):
        raise ValueError(f"type {text!r}: {word!r} is no number from 1 to {most}")
    return int(word)
