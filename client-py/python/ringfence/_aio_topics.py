"""Topics for asyncio: the same as :mod:`ringfence`'s, awaited in the loop of their client."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from ._closing import AsyncClosing
from ._core import AsyncCall
from ._errors import CallTimeout, RingfenceError

if TYPE_CHECKING:
    from types import EllipsisType
    from typing import Literal, Self

    from ._aio_core import Core
    from ._core import Counts, Message, Position
    from ._core import Topic as NativeTopic
    from ._core import TopicSubscription as NativeSubscription
    from ._types import Policy, Timeout

_RECEIVE_SECONDS = 30.0
"""How long a receive waits if its caller does not say: as every other call."""


class Topic:
    """A topic: messages that many publish and many read, in one order."""

    __slots__ = ("_core", "_native")

    def __init__(self, core: Core, native: NativeTopic) -> None:
        self._core = core
        self._native = native

    @property
    def name(self) -> str:
        """Its name."""
        return self._native.name

    @property
    def slots(self) -> int:
        """Messages that its log holds."""
        return self._native.slots

    @property
    def payload_bytes(self) -> int:
        """Bytes of the longest payload that lies in a slot."""
        return self._native.payload_bytes

    @property
    def policy(self) -> Policy:
        """What happens when a subscription is slow."""
        return self._native.policy

    async def publish(
        self,
        payload: Any,
        /,
        *,
        type_id: int = 0,
        trace: int = 0,
        correlation: int = 0,
        must_be_heard: bool = False,
        timeout: Timeout = ...,
    ) -> Position:
        """Publishes a message and gives its place: whoever looks from now on finds it there."""
        core = self._core
        await core.ready(timeout)
        answer = core.native.publish(
            self._native, payload, type_id, trace, correlation, must_be_heard, timeout
        )
        place: Position = await core.wait(answer) if type(answer) is AsyncCall else answer
        return place

    async def subscribe(
        self,
        start: Literal["newest", "oldest"] | Position | None = None,
        *,
        drop_oldest: int | None = None,
        drop_newest: int | None = None,
    ) -> TopicSubscription:
        """Subscribes; everything is as in :meth:`ringfence.Topic.subscribe`."""
        core = self._core
        await core.ready()
        answer = core.native.subscribe(self._native, start, drop_oldest, drop_newest)
        native = await core.wait(answer) if type(answer) is AsyncCall else answer
        return TopicSubscription(core, native)

    def __repr__(self) -> str:
        return f"<ringfence.aio.Topic {self.name!r}>"


class TopicSubscription(AsyncClosing):
    """A subscription: ``async for message in subscription``, or :meth:`recv`."""

    __slots__ = ("_core", "_kept", "_native")

    def __init__(self, core: Core, native: NativeSubscription) -> None:
        self._core = core
        self._native = native
        self._kept: deque[asyncio.Future[Message | None]] = deque()
        """What came for a task in the moment in which it was cancelled: the next one gets it."""

    @property
    def topic(self) -> str:
        """The topic's name."""
        return self._native.topic

    @property
    def counts(self) -> Counts:
        """What became of the messages since its start."""
        return self._native.counts

    async def recv(self, *, timeout: float | None | EllipsisType = ...) -> Message:
        """The next message; waits ``timeout`` seconds at most (``None`` is for ever), then raises
        ``CallTimeout``. Cancelling it loses no message."""
        seconds = _RECEIVE_SECONDS if timeout is ... else timeout
        try:
            async with asyncio.timeout(seconds):
                return await self._next()
        except TimeoutError:
            raise CallTimeout(f"no message within {seconds} s") from None

    async def _next(self) -> Message:
        core = self._core
        core.check()
        while True:
            if self._kept:
                message = self._kept.popleft().result()
            else:
                answer = core.native.recv(self._native)
                message = await self._wait(answer) if type(answer) is AsyncCall else answer
            if message is not None:
                found: Message = message
                return found

    async def _wait(self, call: AsyncCall) -> Message | None:
        try:
            message: Message | None = await self._core.wait(call)
            return message
        except asyncio.CancelledError:
            future: asyncio.Future[Message | None] = call.future
            if future.done() and not future.cancelled():
                self._kept.append(future)
            raise

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        try:
            return await self._next()
        except RingfenceError:
            if self._native.closed:
                raise StopAsyncIteration from None
            raise

    def close(self) -> None:
        """Ends it. Who waits for a message of it is woken, and gets none."""
        self._native.close()

    def __repr__(self) -> str:
        return f"<ringfence.aio.TopicSubscription to {self.topic!r}>"
