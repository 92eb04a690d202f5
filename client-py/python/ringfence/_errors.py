"""The exceptions, by the one error table that all languages share.

Every class below :class:`RingfenceError` also is the built-in exception that fits, so ``except
ConnectionError`` and ``except KeyError`` work as everywhere else in Python.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._types import Outcome


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

    code = 5001


class DaemonRestarted(RingfenceError, ConnectionError):
    """The daemon went away while the call was in flight; :attr:`outcome` says what is known."""

    code = 5002
    outcome: Outcome | None = "unknown"


class DaemonStalled(RingfenceError, TimeoutError):
    """The daemon lives but has not run for as long as the call could wait; :attr:`outcome` says
    whether the call lay ready for it."""

    code = 5003


class CallTimeout(RingfenceError, TimeoutError):
    """The call's time passed; :attr:`outcome` is ``"unknown"`` until the daemon said otherwise."""

    code = 5008
    outcome: Outcome | None = "unknown"


class SchemaMismatch(RingfenceError, ValueError):
    """Client and daemon were built with different layouts of this method."""

    code = 5004


class Backpressure(RingfenceError, BlockingIOError):
    """A queue or a quota is full: take answers first, or try again later."""

    code = 6003


class PermissionDenied(RingfenceError, PermissionError):
    """The daemon does not let this user in."""

    code = 5011


class SessionKilled(RingfenceError):
    """The daemon ended the session because this process broke a rule of the protocol."""

    code = 5006


class ForkedSession(RingfenceError):
    """The call was submitted before this process was forked: only the parent can wait for it."""

    code = 5012


class Cancelled(RingfenceError):
    """The call was cancelled by its caller."""

    code = 5009


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
    from ._codes import ErrorCode

    suffix = f"[RF{number}]"
    error = CLASSES[class_name](message if message.endswith(suffix) else f"{message} {suffix}")
    try:
        error.code = ErrorCode(number)
    except ValueError:  # a number of a newer extension
        error.code = number
    if outcome is not None:
        error.outcome = outcome
    return error
