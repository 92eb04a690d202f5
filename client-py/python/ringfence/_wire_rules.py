"""What values keep besides their type: the rules of a contract.

Invariants: :func:`checked` lets only those pass that their type can keep, and drops what every value
keeps anyway, so that one meaning has one canonical text.
"""

from __future__ import annotations

import struct
from typing import NamedTuple, NoReturn

from ._wire_type import FieldType


class Wrong(Exception):
    """A value that cannot be written or read: which exception it becomes, and what it says."""

    def __init__(self, error: type[Exception], text: str) -> None:
        super().__init__(text)
        self.error = error
        self.text = text
        self.index = -1  # of the field, once it is known


class Rules(NamedTuple):
    """What values keep besides their type."""

    min_length: int | None = None
    max_length: int | None = None
    not_empty: bool = False
    min: int | float | None = None
    max: int | float | None = None

    def length(self, length: int, capacity: int) -> None:
        """Of so many bytes or elements."""
        value = f"length {length}"
        if self.min_length is not None and length < self.min_length:
            _broken(value, f"min_length={self.min_length}")
        if self.max_length is not None and length > self.max_length:
            _broken(value, f"max_length={self.max_length}")
        if self.not_empty and not length:
            _broken(value, "not_empty")
        if length > capacity:
            _broken(value, f"max_length={capacity}")

    def number(self, value: int | float) -> None:
        """Of a number. NaN keeps no bound."""
        if self.min is not None and not value >= self.min:
            _broken(repr(value), f"min={self.min!r}")
        if self.max is not None and not value <= self.max:
            _broken(repr(value), f"max={self.max!r}")


def _broken(value: str, rule: str) -> NoReturn:
    raise Wrong(ValueError, f"{value} breaks the rule {rule}")


NO_RULES = Rules()


def _bare(kind: FieldType) -> FieldType:
    return kind.element if kind.kind == "Option" and kind.element else kind


def checked(rules: Rules, kind: FieldType) -> Rules:
    """The rules, without those that the type keeps by itself."""
    inner = _bare(kind)
    sized = inner.kind in ("String", "bytes", "JSON", "Vec")
    for name in ("min_length", "max_length"):
        length: int | None = getattr(rules, name)
        if length is not None and not (sized and 0 <= length <= inner.length):
            raise ValueError(f"rule {name}={length} is not for {kind}")
    if rules.not_empty and not sized:
        raise ValueError(f"rule not_empty is not for {kind}")
    floats, numbers = inner.kind in ("f32", "f64"), inner.kind[:1] in "uif" or inner.kind == "datetime"
    for name in ("min", "max"):
        bound: int | float | None = getattr(rules, name)
        if bound is not None and not (numbers and (floats or isinstance(bound, int))):
            raise ValueError(f"rule {name}={bound} is not for {kind}")
    if floats:
        low, high = (None if one is None else float(one) for one in (rules.min, rules.max))
        rules = rules._replace(min=low, max=high)
    if rules.max_length == inner.length:
        rules = rules._replace(max_length=None)
    return rules._replace(min_length=rules.min_length or None)


def canonical(rules: Rules, kind: FieldType) -> str:
    """What a canonical text has of them."""
    parts: list[str] = []
    for name, value in rules._asdict().items():
        if value is True:
            parts.append(name)
        elif isinstance(value, float):
            parts.append(f"{name}={struct.pack('>d', value + 0.0).hex()}")
        elif value is not None and value is not False:
            parts.append(f"{name}={value}")
    return "".join(f" {part}" for part in parts)
