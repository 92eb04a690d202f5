"""The exceptions: every row of the error table, what each class also is, texts and attributes."""

from __future__ import annotations

import builtins
import pickle
import re
from pathlib import Path

import pytest

import ringfence as rf
from ringfence import _errors
from ringfence._core import error_table

TABLE = error_table()
# The rows whose class is Ringfence's own, and the built-in that it also is.
OWN = {
    "CallTimeout": TimeoutError,
    "DaemonUnavailable": ConnectionError,
    "DaemonRestarted": ConnectionError,
    "DaemonStalled": TimeoutError,
    "SchemaMismatch": ValueError,
    "Backpressure": BlockingIOError,
    "PermissionDenied": PermissionError,
    "SessionKilled": rf.RingfenceError,
    "ForkedSession": rf.RingfenceError,
    "Cancelled": rf.RingfenceError,
}


def test_the_numbers_are_those_of_the_table() -> None:
    def constant(name: str) -> str:
        return re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper()

    assert {code.name: code.value for code in rf.ErrorCode} == {
        constant(name): number for number, name, _, _ in TABLE
    }


def test_every_code_has_a_paragraph_in_the_documentation() -> None:
    text = (Path(__file__).parents[2] / "docs" / "errors.md").read_text()
    # Number, name and body of each heading in turn.
    parts = re.split(r"^### RF(\d{4}) (\w+)\n", text, flags=re.MULTILINE)[1:]
    headings = list(zip(map(int, parts[0::3]), parts[1::3], strict=True))
    assert headings == [(number, name) for number, name, _, _ in TABLE]
    for body, (_, name, python, _) in zip(parts[2::3], TABLE, strict=True):
        also = OWN.get(python) or getattr(builtins, python)
        assert f"`{also.__name__}`" in body, f"{name} says what Python raises"
        assert "Effect:" in body, f"{name} says what it did"


def test_every_class_of_the_table_is_used_and_no_other() -> None:
    assert set(_errors.CLASSES) == {python for _, _, python, _ in TABLE}


@pytest.mark.parametrize(("number", "name", "python", "meaning"), TABLE)
def test_each_row_is_raised_as_its_class(
    number: int, name: str, python: str, meaning: str
) -> None:
    error = _errors.build(number, python, f"{meaning} Do this.", "not_started")
    assert isinstance(error, rf.RingfenceError)
    assert isinstance(error, OWN.get(python) or getattr(builtins, python))
    assert isinstance(error, rf.RemoteError) is (python not in OWN)
    assert error.code is rf.ErrorCode(number)
    assert error.outcome == "not_started"
    assert str(error) == error.message == f"{meaning} Do this. [RF{number}]"
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (type(error), str(error))
    assert (again.code, again.outcome) == (error.code, error.outcome)
    assert type(error).__doc__
    # Without the table's help a class has the code of its first row, if it has one of its own.
    assert type(error).code in (0, *(n for n, _, own, _ in TABLE if own == python))


def test_the_number_is_said_once() -> None:
    assert str(_errors.build(1002, "ValueError", "Wrong. [RF1002]", None)) == "Wrong. [RF1002]"


def test_a_number_of_a_newer_extension_is_kept() -> None:
    error = _errors.build(6999, "RuntimeError", "Later.", None)
    assert error.code == 6999 and not isinstance(error.code, rf.ErrorCode)


def test_outcomes_have_a_default_where_they_are_a_question() -> None:
    assert rf.CallTimeout("x").outcome == "unknown"
    assert rf.DaemonRestarted("x").outcome == "unknown"
    assert rf.DaemonUnavailable("x").outcome is None
    assert rf.CallTimeout("x").code == rf.ErrorCode.EXPIRED


@pytest.mark.parametrize(
    ("call", "kind", "code"),
    [
        (lambda c: c.vectors.open("nowhere"), KeyError, rf.ErrorCode.UNKNOWN_COLLECTION),
        (lambda c: c.submit("system.nothing"), KeyError, rf.ErrorCode.UNKNOWN_METHOD),
        (lambda c: c.submit("nobody.nothing"), KeyError, rf.ErrorCode.UNKNOWN_METHOD),
        (lambda c: c.vectors.create("x", dim=0), ValueError, rf.ErrorCode.INVALID_ARGUMENT),
    ],
)
def test_engines_raise_what_python_expects(
    client: rf.Client, call: object, kind: type[Exception], code: rf.ErrorCode
) -> None:
    assert callable(call)
    with pytest.raises(kind) as caught:
        call(client)
    assert isinstance(caught.value, rf.RemoteError)
    assert caught.value.code is code
    assert str(caught.value).endswith(f"[RF{code.value}]")
