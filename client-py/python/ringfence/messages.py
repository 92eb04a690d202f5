"""Typed messages: dataclasses of a fixed layout, the same bytes in Python and in Rust.

`ringfence codegen contracts.yaml --lang python` writes such classes; they can also be written here:

>>> from typing import Annotated
>>> from ringfence.messages import I32, U64, Message, Wire, message
>>> @message(type_id=1002)
... class CounterUpdate(Message):
...     counter_id: U64
...     value: I32
...     label: Annotated[str, Wire("String(8)", not_empty=True)]
>>> data = CounterUpdate(1, 100, "five").to_bytes()
>>> len(data), CounterUpdate.from_bytes(data)
(32, CounterUpdate(counter_id=1, value=100, label='five'))

A value that its type does not have is an OverflowError, a value of another type a TypeError, a broken
rule or a malformed message a ValueError. Nothing here needs numpy or a daemon.
"""

from __future__ import annotations

import dataclasses
import decimal
import hashlib
import inspect
import keyword
import operator
import types
import typing
import uuid
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, Self, TypeVar, dataclass_transform

from ._wire_codec import Block, codec_of
from ._wire_difference import REGENERATE, difference
from ._wire_rules import NO_RULES, Rules, Wrong, canonical, checked
from ._wire_scalar import Padding, octets
from ._wire_type import MOST_BYTES, FieldType, parse
from ._wire_values import Json, Timestamp

if typing.TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "F32",
    "F64",
    "I8",
    "I16",
    "I32",
    "I64",
    "U8",
    "U16",
    "U32",
    "U64",
    "U256",
    "Json",
    "Message",
    "Timestamp",
    "Wire",
    "difference",
    "digest",
    "message",
    "schema",
]

_T = TypeVar("_T")


class Wire:
    """What a field is in a message, for ``Annotated``: a type as contracts write it, and rules."""

    def __init__(
        self,
        type: str,
        *,
        min_length: int | None = None,
        max_length: int | None = None,
        not_empty: bool = False,
        min: int | float | None = None,
        max: int | float | None = None,
    ) -> None:
        self.type = parse(type)
        self.rules = checked(Rules(min_length, max_length, not_empty, min, max), self.type)


U8 = Annotated[int, Wire("u8")]
U16 = Annotated[int, Wire("u16")]
U32 = Annotated[int, Wire("u32")]
U64 = Annotated[int, Wire("u64")]
I8 = Annotated[int, Wire("i8")]
I16 = Annotated[int, Wire("i16")]
I32 = Annotated[int, Wire("i32")]
I64 = Annotated[int, Wire("i64")]
F32 = Annotated[float, Wire("f32")]
F64 = Annotated[float, Wire("f64")]
U256 = Annotated[int, Wire("U256")]


class Message:
    """The base of messages, for type checkers; `message` gives its methods to any dataclass."""

    __slots__ = ()

    TYPE_ID: ClassVar[int]
    """The number of the type on the bus."""
    SIZE: ClassVar[int]
    """Bytes that every message of the type has."""
    _layout: ClassVar[_Layout]

    def to_bytes(self) -> bytes:
        """The message as bytes; OverflowError, TypeError or ValueError name what cannot be written."""
        return self._layout.encode(self)

    @classmethod
    def from_bytes(cls, data: Buffer) -> Self:
        """The message that bytes are; ValueError if they are none."""
        return cls(*cls._layout.decode(data))


@dataclass_transform()
def message(
    *, type_id: int, size: int | None = None, offsets: Sequence[int] | None = None
) -> Callable[[type[_T]], type[_T]]:
    """Makes a class a message with this number: a dataclass with slots, if it is none yet.

    Each field is annotated with a type of this module, with ``Annotated[T, Wire(...)]``, or with
    ``bool``, ``float``, ``uuid.UUID``, ``decimal.Decimal`` or ``Timestamp``; ``T | None`` is optional.
    ``size`` and ``offsets`` are what generated code expects; another layout is a RuntimeError.
    """
    number = operator.index(type_id)
    low = 1 if size is not None else 1000  # a contract may have ranges of its own
    if not low <= number <= 65535:
        raise ValueError(f"type number {number}: an application has 1000 to 65535")

    def decorate(cls: type[_T]) -> type[_T]:
        made: Any = cls
        if "__dataclass_fields__" not in vars(cls):
            made = dataclasses.dataclass(slots=True)(cls)
        frame = inspect.currentframe()
        names = frame.f_back.f_locals if frame is not None and frame.f_back is not None else {}
        hints = typing.get_type_hints(made, localns=dict(names), include_extras=True)
        layout = _Layout(made, number, hints)
        if size is not None and (size, list(offsets or ())) != (layout.size, layout.offsets):
            text = f"{cls.__name__}: {size} bytes, fields at {offsets}; this package has {layout.size}"
            raise RuntimeError(f"{text}, fields at {layout.offsets}. Make it anew: {REGENERATE}")
        made._layout, made.TYPE_ID, made.SIZE = layout, number, layout.size
        if not issubclass(made, Message):
            made.to_bytes = Message.to_bytes
            made.from_bytes = classmethod(Message.from_bytes.__func__)  # type: ignore[attr-defined]
        return typing.cast("type[_T]", made)

    return decorate


class _Layout:
    """How a class lies in bytes."""

    def __init__(self, cls: type, type_id: int, hints: dict[str, Any]) -> None:
        fields = dataclasses.fields(cls)
        for field in fields:
            if not field.init or field.kw_only:
                raise TypeError(f"{cls.__name__}.{field.name}: from_bytes needs it as an argument")
        self.name = cls.__name__
        self.type_id = type_id
        self.names = [_wire_name(field.name) for field in fields]
        self.wires = [_wire(self.name, field.name, hints[field.name]) for field in fields]
        codecs = [codec_of(kind, rules) for kind, rules in self.wires]
        align = max((kind.align for kind, _ in self.wires), default=1)
        self.block = Block(codecs, align)
        self.offsets, self.size = self.block.offsets, self.block.size
        if self.size > MOST_BYTES:
            raise ValueError(f"{self.name}: {self.size} bytes, the most is {MOST_BYTES}")
        attributes = [field.name for field in fields]
        self.get: Callable[[object], Sequence[Any]]
        if len(attributes) > 1:
            self.get = operator.attrgetter(*attributes)
        else:
            self.get = lambda message: [getattr(message, name) for name in attributes]

    def encode(self, message: object) -> bytes:
        """The bytes of a message."""
        try:
            return self.block.pack(self.get(message))
        except Wrong as wrong:
            raise self.named(wrong) from None

    def decode(self, data: Buffer) -> list[Any]:
        """The values of the fields."""
        try:
            octet_string = octets(data, FieldType("bytes", self.size))
        except Wrong as wrong:
            raise wrong.error(f"{self.name}: {wrong.text}") from None
        if len(octet_string) != self.size:
            text = f"{self.name}: {len(octet_string)} bytes, a {self.name} has {self.size}"
            raise ValueError(text)
        try:
            return self.block.unpack(octet_string)
        except Wrong as wrong:
            raise self.named(wrong) from None
        except Padding as padding:
            where = f"{self.name}: byte {padding.at} is padding"
            raise ValueError(f"{where} and must be 0, not {padding.byte}") from None

    def named(self, wrong: Wrong) -> Exception:
        """The exception, with the names of message and field."""
        return wrong.error(f"{self.name}.{self.names[wrong.index]}: {wrong.text}")

    def lines(self) -> list[str]:
        """Its part of the canonical text."""
        lines = [f"message {self.type_id} {self.name} size {self.size}"]
        for name, (kind, rules), at in zip(self.names, self.wires, self.offsets, strict=True):
            lines.append(f" {name} {kind} at {at}{canonical(rules, kind)}")
        return lines


def _wire_name(attribute: str) -> str:
    """What a contract calls a field: `class_` is called `class` there."""
    bare = attribute.removesuffix("_")
    return bare if keyword.iskeyword(bare) else attribute


_BARE = {bool: "bool", float: "f64", uuid.UUID: "UUID", decimal.Decimal: "Decimal",
         Timestamp: "datetime"}  # fmt: skip


def _wire(owner: str, name: str, hint: Any) -> tuple[FieldType, Rules]:
    origin = typing.get_origin(hint)
    if origin is Annotated:
        wires = [extra for extra in hint.__metadata__ if isinstance(extra, Wire)]
        if wires:
            # U64 with rules of its own: the last one says it all.
            return wires[-1].type, wires[-1].rules
        return _wire(owner, name, hint.__origin__)
    if origin in (typing.Union, types.UnionType):
        inner = [one for one in typing.get_args(hint) if one is not type(None)]
        if len(inner) == 1:
            kind, rules = _wire(owner, name, inner[0])
            return (kind if kind.kind == "Option" else FieldType("Option", 0, kind)), rules
    if hint in _BARE:
        return parse(_BARE[hint]), NO_RULES
    text = f"{owner}.{name}: {hint} does not say how it lies in a message; write"
    raise TypeError(f'{text} U64, or Annotated[str, Wire("String(32)")]')


def schema(*messages: type, id: int, version: int, min_compatible: int | None = None) -> str:
    """The canonical text of a contract with these messages; programs that have the same one agree."""
    least = version if min_compatible is None else min_compatible
    if not 0 <= least <= version <= 65535 or not 0 <= id < 2**32:
        raise ValueError(f"id {id}, version {version}, min_compatible {least}: out of range")
    lines = ["ringfence contract 1", f"schema {id:08x} version {version} min_compatible {least}"]
    layouts: list[_Layout] = sorted(
        (getattr(cls, "_layout") for cls in messages), key=lambda layout: layout.type_id
    )
    for before, after in zip(layouts, layouts[1:]):
        if before.type_id == after.type_id:
            raise ValueError(f"type number {after.type_id} is {before.name}'s and {after.name}'s")
    return "\n".join([*lines, *(line for layout in layouts for line in layout.lines()), ""])


def digest(schema: str) -> bytes:
    """The SHA-256 of a contract's canonical text: its ``SCHEMA_DIGEST``."""
    return hashlib.sha256(schema.encode()).digest()
