"""Packing and unpacking by layout, against an encoder of its own written from the rules."""

from __future__ import annotations

import array
import math
import random
import struct
from typing import Any

import numpy as np
import pytest

from ringfence._core import Layout

# Element type: format in `struct`, size, lowest and highest value.
INTEGERS = {
    "u8": ("B", 1, 0, 2**8 - 1),
    "u16": ("H", 2, 0, 2**16 - 1),
    "u32": ("I", 4, 0, 2**32 - 1),
    "u64": ("Q", 8, 0, 2**64 - 1),
    "i8": ("b", 1, -(2**7), 2**7 - 1),
    "i16": ("h", 2, -(2**15), 2**15 - 1),
    "i32": ("i", 4, -(2**31), 2**31 - 1),
    "i64": ("q", 8, -(2**63), 2**63 - 1),
}
FLOATS = {"f32": ("f", 4), "f64": ("d", 8)}
FORMATS = {name: (row[0], row[1]) for name, row in (INTEGERS | FLOATS).items()} | {"bool": ("?", 1)}


def padded(out: bytearray, size: int) -> None:
    out.extend(b"\0" * (-len(out) % size))


def oracle(fields: list[tuple[str, str]], values: dict[str, Any]) -> bytes:
    """The encoding by the rules in `message.rs`, the slow way."""
    fixed, tail = bytearray(), []
    for index, (name, ty) in enumerate(fields):
        value = values[name]
        if ty in FORMATS:
            code, size = FORMATS[ty]
            padded(fixed, size)
            fixed += struct.pack("<" + code, value)
            continue
        code, size = ("B", 1) if ty == "str" else FORMATS[ty[1:-1]]
        elements = value.encode() if ty == "str" else value
        if index + 1 < len(fields):
            padded(fixed, 4)
            fixed += struct.pack("<I", len(elements))
        tail.append((size, struct.pack(f"<{len(elements)}{code}", *elements)))
    for size, data in tail:
        padded(fixed, size)
        fixed += data
    return bytes(fixed)


def one(generator: random.Random, ty: str) -> Any:
    if ty in INTEGERS:
        _, _, low, high = INTEGERS[ty]
        return generator.choice((low, high, generator.randint(low, high)))
    if ty == "bool":
        return generator.random() < 0.5
    value = generator.choice((0.0, -1.5, math.inf, generator.uniform(-1e30, 1e30)))
    return struct.unpack("f", struct.pack("f", value))[0] if ty == "f32" else value


def value_of(generator: random.Random, ty: str) -> Any:
    if ty == "str":
        return generator.choice(("", "Ada", "añ€𝄞\n\0"))
    if ty.startswith("["):
        return [one(generator, ty[1:-1]) for _ in range(generator.randrange(6))]
    return one(generator, ty)


@pytest.mark.parametrize("seed", range(300))
def test_random_messages_are_packed_by_the_rules_and_come_back(seed: int) -> None:
    generator = random.Random(seed)
    types = [*FORMATS, "str", *(f"[{scalar}]" for scalar in FORMATS)]
    fields = [(f"f{i}", generator.choice(types)) for i in range(generator.randrange(8))]
    values = {name: value_of(generator, ty) for name, ty in fields}
    layout = Layout("test()", fields)
    data = layout.pack(**values)
    assert data == oracle(fields, values)
    for (name, ty), got in zip(fields, layout.unpack(data), strict=True):
        if ty.startswith("["):
            assert list(got) == values[name]
        else:
            assert got == values[name] and type(got) is type(values[name])


@pytest.mark.parametrize("ty", INTEGERS)
def test_integers_are_checked_at_both_ends(ty: str) -> None:
    _, _, low, high = INTEGERS[ty]
    layout = Layout("greeter.hello()", [("times", ty)])
    for wrong in (low - 1, high + 1, 2**200, -(2**200)):
        with pytest.raises(OverflowError) as caught:
            layout.pack(times=wrong)
        said = str(wrong) if abs(wrong) < 2**100 else "too large"
        assert str(caught.value) == (
            f"greeter.hello(): `times` is {said}, {ty} takes {low} to {high}"
        )
    many = Layout("greeter.hello()", [("times", f"[{ty}]")])
    with pytest.raises(OverflowError, match="`times` is"):
        many.pack(times=[0, high + 1])


def test_a_single_that_would_become_infinite_is_refused() -> None:
    layout = Layout("t()", [("x", "f32")])
    assert layout.pack(x=3.4028235e38) == struct.pack("f", 3.4028235e38)
    assert layout.pack(x=math.inf) == struct.pack("f", math.inf)
    with pytest.raises(OverflowError, match=r"`x` is 1e39, f32 takes up to"):
        layout.pack(x=1e39)


@pytest.mark.parametrize(
    ("ty", "value", "text"),
    [
        ("u32", 1.5, "`x` takes u32 (int), not float"),
        ("u32", "5", "`x` takes u32 (int), not str"),
        ("f64", "5", "`x` takes f64 (float), not str"),
        ("bool", 1, "`x` takes bool, not int"),
        ("str", b"abc", "`x` takes str, not bytes"),
        ("[u64]", 5, "`x` takes u64 elements (an array or a sequence), not int"),
        ("[u64]", "abc", "`x` takes u64 elements (an array or a sequence), not str"),
        ("[u8]", "abc", "`x` takes u8 elements (bytes, an array or a sequence), not str"),
        ("[f32]", [1.0, None], "`x` takes f32 (float), not NoneType"),
    ],
)
def test_wrong_types_name_the_field(ty: str, value: object, text: str) -> None:
    with pytest.raises(TypeError) as caught:
        Layout("t()", [("x", ty)]).pack(x=value)
    assert str(caught.value) == f"t(): {text}"


def test_wrong_names_say_what_there_is() -> None:
    layout = Layout("greeter.hello()", [("times", "u32"), ("name", "str")])
    for given, text in (
        ({"times": 1}, "needs the field `name`"),
        ({"times": 1, "nam": "Ada"}, "has no field `nam`"),
        ({"times": 1, "name": "Ada", "extra": 1}, "has no field `extra`"),
        ({}, "needs the field `times`"),
    ):
        with pytest.raises(TypeError) as caught:
            layout.pack(**given)
        assert str(caught.value) == f"greeter.hello() {text}; it takes times: u32, name: str"
    with pytest.raises(TypeError, match="has no field `x`; it takes none"):
        Layout("system.ping()", []).pack(x=1)


@pytest.mark.parametrize(
    "ids",
    [
        np.array([1, 2, 3], np.uint64),
        array.array("Q", [1, 2, 3]),
        memoryview(array.array("L", [1, 2, 3])),
        struct.pack("3Q", 1, 2, 3),
        [1, 2, 3],
        (1, np.int8(2), True + 2),
        range(1, 4),
    ],
)
def test_arrays_go_in_as_anything_that_holds_the_elements(ids: object) -> None:
    layout = Layout("t()", [("ids", "[u64]")])
    assert layout.pack(ids=ids) == struct.pack("3Q", 1, 2, 3)


def test_an_array_of_other_elements_names_the_conversion() -> None:
    layout = Layout("t()", [("ids", "[u64]")])
    for wrong in (np.arange(3), np.arange(3, dtype=">u8"), array.array("d", [1]), bytearray(8)):
        with pytest.raises(TypeError, match=r'pass numpy\.asarray\(ids, dtype="uint64"\)'):
            layout.pack(ids=wrong)
    with pytest.raises(TypeError, match=r"numpy\.ascontiguousarray\(ids\)"):
        layout.pack(ids=np.arange(6, dtype=np.uint64)[::2])
    with pytest.raises(ValueError, match="`ids` has 7 bytes, no whole number of 8"):
        layout.pack(ids=b"1234567")


def test_arrays_come_out_read_only_and_keep_their_memory() -> None:
    layout = Layout("t()", [("count", "u8"), ("ids", "[u64]"), ("raw", "[u8]")])
    count, ids, raw = layout.unpack(layout.pack(count=3, ids=[7, 8], raw=b"xyz"))
    assert (count, raw) == (3, b"xyz")
    assert isinstance(ids, np.ndarray) and ids.dtype == np.uint64
    assert ids.flags.aligned and not ids.flags.writeable
    del layout
    assert ids.tolist() == [7, 8]
    with pytest.raises(ValueError, match="read-only"):
        ids[0] = 1


def test_a_reply_of_another_layout_is_an_error_and_never_read_beyond() -> None:
    layout = Layout("t()", [("n", "u64"), ("ids", "[u64]"), ("text", "str")])
    good = layout.pack(n=1, ids=[5], text="abc")
    for length in range(12):
        with pytest.raises(ValueError, match="daemon and client disagree"):
            layout.unpack(good[:length])
    with pytest.raises(ValueError, match="field `ids` should be 34359738360 at 16"):
        layout.unpack(good[:8] + b"\xff" * 4 + good[12:])
    with pytest.raises(ValueError, match="field `text`"):
        layout.unpack(good[:-1] + b"\xff")
