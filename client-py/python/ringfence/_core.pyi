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
    def _topic(
        self, name: str, asked: tuple[int, int, int, int, str, float] | None
    ) -> Topic: ...
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

    def loan(
        self, len: int, /, *, timeout: float | None | EllipsisType = ...
    ) -> AsyncCall | Loan:
        """Memory for so many bytes that the daemon reads where they are filled."""

    def topic(
        self, name: str, asked: tuple[int, int, int, int, str, float] | None
    ) -> Topic | AsyncCall:
        """The topic of this name; made as it is asked for if there is none."""

    def publish(
        self,
        topic: Topic,
        payload: Buffer | _Array,
        type_id: int,
        trace: int,
        correlation: int,
        must_be_heard: bool,
        timeout: float | None | EllipsisType,
    ) -> Position | AsyncCall:
        """Publishes a message: its place."""

    def subscribe(
        self,
        topic: Topic,
        start: Literal["newest", "oldest"] | Position | None,
        drop_oldest: int | None,
        drop_newest: int | None,
    ) -> TopicSubscription | AsyncCall:
        """Subscribes to a topic."""

    def recv(self, subscription: TopicSubscription) -> Message | AsyncCall | None:
        """The next message of a subscription; `None` where some were missed, which that one says."""

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

@final
class Topology:
    """A checked topology."""

    def __new__(cls, path: str | os.PathLike[str]) -> Self:
        """The topology that a file describes."""

    def nodes(
        self,
    ) -> list[
        tuple[str, Literal["none", "shm", "unix", "tcp"], str | None, int | None, list[str]]
    ]:
        """Its nodes in the order of the file."""

    def warnings(self) -> list[str]:
        """What is taken but has no effect."""

    def node_of(self, service: str) -> str:
        """The name of the node that a service lives on."""

    def route(
        self, from_service: str, to_service: str
    ) -> tuple[
        Literal["local", "shm", "unix", "tcp"], os.PathLike[str] | None, str | None, int | None
    ]:
        """The way from one service to another."""

def copied_bytes() -> int:
    """Bytes of payloads over 64 KiB that the clients of this process have copied so far."""

def message_topic(type_id: int, longest: int) -> tuple[str, int, int, int, int]:
    """Name, slots, bytes of a payload, blocks and their bytes of the topic of a type of message."""

def error_table() -> list[tuple[int, str, str, str]]: ...

@final
class Position:
    """Where a message stands: the daemon's run, and its number in the topic there."""

    def __new__(cls, epoch: int, sequence: int) -> Self: ...
    @property
    def epoch(self) -> int: ...
    @property
    def sequence(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __lt__(self, other: Position, /) -> bool: ...
    def __le__(self, other: Position, /) -> bool: ...
    def __gt__(self, other: Position, /) -> bool: ...
    def __ge__(self, other: Position, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Message:
    """A message that was received."""

    @property
    def data(self) -> bytes | memoryview:
        """The payload: bytes, or a view of the topic's log if it lies in a block of that."""

    @property
    def position(self) -> Position:
        """Where it stands in its topic."""

    @property
    def type_id(self) -> int:
        """What the payload is: a number of the message schema."""

    @property
    def timestamp(self) -> int:
        """When it got its position: nanoseconds since 1970."""

    @property
    def publisher(self) -> int:
        """The session that published it; 0 in process."""

    @property
    def trace(self) -> int:
        """The publisher's trace id; 0 is none."""

    @property
    def correlation(self) -> int:
        """What it answers or belongs to; 0 is nothing."""

    @property
    def missed(self) -> int:
        """Messages that were overwritten right before it, and are lost to this subscription."""

@final
class TopicStats:
    """How a topic stands."""

    @property
    def published(self) -> int:
        """Messages published so far."""

    @property
    def subscriptions(self) -> int:
        """Subscriptions that are open."""

    @property
    def waiting(self) -> int:
        """Publishes that wait for room."""

    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]  # pyright: ignore[reportIncompatibleMethodOverride]

@final
class Counts:
    """What became of the messages since a subscription's start: together all that was published."""

    @property
    def received(self) -> int:
        """Handed out."""

    @property
    def missed(self) -> int:
        """Overwritten before they were read, or published and not read when it was cut off."""

    @property
    def dropped(self) -> int:
        """Read, and dropped from its buffer or instead of entering it."""

    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]  # pyright: ignore[reportIncompatibleMethodOverride]

@final
class Topic:
    """A topic: messages that many publish and many read, in one order. Any thread may use it."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def slots(self) -> int:
        """Messages that its log holds."""

    @property
    def payload_bytes(self) -> int:
        """Bytes of the longest payload."""

    @property
    def blocks(self) -> int:
        """Longer messages that its log holds, each in a block of its own."""

    @property
    def block_bytes(self) -> int:
        """Bytes of the longest payload in a block."""

    @property
    def policy(self) -> Literal["overwrite", "block", "reject"]:
        """What happens when a subscription is slow: "overwrite", "block" or "reject"."""

    @property
    def patience(self) -> float:
        """How long a publish waits under "block", in seconds."""

    def publish(
        self,
        payload: Buffer | _Array,
        /,
        *,
        type_id: int = 0,
        trace: int = 0,
        correlation: int = 0,
        must_be_heard: bool = False,
        timeout: float | None | EllipsisType = ...,
    ) -> Position:
        """Publishes a message and gives its place: whoever looks from now on finds it there.

        `must_be_heard`: it is an error if nobody has subscribed."""

    def publish_many(self, payloads: Iterable[Buffer | _Array], /, *, type_id: int = 0) -> int:
        """Publishes many messages, in their order, many on their way at a time: how many. The first failure is
        raised at the end; the others were published."""

    def subscribe(
        self,
        start: Literal["newest", "oldest"] | Position | None = None,
        *,
        drop_oldest: int | None = None,
        drop_newest: int | None = None,
    ) -> TopicSubscription:
        """Subscribes. `start` is "newest" (from the next message on), "oldest" (what the log still holds)
        or a `Position`. What is not handed out stays in the topic's log, or in a buffer of so many
        messages (`drop_oldest=` or `drop_newest=`), filled at each receive."""

    def stats(self) -> TopicStats:
        """How it stands."""

@final
class TopicSubscription:
    """A subscription. Any thread may use it, one at a time receives."""

    @property
    def topic(self) -> str:
        """The topic's name."""

    @property
    def counts(self) -> Counts:
        """What became of the messages since its start."""

    @property
    def closed(self) -> bool:
        """Was it closed?"""

    def recv(self, *, timeout: float | None | EllipsisType = ...) -> Message:
        """The next message; waits for it, `timeout` seconds at most (`None` is for ever), then raises
        `CallTimeout`."""

    def recv_batch(
        self, max: int = 100, *, timeout: float | None | EllipsisType = ...
    ) -> list[Message]:
        """Up to `max` messages: waits until there are so many, `timeout` seconds at most. An empty list
        if none came."""

    def __iter__(self) -> Self: ...
    def __next__(self) -> Message:
        """Waits for ever; ends when the subscription is closed."""

    def close(self) -> None:
        """Ends it. Whoever receives from it is woken; when this returns nothing more is received."""

    def __enter__(self) -> Self: ...
    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any, /) -> None: ...
