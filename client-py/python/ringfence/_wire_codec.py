"""How values lie behind one another: lists, options, messages.

Invariants: a value has exactly one encoding; what a codec takes is what one gives. The formats of
``struct`` are made once, when a class is.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from ._wire_rules import NO_RULES, Rules, Wrong
from ._wire_scalar import (
    FLOATS,
    INTEGERS,
    Bool,
    ByteArray,
    Bytes,
    Codec,
    Decimal,
    Number,
    Padding,
    Text,
    U256,
    Uuid,
    exactly,
    first_not_zero,
)
from ._wire_type import HEAD_BYTES, FieldType, up

_PARTS = re.compile(r"(\d*)([a-zA-Z])")


class Elements(Codec):
    """``[T; N]`` and ``Vec<T>(n)``, as one piece of bytes."""

    def __init__(self, field: FieldType, element: Codec, rules: Rules) -> None:
        assert field.element is not None
        self.listed = field.kind == "Vec"
        self.arity = 2 if self.listed else 1
        self.element = element
        self.rules = rules
        self.stride = field.element.stride
        self.block = Block([element], field.element.align)
        super().__init__(field, f"{'H6x' if self.listed else ''}{self.stride * field.length}s")

    def put(self, value: Any, out: list[Any]) -> None:
        listed = hasattr(value, "__getitem__") and not hasattr(value, "keys")
        if not listed or isinstance(value, str | bytes | bytearray):
            raise Wrong(TypeError, f"{self.type} takes a list, not {type(value).__name__}")
        if self.listed:
            self.rules.length(len(value), self.type.length)
            out.append(len(value))
        else:
            exactly(len(value), self.type)
        out.append(self.packed(value))

    def packed(self, values: Sequence[Any]) -> bytes:
        """The elements behind one another."""
        element = self.element
        if element.direct:
            try:
                return struct.pack(f"<{len(values)}{element.format}", *values)
            except (struct.error, OverflowError, TypeError, ValueError):
                pass  # say which one below
        parts: list[bytes] = []
        for index, value in enumerate(values):
            try:
                parts.append(self.block.pack([value]))
            except Wrong as wrong:
                raise Wrong(wrong.error, f"element {index}: {wrong.text}") from None
        return b"".join(parts)

    def take(self, *items: Any) -> Any:
        data: bytes = items[-1]
        start, count = 0, self.type.length
        if self.listed:
            start, count = HEAD_BYTES, items[0]
            NO_RULES.length(count, self.type.length)
        used = count * self.stride
        if data.count(0, used) != len(data) - used:
            first_not_zero(data, used, start)
        if self.listed:
            self.rules.length(count, self.type.length)
        if self.element.direct:
            return list(struct.unpack_from(f"<{count}{self.element.format}", data))
        values: list[Any] = []
        for at in range(0, used, self.stride):
            try:
                values += self.block.unpack(data[at : at + self.stride])
            except Padding as padding:
                padding.at += start + at
                raise
        return values


class Option(Codec):
    """``Option<T>``: whether there is a value, and its place."""

    arity = 2

    def __init__(self, field: FieldType, inner: Codec) -> None:
        assert field.element is not None
        self.align = field.element.align
        self.block = Block([inner], 1)
        super().__init__(field, f"B{self.align - 1}x{field.element.size}s")

    def put(self, value: Any, out: list[Any]) -> None:
        out += (0, b"") if value is None else (1, self.block.pack([value]))

    def take(self, *items: Any) -> Any:
        there, data = items
        if there > 1:
            raise Wrong(ValueError, f"{there} is no Option (0 or 1)")
        if not there:
            if data.count(0) != len(data):
                first_not_zero(data, 0, self.align)
            return None
        try:
            return self.block.unpack(data)[0]
        except Padding as padding:
            padding.at += self.align
            raise


class Block:
    """Values behind one another, each at its alignment: the fields of a message, or one element."""

    def __init__(self, codecs: Sequence[Codec], align: int) -> None:
        self.codecs = codecs
        self.offsets: list[int] = []
        form, at = "<", 0
        for codec in codecs:
            offset = up(at, codec.type.align)
            form += f"{offset - at}x{codec.format}"
            at = offset + codec.type.size
            self.offsets.append(offset)
        self.size = up(at, align)
        form += f"{self.size - at}x"
        self.struct = struct.Struct(form)
        self.mask = int.from_bytes(_gaps(form), "little")
        self.direct = all(codec.direct for codec in codecs)
        self.steps: list[tuple[Callable[..., Any] | None, int, int]] = []
        first = 0
        for codec in codecs:
            take = None if codec.direct else codec.take
            self.steps.append((take, first, first + codec.arity))
            first += codec.arity

    def pack(self, values: Sequence[Any]) -> bytes:
        """The bytes of the values."""
        items: Any = values
        if not self.direct:
            items = []
            index = 0
            try:
                for index, value in enumerate(values):
                    self.codecs[index].put(value, items)
            except Wrong as wrong:
                wrong.index = index
                raise
        try:
            return self.struct.pack(*items)
        except (struct.error, OverflowError, TypeError, ValueError):
            self._explain(values)
            raise

    def _explain(self, values: Sequence[Any]) -> None:
        for index, (codec, value) in enumerate(zip(self.codecs, values, strict=True)):
            if isinstance(codec, Number):
                try:
                    codec.check(value)
                except Wrong as wrong:
                    wrong.index = index
                    raise

    def unpack(self, data: bytes) -> list[Any]:
        """The values of exactly so many bytes."""
        if self.mask and int.from_bytes(data, "little") & self.mask:
            self._find_padding(data)
        items = self.struct.unpack(data)
        if self.direct:
            return list(items)
        values: list[Any] = []
        try:
            for take, first, end in self.steps:
                if take is None:
                    values.append(items[first])
                else:
                    values.append(take(*items[first:end]))
            return values
        except Padding as padding:
            padding.at += self.offsets[len(values)]
            raise
        except Wrong as wrong:
            wrong.index = len(values)
            raise

    def _find_padding(self, data: bytes) -> NoReturn:
        mask = self.mask.to_bytes(len(data), "little")
        at = next(at for at, (byte, gap) in enumerate(zip(data, mask, strict=True)) if byte & gap)
        raise Padding(at, data[at])


def _gaps(form: str) -> bytes:
    """255 for each byte of a format that no item has."""
    parts = [(code, struct.calcsize(f"<{count}{code}")) for count, code in _PARTS.findall(form)]
    return b"".join((b"\xff" if code == "x" else b"\0") * size for code, size in parts)


def codec_of(field: FieldType, rules: Rules = NO_RULES) -> Codec:
    """The codec of a type."""
    kind, element = field.kind, field.element
    if kind in INTEGERS or kind in FLOATS:
        return Number(field, rules)
    if kind in ("String", "JSON"):
        return Text(field, rules)
    if element is None:
        made: dict[str, tuple[type[Codec], str]] = {
            "bool": (Bool, "B"),
            "U256": (U256, "32s"),
            "UUID": (Uuid, "16s"),
            "Decimal": (Decimal, "16sB7x"),
        }
        return made[kind][0](field, made[kind][1]) if kind in made else Bytes(field, rules)
    if kind == "Option":
        return Option(field, codec_of(element, rules))
    if element.kind == "u8":
        return Bytes(field, rules) if kind == "Vec" else ByteArray(field, f"{field.length}s")
    return Elements(field, codec_of(element), rules)
