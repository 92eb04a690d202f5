"""How single values lie in a message: numbers, text, bytes.

Inside, :class:`Wrong` and :class:`Padding` travel; only ``messages`` turns them into exceptions, with
the names of message and field.
"""

from __future__ import annotations

import operator
import struct
from typing import Any, NoReturn

from ._wire_rules import NO_RULES, Rules, Wrong
from ._wire_type import HEAD_BYTES, FieldType
from ._wire_values import Json, Timestamp

INTEGERS = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q", "i8": "b", "i16": "h", "i32": "i",
            "i64": "q", "datetime": "q"}  # fmt: skip
FLOATS = {"f32": "f", "f64": "d"}


class Padding(Exception):
    """A byte that must be zero, by its offset."""

    def __init__(self, at: int, byte: int) -> None:
        super().__init__(at)
        self.at = at
        self.byte = byte


class Codec:
    """Of one type. ``format`` is its part of a format, of ``arity`` items."""

    arity = 1
    # Are values their own items, both ways, and is `struct` a good enough judge of them?
    direct = False

    def __init__(self, field: FieldType, form: str) -> None:
        self.type = field
        self.format = form

    def put(self, value: Any, out: list[Any]) -> None:
        """Appends the items of a value; Wrong if it is none."""
        raise NotImplementedError

    def take(self, *items: Any) -> Any:
        """The value of items that were unpacked."""
        raise NotImplementedError


class Number(Codec):
    """Integers, floats and datetimes."""

    def __init__(self, field: FieldType, rules: Rules) -> None:
        kind = field.kind
        super().__init__(field, (INTEGERS | FLOATS)[kind])
        self.rules = rules
        self.single = struct.Struct(f"<{self.format}")
        self.bounded = rules.min is not None or rules.max is not None
        self.timed = kind == "datetime"
        self.direct = not self.bounded and not self.timed
        if kind in INTEGERS:
            bits = self.single.size * 8
            self.low = -(2 ** (bits - 1)) if self.format in "bhiq" else 0
            self.high = self.low + 2**bits - 1

    def put(self, value: Any, out: list[Any]) -> None:
        if self.bounded:
            self.check(value)
        out.append(value)

    def check(self, value: Any) -> None:
        """Says exactly why `struct` does not take a value."""
        kind = self.type.kind
        if self.format in "fd":
            try:
                value = self.single.unpack(self.single.pack(value))[0]
            except OverflowError:
                raise Wrong(OverflowError, f"{shown(value)} is out of range of {kind}") from None
            except struct.error:
                if isinstance(value, int):  # over all floats
                    text = f"{shown(value)} is out of range of {kind}"
                    raise Wrong(OverflowError, text) from None
                text = f"{kind} takes a float, not {type(value).__name__}"
                raise Wrong(TypeError, text) from None
        else:
            try:
                value = operator.index(value)
            except TypeError:
                text = f"{kind} takes an int, not {type(value).__name__}"
                raise Wrong(TypeError, text) from None
            if not self.low <= value <= self.high:
                text = f"{shown(value)} is out of range of {kind}: {self.low} to {self.high}"
                raise Wrong(OverflowError, text)
        self.rules.number(value)

    def take(self, *items: Any) -> Any:
        value = items[0]
        if self.bounded:
            self.rules.number(value)
        return Timestamp(value) if self.timed else value


class Bool(Codec):
    """``bool``: 0 or 1."""

    def put(self, value: Any, out: list[Any]) -> None:
        if type(value).__module__ == "numpy" and type(value).__name__ in ("bool", "bool_"):
            value = bool(value)
        if value is not True and value is not False:
            raise Wrong(TypeError, f"bool takes True or False, not {type(value).__name__}")
        out.append(1 if value else 0)

    def take(self, *items: Any) -> Any:
        if items[0] > 1:
            raise Wrong(ValueError, f"{items[0]} is no bool (0 or 1)")
        return items[0] == 1


class U256(Codec):
    """Whole numbers of 32 bytes."""

    def put(self, value: Any, out: list[Any]) -> None:
        try:
            number = operator.index(value)
        except TypeError:
            raise Wrong(TypeError, f"U256 takes an int, not {type(value).__name__}") from None
        if not 0 <= number < 2**256:
            raise Wrong(OverflowError, f"{shown(number)} is out of range of U256: 0 to 2**256 - 1")
        out.append(number.to_bytes(32, "little"))

    def take(self, *items: Any) -> Any:
        return int.from_bytes(items[0], "little")


class Uuid(Codec):
    """``uuid.UUID``."""

    def put(self, value: Any, out: list[Any]) -> None:
        from uuid import UUID

        if not isinstance(value, UUID):
            raise Wrong(TypeError, f"UUID takes a uuid.UUID, not {type(value).__name__}")
        out.append(value.bytes)

    def take(self, *items: Any) -> Any:
        from uuid import UUID

        return UUID(bytes=items[0])


class Decimal(Codec):
    """``decimal.Decimal`` of up to 38 digits behind the point."""

    arity = 2

    def put(self, value: Any, out: list[Any]) -> None:
        from decimal import Decimal as Number

        if not isinstance(value, Number):
            raise Wrong(TypeError, f"Decimal takes a decimal.Decimal, not {type(value).__name__}")
        sign, digits, exponent = value.as_tuple()
        if not isinstance(exponent, int):
            raise Wrong(ValueError, f"{value} is no Decimal that a message can hold: no number")
        if exponent < -38:
            raise Wrong(OverflowError, f"{value} has {-exponent} digits behind the point, not 0 to 38")
        # An i128 has at most 39 digits, so that neither number is ever long.
        number = int("".join(map(str, digits[:40]))) * 10 ** min(max(exponent, 0), 39)
        number = -number if sign else number
        if not -(2**127) <= number < 2**127:
            raise Wrong(OverflowError, f"{value} is out of range of Decimal: its digits take an i128")
        out += (number.to_bytes(16, "little", signed=True), max(-exponent, 0))

    def take(self, *items: Any) -> Any:
        from decimal import Decimal as Number

        digits, scale = items
        if scale > 38:
            raise Wrong(ValueError, f"{scale} is no scale of a Decimal (0 to 38)")
        number = int.from_bytes(digits, "little", signed=True)
        return Number((number < 0, tuple(map(int, str(abs(number)))), -scale))


class Bytes(Codec):
    """``bytes(n)`` and ``Vec<u8>(n)``; the base of what is text."""

    arity = 2

    def __init__(self, field: FieldType, rules: Rules) -> None:
        super().__init__(field, f"H6x{field.length}s")
        self.rules = rules
        self.ruled = rules != NO_RULES
        self.capacity = field.length

    def put(self, value: Any, out: list[Any]) -> None:
        data = self.encoded(value)
        length = len(data)
        if self.ruled or length > self.capacity:
            self.rules.length(length, self.capacity)
        out += (length, data)

    def encoded(self, value: Any) -> bytes:
        """The bytes of a value."""
        return octets(value, self.type)

    def take(self, *items: Any) -> Any:
        length, data = items
        capacity = self.capacity
        if length > capacity:
            NO_RULES.length(length, capacity)
        if data.count(0, length) != capacity - length:
            first_not_zero(data, length, HEAD_BYTES)
        value = self.decoded(data[:length])
        if self.ruled:
            self.rules.length(length, capacity)
        return value

    def decoded(self, data: bytes) -> Any:
        """The value of bytes."""
        return data


class Text(Bytes):
    """``String(n)`` and ``JSON(n)``."""

    def __init__(self, field: FieldType, rules: Rules) -> None:
        super().__init__(field, rules)
        self.made: type[str] | None = Json if field.kind == "JSON" else None

    def encoded(self, value: Any) -> bytes:
        if not isinstance(value, str):
            raise Wrong(TypeError, f"{self.type} takes a str, not {type(value).__name__}")
        try:
            return value.encode()
        except UnicodeEncodeError as error:
            raise Wrong(ValueError, f"character {error.start} of the text is no UTF-8") from None

    def decoded(self, data: bytes) -> Any:
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            raise Wrong(ValueError, f"byte {error.start} of the text is no UTF-8") from None
        return self.made(text) if self.made else text


class ByteArray(Codec):
    """``[u8; N]``."""

    def put(self, value: Any, out: list[Any]) -> None:
        data = octets(value, self.type)
        exactly(len(data), self.type)
        out.append(data)

    def take(self, *items: Any) -> Any:
        return items[0]


def shown(value: Any) -> str:
    """A number for a message; Python refuses to write very long ones."""
    try:
        return repr(value)
    except ValueError:
        return f"a number of {value.bit_length()} bits"


def octets(value: Any, field: FieldType) -> bytes:
    """The bytes of anything that holds bytes."""
    if isinstance(value, bytes):
        return value
    try:
        with memoryview(value) as view:
            return view.tobytes()
    except TypeError:
        raise Wrong(TypeError, f"{field} takes bytes, not {type(value).__name__}") from None


def exactly(length: int, field: FieldType) -> None:
    """As many elements as an array has."""
    if length != field.length:
        raise Wrong(ValueError, f"length {length}, {field} has {field.length}")


def first_not_zero(data: bytes, start: int, offset: int) -> NoReturn:
    """Says which byte of what should be zeros is none."""
    at = next(at for at in range(start, len(data)) if data[at])
    raise Padding(offset + at, data[at])
