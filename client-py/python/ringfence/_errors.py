"""The exceptions, by the one error table that all languages share.

Every class below :class:`RingfenceError` also is the built-in exception that fits, so ``except
ConnectionError`` and ``except KeyError`` work as everywhere else in Python. ``ErrorCode`` repeats the
table of the protocol crate; a test holds the two equal.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Literal

Outcome = Literal["not_started", "unknown"]


class ErrorCode(IntEnum):
    """The numbers of the error table. Thousands group them: 1 validation, 2 computation, 3 input and
    output, 4 internal, 5 boundary, 6 resources."""

    INVALID_ARGUMENT = 1001
    WRONG_DIMENSION = 1002
    NOT_FINITE = 1003
    WRONG_TYPE = 1004
    OUT_OF_RANGE = 1005
    MALFORMED = 1006
    ALREADY_EXISTS = 1007
    UNKNOWN_COLLECTION = 1011
    UNKNOWN_ID = 1014
    UNKNOWN_METHOD = 1015
    ALGORITHM = 2001
    FILE_NOT_FOUND = 3001
    IO = 3002
    INTERNAL = 4001
    DAEMON_UNAVAILABLE = 5001
    DAEMON_RESTARTED = 5002
    DAEMON_STALLED = 5003
    SCHEMA_MISMATCH = 5004
    ENGINE_PANICKED = 5005
    SESSION_KILLED = 5006
    EXPIRED = 5008
    CANCELLED = 5009
    INTERRUPTED = 5010
    PERMISSION_DENIED = 5011
    FORKED_SESSION = 5012
    SHUTTING_DOWN = 5013
    OUT_OF_MEMORY = 6001
    TOO_LARGE = 6002
    BACKPRESSURE = 6003
    QUOTA = 6004
    REPLY_ARENA_FULL = 6005


class RingfenceError(Exception):
    """Whatever Ringfence raises for a reason of its own."""

    code: int = 0
    """The number in the error table, an :class:`ErrorCode` where this version knows it."""

    outcome: Outcome | None = None
    """What is known about a call that got no answer: ``"not_started"`` (it took no effect; call
    again) or ``"unknown"`` (it may have taken effect). ``None`` where that is no question."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message)

    @property
    def message(self) -> str:
        """What was wrong, with the numbers in it, and what to do next."""
        return str(self.args[0]) if self.args else ""

    def __str__(self) -> str:
        # KeyError would show the repr of its argument.
        return self.message


class DaemonUnavailable(RingfenceError, ConnectionError):
    """No daemon answers at the target."""

    code = ErrorCode.DAEMON_UNAVAILABLE


class DaemonRestarted(RingfenceError, ConnectionError):
    """The daemon went away while the call was in flight; :attr:`outcome` says what is known."""

    code = ErrorCode.DAEMON_RESTARTED
    outcome: Outcome | None = "unknown"


class DaemonStalled(RingfenceError, TimeoutError):
    """The daemon lives but has not run for as long as the call could wait."""

    code = ErrorCode.DAEMON_STALLED


class CallTimeout(RingfenceError, TimeoutError):
    """The call's time passed; :attr:`outcome` is ``"unknown"`` until the daemon said otherwise."""

    code = ErrorCode.EXPIRED
    outcome: Outcome | None = "unknown"


class SchemaMismatch(RingfenceError, ValueError):
    """Client and daemon were built with different layouts of this method."""

    code = ErrorCode.SCHEMA_MISMATCH


class Backpressure(RingfenceError, BlockingIOError):
    """A queue or a quota is full: take answers first, or try again later."""

    code = ErrorCode.BACKPRESSURE


class PermissionDenied(RingfenceError, PermissionError):
    """The daemon does not let this user in."""

    code = ErrorCode.PERMISSION_DENIED


class SessionKilled(RingfenceError):
    """The daemon ended the session because this process broke a rule of the protocol."""

    code = ErrorCode.SESSION_KILLED


class ForkedSession(RingfenceError):
    """The call was submitted before this process was forked: only the parent can wait for it."""

    code = ErrorCode.FORKED_SESSION


class Cancelled(RingfenceError):
    """The call was cancelled by its caller."""

    code = ErrorCode.CANCELLED


class RemoteError(RingfenceError):
    """An engine's answer to a call that it could not carry out. What is raised is one of its
    subclasses, each of which also is the built-in exception of the same name."""


class RemoteValueError(RemoteError, ValueError):
    """An argument has a value that the method does not accept."""


class RemoteTypeError(RemoteError, TypeError):
    """An argument has a type that the method does not accept."""


class RemoteKeyError(RemoteError, KeyError):
    """No such collection, id or method."""


class RemoteOverflowError(RemoteError, OverflowError):
    """A number does not fit the field that it is meant for."""


class RemoteMemoryError(RemoteError, MemoryError):
    """Memory could not be had."""


class RemoteOSError(RemoteError, OSError):
    """The operating system refused an operation."""


class RemoteFileNotFoundError(RemoteError, FileNotFoundError):
    """A file or directory does not exist."""


class RemoteRuntimeError(RemoteError, RuntimeError):
    """A computation failed, or an engine panicked."""


CLASSES: dict[str, type[RingfenceError]] = {
    "ValueError": RemoteValueError,
    "TypeError": RemoteTypeError,
    "KeyError": RemoteKeyError,
    "OverflowError": RemoteOverflowError,
    "MemoryError": RemoteMemoryError,
    "OSError": RemoteOSError,
    "FileNotFoundError": RemoteFileNotFoundError,
    "RuntimeError": RemoteRuntimeError,
    "CallTimeout": CallTimeout,
    "DaemonUnavailable": DaemonUnavailable,
    "DaemonRestarted": DaemonRestarted,
    "DaemonStalled": DaemonStalled,
    "SchemaMismatch": SchemaMismatch,
    "Backpressure": Backpressure,
    "PermissionDenied": PermissionDenied,
    "SessionKilled": SessionKilled,
    "ForkedSession": ForkedSession,
    "Cancelled": Cancelled,
}
"""The class of each row of the table, by the name that the row has for it."""


def build(number: int, class_name: str, message: str, outcome: Outcome | None) -> RingfenceError:
    """The exception for one row of the table. Called by the native half."""
    suffix = f"[RF{number}]"
    error = CLASSES[class_name](message if message.endswith(suffix) else f"{message} {suffix}")
    try:
        error.code = ErrorCode(number)
    except ValueError:  # a number of a newer extension
        error.code = number
    if outcome is not None:
        error.outcome = outcome
    return error
