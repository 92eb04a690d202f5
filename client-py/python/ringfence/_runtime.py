"""The bus: messages from whoever publishes them to whoever subscribes to them.

Which way messages go is a carrier's affair (``_carrier``). Each subscription has a thread of its own
that calls its callback; no Python lock is held while it does, so a callback may publish, subscribe and
close.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from . import _carrier
from ._closing import Closing
from ._errors import ForkedSession

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ClassVar, Self

    from ._carrier import Receiver, Topic

__all__ = ["Runtime", "Subscription"]

_log = logging.getLogger("ringfence")

_CLOSED = "the runtime is closed: make another"

UNSIZED_BYTES = 4096
"""The longest message of a class that does not say its ``SIZE``."""

_LAST_WORDS_S = 0.5
"""How long the end of a process waits for a callback."""


class Published(Protocol):
    """What can be published."""

    TYPE_ID: ClassVar[int]

    def to_bytes(self) -> bytes: ...


class Received(Protocol):
    """The class of what can be received."""

    TYPE_ID: ClassVar[int]

    @classmethod
    def from_bytes(cls, data: bytes, /) -> Self: ...


M = TypeVar("M", bound=Received)


class _Dispatcher(threading.Thread):
    """A thread that calls a callback."""


class Subscription(Generic[M]):
    """Calls a callback for each message of one class, in order, in a thread of its own."""

    def __init__(
        self, receiver: Receiver, cls: type[M], callback: Callable[[M], object]
    ) -> None:
        self._pid = os.getpid()
        self._receiver = receiver
        self._cls = cls
        self._callback = callback
        self.received = 0
        """Messages that the callback was called with."""
        self.missed = 0
        """Messages that were overwritten before this subscription came to them: the callback is too
        slow, and the bus waits for nobody."""
        self.errors = 0
        """Messages that the callback raised for, or that were none of their class."""
        name = f"ringfence-{cls.__name__}"
        self._thread = _Dispatcher(target=self._dispatch, name=name, daemon=True)
        self._thread.start()

    def close(self, *, timeout: float | None = None) -> None:
        """Ends it. When this returns the callback does not run any more, unless it takes longer than
        ``timeout`` seconds or this was called in a callback: those do not wait for one another. A
        second time does nothing; nor does it in a forked child, which has no such thread."""
        if os.getpid() != self._pid:
            return
        self._receiver.close()
        if not isinstance(threading.current_thread(), _Dispatcher):
            self._thread.join(timeout)

    def _dispatch(self) -> None:
        more = True
        while more:
            try:
                payloads, missed, more = self._receiver.recv()
            except Exception:
                self.errors += 1
                _log.exception("a subscription to %s has ended", self._cls.__name__)
                return
            self.missed += missed
            for payload in payloads:
                self._deliver(payload)

    def _deliver(self, payload: bytes) -> None:
        try:
            self._callback(self._cls.from_bytes(payload))
        except Exception:
            self.errors += 1
            _log.exception("a subscription to %s goes on after this", self._cls.__name__)
        else:
            self.received += 1

    def __repr__(self) -> str:
        return f"<ringfence.Subscription to {self._cls.__name__}, {self.received} received>"


class Runtime(Closing):
    """A door to the bus. All runtimes of a process share one; closing a runtime ends its own subscriptions.

    >>> import ringfence as rf
    >>> from ringfence.messages import F64, Message, message
    >>> @message(type_id=1200)
    ... class TradeTick(Message):
    ...     price: F64
    >>> import queue
    >>> ticks = queue.Queue()
    >>> with rf.Runtime() as runtime:
    ...     subscription = runtime.subscribe(TradeTick, ticks.put)
    ...     place = runtime.publish(TradeTick(101.5))
    ...     ticks.get(timeout=10)
    TradeTick(price=101.5)

    ``schema_digest`` is ``SCHEMA_DIGEST`` of generated classes (bytes, or as hexadecimal text): all
    runtimes of a bus that name one must name the same.

    ``topology_path`` and ``service_name`` say who this is and where the others are; both or neither.
    ``target`` names the daemon where they meet, as for :func:`ringfence.connect`; without a topology
    this is a door to the bus of that daemon.

    :raises ValueError: only one of the two, a digest that is another than the bus's, or a daemon where
        nobody meets.
    :raises RuntimeError: the topology is wrong or has no such service (the text lists those there are),
        or others are reached in a way that this version does not have.
    :raises DaemonUnavailable: others are reached by the daemon, and there is none.
    """

    def __init__(
        self,
        schema_digest: bytes | str | None = None,
        topology_path: str | os.PathLike[str] | None = None,
        service_name: str | None = None,
        *,
        target: str | os.PathLike[str] | None = None,
    ) -> None:
        self._carrier = _carrier.choose(topology_path, service_name, target)
        if schema_digest is not None:
            try:
                _agree(self._carrier, schema_digest)
            except BaseException:
                self._carrier.close()
                raise
        self._pid = os.getpid()
        self._topics: dict[int, Topic] = {}
        self._subscriptions: list[Subscription[Any]] = []
        self.closed = False
        """Has it been closed?"""
        _open.add(self)

    def publish(self, message: Published) -> tuple[int, int]:
        """Writes a message into the log of its ``TYPE_ID``: its place there, epoch and sequence. It
        waits for nobody: who is subscribed and too slow misses the oldest messages, and counts them.

        :raises TypeError: it has no ``TYPE_ID`` or no ``to_bytes``.
        :raises ValueError: it breaks a rule of its schema, or is too long.
        :raises OverflowError: a field is out of range."""
        if not callable(getattr(message, "to_bytes", None)):
            raise TypeError(f"{type(message).__name__} cannot be published: it has no to_bytes()")
        return self._topic(type(message)).publish(message.TYPE_ID, message.to_bytes())

    def subscribe(self, cls: type[M], callback: Callable[[M], object]) -> Subscription[M]:
        """Has ``callback`` called for each message of this class that is published from now on, in a
        thread of the subscription's own. A callback that raises is logged and counted, and the
        subscription goes on. Long work belongs into an executor.

        :raises TypeError: the class has no ``TYPE_ID`` or no ``from_bytes``, or nothing can be called."""
        if not callable(getattr(cls, "from_bytes", None)):
            raise TypeError(f"{getattr(cls, '__name__', cls)} cannot be received: it has no from_bytes()")
        if not callable(callback):
            raise TypeError("callback must be callable")
        subscription = Subscription(self._topic(cls).subscribe(), cls, callback)
        self._subscriptions.append(subscription)
        if self.closed:  # meanwhile: by another thread, or in a signal handler
            subscription.close(timeout=0)
            raise RuntimeError(_CLOSED)
        return subscription

    def close(self, *, timeout: float | None = None) -> None:
        """Ends its subscriptions, waiting for each callback that runs, at most ``timeout`` seconds. From
        any thread, in a signal handler, in a callback; a second time does nothing."""
        self.closed = True
        subscriptions, self._subscriptions = self._subscriptions, []
        for subscription in subscriptions:
            subscription.close(timeout=timeout)
        if os.getpid() == self._pid:
            self._carrier.close()

    def _topic(self, cls: type[Any]) -> Topic:
        if self.closed:
            raise RuntimeError(_CLOSED)
        if os.getpid() != self._pid:
            raise ForkedSession("this runtime is the parent process's: make one in the child")
        number = getattr(cls, "TYPE_ID", None)
        if not isinstance(number, int):
            raise TypeError(f"{cls.__name__} has no TYPE_ID: make it by `ringfence codegen` or @message")
        topic = self._topics.get(number)
        if topic is None:
            longest = int(getattr(cls, "SIZE", UNSIZED_BYTES))
            topic = self._topics[number] = self._carrier.topic(number, longest)
        return topic

    def __repr__(self) -> str:
        if self.closed:
            return "<ringfence.Runtime, closed>"
        return f"<ringfence.Runtime on {self._carrier.bus}, {len(self._subscriptions)} subscriptions>"


def _agree(carrier: _carrier.Carrier, schema_digest: bytes | str) -> None:
    """Holds everybody on a bus to one schema."""
    if isinstance(schema_digest, str):
        schema_digest = bytes.fromhex(schema_digest)
    digest = bytes(schema_digest)
    if len(digest) != 32:
        raise ValueError(f"a schema digest has 32 bytes, not {len(digest)}")
    known = carrier.schema(digest)
    if known != digest:
        raise ValueError(
            f"schema digest mismatch: {carrier.bus} has {known.hex()}, given was {digest.hex()}; "
            "make all classes from one contracts.yaml: ringfence codegen contracts.yaml --lang python"
        )


_open: weakref.WeakSet[Runtime] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    # Their threads sleep in native code, which must not come back to an interpreter that is gone. One
    # that is in its callback is not there, and a callback that never ends holds up nobody.
    for runtime in list(_open):
        runtime.close(timeout=_LAST_WORDS_S)
