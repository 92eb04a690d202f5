"""Native half of the package; not an API. The public classes derive from or wrap these."""

import os
import sys
from collections.abc import Callable, Iterable
from types import EllipsisType
from typing import Any, Literal, Protocol, Self, SupportsIndex, final, type_check_only

from typing_extensions import Buffer, disjoint_base

__version__: str

# numpy says so of its arrays only where Python itself has a type for it, from 3.12 on.
@type_check_only
class _Array(Protocol):
    def __array__(self) -> Any: ...

@disjoint_base
class Client:
    """A connection to a daemon. Any thread may use it."""

    def __new__(
        cls,
        target: str | None = None,
        *,
        autostart: str | os.PathLike[str] | None = None,
        daemon: str | os.PathLike[str] | None = None,
        timeout: float | None | EllipsisType = ...,
        spin: Literal["adaptive", "always", "never"] = "adaptive",
        name: str | None = None,
    ) -> Self: ...
    def echo(self, data: Buffer | _Array, /, *, timeout: float | None | EllipsisType = ...) -> bytes:
        """Sends bytes and gives back what the daemon answers: the same."""

    def echo_many(
        self, items: Iterable[Buffer | _Array], /, *, timeout: float | None | EllipsisType = ...
    ) -> list[bytes]:
        """Sends every item, many in flight at a time, and gives the answers in the same order."""

    def ping(self, *, timeout: float | None | EllipsisType = ...) -> None:
        """Asks the daemon for a sign of life."""

    def close(self) -> None:
        """Lets go of the daemon. Later calls raise; a second `close` does nothing."""

    def _apart(self) -> Client: ...
    def _is_closed(self) -> bool: ...
    def _loan(self, len: int) -> Loan: ...
    def _method(self, engine: str, name: str) -> Method: ...
    def _info(self) -> tuple[str | None, str | None, int, int, int, str, bool, bool, bool]: ...
    def _engines(self) -> list[tuple[str, str, list[str]]]: ...

@disjoint_base
class AsyncClient:
    """A connection to a daemon that belongs to one event loop."""

    def __new__(
        cls,
        make_future: Callable[[], Any],
        target: str | None = None,
        *,
        autostart: str | os.PathLike[str] | None = None,
        daemon: str | os.PathLike[str] | None = None,
        timeout: float | None | EllipsisType = ...,
        spin: Literal["adaptive", "always", "never"] = "adaptive",
        name: str | None = None,
    ) -> Self: ...
    def fileno(self) -> int:
        """What the event loop watches for reading."""

    def turn(self) -> list[tuple[Any, Any, BaseException | None]]:
        """Goes on with all calls that can: (future, value, exception) of each that is over."""

    def knows(self) -> bool:
        """Is the catalogue of the present daemon known?"""

    def learn(self, *, timeout: float | None | EllipsisType = ...) -> AsyncCall | None:
        """Connects, and fetches the catalogue."""

    def echo(
        self, data: Buffer | _Array, /, *, timeout: float | None | EllipsisType = ...
    ) -> AsyncCall | bytes:
        """Sends bytes and gives back what the daemon answers: the same."""

    def ping(self, *, timeout: float | None | EllipsisType = ...) -> AsyncCall | None:
        """Asks the daemon for a sign of life."""

    def call(
        self,
        method: Method,
        fields: dict[str, Any],
        /,
        *,
        timeout: float | None | EllipsisType = ...,
    ) -> Any:
        """Calls a method with values by name; the answer is a named tuple, or `None` without fields."""

    def invoke(
        self,
        method: Method,
        values: tuple[Any, ...],
        /,
        *,
        timeout: float | None | EllipsisType = ...,
    ) -> Any:
        """Calls a method with values in the order of its fields; the answer is a tuple."""

    def forget(self, call: AsyncCall) -> None:
        """Gives a call up: its ticket is free as soon as the daemon has let go of it."""

    def close(self) -> None:
        """Lets go of the daemon. Open calls end at the next turn."""

    def _method(self, engine: str, name: str) -> Method: ...
    def _info(self) -> tuple[str | None, str | None, int, int, int, str, bool, bool, bool]: ...
    def _engines(self) -> list[tuple[str, str, list[str]]]: ...

@final
class AsyncCall:
    """A call that was not answered at once."""

    @property
    def future(self) -> Any:
        """The future of the event loop that stands for it."""

@final
class Method:
    """A method of an engine of a client's daemon."""

    def call(
        self, fields: dict[str, Any], /, *, timeout: float | None | EllipsisType = ...
    ) -> Any: ...
    def invoke(
        self, values: tuple[Any, ...], /, *, timeout: float | None | EllipsisType = ...
    ) -> tuple[Any, ...]: ...
    def submit(
        self, fields: dict[str, Any], /, *, timeout: float | None | EllipsisType = ...
    ) -> Pending: ...
    def describe(
        self,
    ) -> tuple[str, list[tuple[str, str, str]], list[tuple[str, str, str]], bool, int | None]: ...

@final
class Pending:
    """A call in flight. Dropped unanswered, it is cancelled."""

    def result(self, *, timeout: float | None | EllipsisType = ...) -> Any:
        """The answer: waits for it, `timeout` seconds at most (by default as long as the call may
        take, `None` is for ever). If that time passes, `CallTimeout` is raised and the call goes
        on: `result` may be called again."""

    def done(self) -> bool:
        """Has the answer arrived? Never waits."""

    @staticmethod
    def _first_of(
        pendings: list[Pending], /, *, timeout: float | None | EllipsisType = ...
    ) -> int | None: ...
    def cancel(self) -> None:
        """Asks the daemon to stop working on it. `result` then raises `Cancelled`, or gives the
        answer if that was quicker."""

@final
class Layout:
    """The fields of a request or a reply, with the name that errors call it by."""

    def __new__(cls, owner: str, fields: list[tuple[str, str]]) -> Self: ...
    def pack(self, **values: Any) -> bytes: ...
    def unpack(self, data: bytes, /) -> tuple[Any, ...]: ...

@final
class View:
    """The bytes of one reply, read-only."""

    def __len__(self) -> int: ...
    if sys.version_info >= (3, 12):
        def __buffer__(self, flags: SupportsIndex, /) -> memoryview: ...

@final
class Loan:
    """Request memory that Python fills in place."""

    def __len__(self) -> int: ...
    if sys.version_info >= (3, 12):
        def __buffer__(self, flags: SupportsIndex, /) -> memoryview: ...

def copied_bytes() -> int:
    """Bytes of payloads over 64 KiB that the clients of this process have copied so far."""

def error_table() -> list[tuple[int, str, str, str]]: ...
