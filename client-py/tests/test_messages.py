"""`ringfence.messages`: the table of vectors that Rust passes too (client-rs/tests/messages.rs), code
first, and the generated module."""

from __future__ import annotations

import dataclasses
import decimal
import importlib.util
import json
import subprocess
import sys
import typing
import uuid
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import pytest

import ringfence as rf
from conftest import run_python
from ringfence import messages
from ringfence.messages import I32, U8, U16, U64, Json, Message, Timestamp, Wire, message

SHARED = Path(__file__).resolve().parents[2] / "client-rs" / "tests" / "messages"
VECTORS: dict[str, list[dict[str, Any]]] = json.loads((SHARED / "vectors.json").read_text())


def load(path: Path) -> ModuleType:
    """A module of its own from a file."""
    spec = importlib.util.spec_from_file_location(path.stem + "_messages", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


generated = load(SHARED / "generated.py")
CLASSES: list[type[Message]] = [
    getattr(generated, name) for name in generated.__all__ if not name.startswith("SCHEMA")
]


def plain(hint: Any) -> Any:
    """A hint without its annotation, and what is behind `| None`."""
    if typing.get_origin(hint) is Annotated:
        hint = typing.get_args(hint)[0]
    inner = [one for one in typing.get_args(hint) if one is not type(None)]
    return inner[0] if type(None) in typing.get_args(hint) else hint


def value_of(hint: Any, told: Any) -> Any:
    """What a value of the table is in Python; what has a wrong type stays as it is."""
    hint = plain(hint)
    if typing.get_origin(hint) is list and isinstance(told, list):
        element = typing.get_args(hint)[0]
        return [value_of(element, one) for one in typing.cast("list[Any]", told)]
    if isinstance(told, str):
        if told[:2] == "0x" and hint is int:
            return int(told, 16)
        made: dict[Any, Any] = {bytes: bytes.fromhex, float: float, uuid.UUID: uuid.UUID,
                                decimal.Decimal: decimal.Decimal, Json: Json}  # fmt: skip
        return made[hint](told) if hint in made else told
    return Timestamp(told) if hint is Timestamp and told is not None else told


def build(row: dict[str, Any]) -> Message:
    cls = getattr(generated, row["message"])
    hints = typing.get_type_hints(cls, include_extras=True)
    attributes = {name + "_" if name + "_" in hints else name: v for name, v in row["values"].items()}
    return cls(**{name: value_of(hints[name], told) for name, told in attributes.items()})


@pytest.mark.parametrize("row", VECTORS["good"], ids=lambda row: f"{row['message']}: {row['why']}")
def test_good_vectors(row: dict[str, Any]) -> None:
    sent, data = build(row), bytes.fromhex(row["bytes"])
    assert sent.to_bytes() == data
    got = type(sent).from_bytes(data)
    # NaN is no equal of itself; its text is.
    assert repr(got) == repr(sent)
    assert got.to_bytes() == data
    assert type(sent).from_bytes(memoryview(bytearray(data))).to_bytes() == data


ERRORS = {"overflow": OverflowError, "type": TypeError}


@pytest.mark.parametrize("row", VECTORS["bad_bytes"], ids=lambda row: row["says"])
def test_bytes_that_are_no_message(row: dict[str, Any]) -> None:
    with pytest.raises(ValueError) as caught:
        getattr(generated, row["message"]).from_bytes(bytes.fromhex(row["bytes"]))
    assert str(caught.value) == row["says"]
    assert type(caught.value) is ValueError and caught.value.__cause__ is None


@pytest.mark.parametrize("row", VECTORS["bad_values"], ids=lambda row: row["says"])
def test_values_that_no_message_holds(row: dict[str, Any]) -> None:
    with pytest.raises(ERRORS.get(row["error"], ValueError)) as caught:
        build(row).to_bytes()
    assert str(caught.value) == row["says"]
    assert type(caught.value) is ERRORS.get(row["error"], ValueError)


def test_the_table_has_every_message_and_kind() -> None:
    names = {cls.__name__ for cls in CLASSES}
    assert {row["message"] for row in VECTORS["good"]} == names
    kinds = {row["error"] for part in ("bad_bytes", "bad_values") for row in VECTORS[part]}
    assert kinds == {"length", "padding", "utf8", "broken", "value", "overflow", "type"}


def test_every_byte_that_is_no_value_is_checked() -> None:
    """Flip each byte of each good message: either it is refused, or it was a value's."""
    for row in VECTORS["good"]:
        cls, data = getattr(generated, row["message"]), bytes.fromhex(row["bytes"])
        for at in range(len(data)):
            changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
            try:
                got = cls.from_bytes(changed)
            except ValueError:
                continue
            # Python's floats make a signalling NaN of an f32 a quiet one.
            assert got.to_bytes() == changed or "nan" in repr(got)


def test_the_digest_is_the_one_that_the_generator_worked_out() -> None:
    text = messages.schema(*reversed(CLASSES), id=0x4D594345, version=3, min_compatible=2)
    assert text == generated.SCHEMA
    assert messages.digest(text) == generated.SCHEMA_DIGEST
    assert generated.SCHEMA_DIGEST.hex() == generated.SCHEMA_DIGEST_HEX


def test_the_classes_are_dataclasses_with_slots() -> None:
    text = generated.TextMessage("ada", "hi", timestamp=5)
    assert (text.TYPE_ID, text.SIZE) == (1001, 312)
    assert dataclasses.asdict(text) == {"sender": "ada", "content": "hi", "timestamp": 5}
    assert text == generated.TextMessage.from_bytes(text.to_bytes())
    with pytest.raises(AttributeError):
        text.sendr = "x"
    assert generated.Awkward(1, 2, 3, 4, 5).int is None


# --- code first -------------------------------------------------------------------------------------


@rf.message(type_id=1001)
class TextMessage(Message):
    """The same as the generated one."""

    sender: Annotated[str, Wire("String(32)")]
    content: Annotated[str, Wire("String(256)", not_empty=True, max_length=256)]
    timestamp: U64


@message(type_id=1500)
@dataclasses.dataclass(frozen=True)
class Bare:
    """A dataclass that was there before."""

    number: U64 | None
    at: Timestamp
    id: uuid.UUID
    price: decimal.Decimal
    flag: bool = True
    ratio: float = 0.5


def test_code_first_lies_as_generated() -> None:
    mine, theirs = TextMessage("ada", "hi", 5), generated.TextMessage("ada", "hi", 5)
    assert mine.to_bytes() == theirs.to_bytes()
    assert messages.schema(TextMessage, id=1, version=1) == messages.schema(
        generated.TextMessage, id=1, version=1
    )


def test_a_dataclass_becomes_a_message() -> None:
    one: Any = Bare(None, Timestamp(1), uuid.UUID(int=7), decimal.Decimal("1.50"))
    cls: Any = Bare
    assert cls.from_bytes(one.to_bytes()) == one
    assert "number Option<u64> at 0" in messages.schema(Bare, id=1, version=1)


def test_types_of_a_function_are_found() -> None:
    Local = Annotated[int, Wire("i8")]

    @message(type_id=1501)
    class Inner(Message):
        x: Local

    assert Inner(-1).to_bytes() == b"\xff"


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        (lambda: message(type_id=999), ValueError, "999: an application has 1000 to 65535"),
        (lambda: message(type_id=65536), ValueError, "65536: an application has"),
        (lambda: Wire("string(3)"), ValueError, "'string' is no type; there are bool, u8"),
        (lambda: Wire("Vec<u8"), ValueError, "`>` is missing"),
        (lambda: Wire("String(0)"), ValueError, "'0' is no number from 1 to 65535"),
        (lambda: Wire("[[u64; 65535]; 65535]"), ValueError, "bytes, the most is 4194304"),
        (lambda: Wire("u8 u8"), ValueError, "the end is missing before 'u8'"),
        (lambda: Wire("Option<Option<u8>>"), ValueError, "an option of an option"),
        (lambda: Wire("[" * 9 + "u8" + "; 1]" * 9), ValueError, "nested more than 8 deep"),
        (lambda: Wire("u8", not_empty=True), ValueError, "rule not_empty is not for u8"),
        (lambda: Wire("String(3)", max_length=4), ValueError, "rule max_length=4 is not for"),
        (lambda: Wire("String(3)", min=4), ValueError, "rule min=4 is not for String"),
        (lambda: Wire("u8", min=0.5), ValueError, "rule min=0.5 is not for u8"),
        (lambda: Timestamp.of(__import__("datetime").datetime(2020, 1, 1)), ValueError, "tzinfo"),
        (lambda: Json.of(float("nan")), ValueError, "not JSON compliant"),
        (lambda: messages.schema(TextMessage, TextMessage, id=1, version=1), ValueError, "1001 is"),
        (lambda: messages.schema(id=1, version=1, min_compatible=2), ValueError, "out of range"),
        (lambda: TextMessage.from_bytes(typing.cast("bytes", "text")), TypeError, "not str"),
    ],
)
def test_mistakes_are_told(wrong: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        wrong()
    assert text in str(caught.value)


def test_a_field_must_say_how_it_lies() -> None:
    with pytest.raises(TypeError, match=r"Untold\.x: <class 'int'> does not say how .* write U64"):

        @message(type_id=1502)
        class Untold(Message):
            x: int

        del Untold
    with pytest.raises(RuntimeError, match=r"Moved: 4 bytes, fields at \(0, 2\); .* has 2, fields at"):

        @message(type_id=1503, size=4, offsets=(0, 2))
        class Moved(Message):
            x: U8
            y: U8

        del Moved


def test_times_and_json_keep_everything() -> None:
    moment = Timestamp(1_700_000_000_123_456_789)
    assert moment.datetime.isoformat() == "2023-11-14T22:13:20.123456+00:00"
    assert Timestamp.of(moment.datetime) == 1_700_000_000_123_456_000
    assert Timestamp(-1).datetime.isoformat() == "1969-12-31T23:59:59.999999+00:00"
    assert Json.of({"é": [1, None]}) == '{"é":[1,null]}'
    assert Json('{"a": 1.50}').value == {"a": 1.5}


def test_numpy_numbers_and_arrays_are_taken() -> None:
    import numpy as np

    position = generated.PlayerPosition(np.uint64(1), np.array([1, 2, 3], np.float32), np.float32(4))
    assert position.to_bytes() == generated.PlayerPosition(1, [1, 2, 3], 4).to_bytes()
    game = generated.GameState(1, np.bool_(True), np.zeros((3, 2), np.int16), ["a"])
    assert game.to_bytes() == generated.GameState(1, True, [[0, 0]] * 3, ["a"]).to_bytes()
    items = [np.full(20, 7, np.uint8)]
    assert generated.BatchOperation(1, items).to_bytes()[16:36] == b"\7" * 20


@pytest.mark.parametrize("sign", [1, -1])
def test_numbers_too_long_to_be_written_are_out_of_range(sign: int) -> None:
    value = sign * 10**5000
    for message_type, field in ((generated.CounterUpdate, 0), (generated.PoolStateUpdate, 1)):
        values: list[Any] = [1, 2, 3] if field == 0 else [bytes(20), 0, 0, 0]
        values[field] = value
        with pytest.raises(OverflowError, match="a number of 16610 bits is out of range"):
            message_type(*values).to_bytes()
    with pytest.raises(OverflowError, match="out of range of f64"):
        generated.PlayerPosition(1, [0, 0, 0], value).to_bytes()
    price = decimal.Decimal((0, (1,) * 5000, -30))
    with pytest.raises(OverflowError, match="InstrumentMeta.tick_size: .* its digits take an i128"):
        generated.InstrumentMeta("", price, bytes(20), Timestamp(0), Json("")).to_bytes()


# --- differences ------------------------------------------------------------------------------------


@message(type_id=1002)
class Counter(Message):
    """Here."""

    value: I32
    step: U16


def changed(text: str, *changes: tuple[str, str]) -> str:
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ([("step u16", "step u32")], "Counter.step: `u16 at 4` here, `u32 at 4` there"),
        ([(" step u16 at 4\n", "")], "Counter.step: `u16 at 4` here only"),
        ([("at 4\n", "at 4\n more u8 at 6\n")], "Counter.more: `u8 at 6` there only"),
        ([(" step", " stop")], "Counter.step: `u16 at 4` here, `stop u16 at 4` there"),
        (
            [("1002 Counter", "1002 Counting")],
            "Counter: `message 1002 Counter size 8` here, `message 1002 Counting size 8` there",
        ),
        ([("1002", "1003")], "Counter: `message 1002 Counter size 8` here only"),
        (
            [("version 1", "version 2")],
            "schema: `schema 00000001 version 1 min_compatible 1` here, "
            "`schema 00000001 version 2 min_compatible 1` there",
        ),
    ],
)
def test_the_first_difference_is_named(changes: list[tuple[str, str]], says: str) -> None:
    here = messages.schema(Counter, id=1, version=1)
    how = "make both from one contracts.yaml: ringfence codegen contracts.yaml --lang LANG --out FILE"
    assert messages.difference(here, changed(here, *changes)) == f"{says}; {how}"
    assert messages.difference(here, here) is None


PROGRAM = """\
from typing import Annotated

import ringfence as rf
from generated import CounterUpdate, GameState
from ringfence.messages import U64, Message, Wire


@rf.message(type_id=2000)
class Own(Message):
    number: U64
    text: Annotated[str, Wire("String(8)")] = ""


def right(data: bytes) -> int:
    update = CounterUpdate.from_bytes(memoryview(data))
    winner: str | None = GameState(1, True, [[1, 2]], ["a"]).winner
    assert winner is None
    own: Own = Own.from_bytes(Own(1, text="a").to_bytes())
    return update.value + len(update.to_bytes()) + CounterUpdate.TYPE_ID + own.number
"""

WRONG = [
    ('CounterUpdate("1", 2, 3)', 'incompatible type "str"; expected "int"'),
    ("CounterUpdate(1, 2)", 'Missing positional argument "delta"'),
    ("CounterUpdate(1, 2, 3).valeu", 'has no attribute "valeu"'),
    ("Own(text=1)", 'expected "str"'),
    ("GameState(1, True, [1], [])", 'List item 0 has incompatible type "int"'),
]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_strict_checkers_understand_the_classes(checker: str, tmp_path: Path) -> None:
    (tmp_path / "generated.py").write_text((SHARED / "generated.py").read_text())
    (tmp_path / "right.py").write_text(PROGRAM)
    more = {"mypy": ["--strict", "--no-error-summary"], "pyright": ["--pythonpath", sys.executable]}
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')

    def check(*files: str) -> str:
        command = [sys.executable, "-m", checker, *more[checker], *files]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=280)
        return "" if result.returncode == 0 else result.stdout

    assert check("generated.py", "right.py") == ""
    if checker == "mypy":
        lines = "".join(f"    {line}\n" for line, _ in WRONG)
        (tmp_path / "wrong.py").write_text(f"{PROGRAM}\ndef wrong() -> None:\n{lines}")
        found = check("wrong.py")
        assert [text for _, text in WRONG if text not in found] == [], found


def test_nothing_heavy_is_imported() -> None:
    script = """
import sys, ringfence
assert "ringfence.messages" not in sys.modules
ringfence.message
heavy = {"numpy", "asyncio", "ctypes", "json", "concurrent.futures"} & set(sys.modules)
assert "ringfence.messages" in sys.modules and not heavy, heavy
"""
    result = run_python(script)
    assert (result.returncode, result.stderr) == (0, "")
