"""A name that the tasks of an event loop serve. What is said to the daemon is as in ``_serving``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ._codes import ErrorCode
from ._errors import DaemonRestarted, RingfenceError
from ._serving import MOST_THREADS, NOTHING, Answer, Request, answered, failed, is_lost, log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType
    from typing import Self

    from ._aio_core import Core

    Handler = Callable[[Request], Awaitable[bytes | bytearray | memoryview]]

__all__ = ["Server"]

_PATIENCE_S = (0.05, 2.0)


class Server:
    """A name that this loop serves, made by :meth:`ringfence.aio.Client.serve`; also an async context
    manager."""

    def __init__(self, core: Core, name: str, handler: Handler, handle: int, tasks: int) -> None:
        self._core = core
        self._handler = handler
        self._handle: int | None = handle
        self._closing = False
        self._lock = asyncio.Lock()
        self.name = name
        """The name."""
        self.answered = 0
        """Requests that the handler was called with and that it answered."""
        self.errors = 0
        """Requests that the handler raised for."""
        label = f"ringfence-serve-{name}"
        self._tasks = [asyncio.create_task(self._dispatch(), name=label) for _ in range(tasks)]

    async def close(self) -> None:
        """Serves the name no longer. Requests that the handler is at are answered first, unless the
        handler itself calls this; what waits goes to other servers. A second time does nothing."""
        self._closing = True
        async with self._lock:
            handle, self._handle = self._handle, None
        if handle is not None and not self._core.closed:
            try:
                await self._core.invoke("serving", "withdraw", (handle,), ...)
            except RingfenceError:
                log.debug("%s is not served any more", self.name, exc_info=True)
        own = asyncio.current_task()
        if own not in self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _dispatch(self) -> None:
        answer = NOTHING
        while not self._is_over():
            handle = self._handle
            try:
                request = await self._take(handle, answer)
            except RingfenceError as error:
                if self._is_over():
                    return
                # A request of a daemon that is gone cannot be answered in the next one.
                stale = answer is not NOTHING and error.code == ErrorCode.INVALID_ARGUMENT
                answer = NOTHING
                if not stale and not await self._serve_again(handle, error):
                    return
            else:
                answer = await self._answer(request)
        # Withdrawn while the handler ran: the answer is still owed.
        if answer is not NOTHING and not self._core.closed:
            await self._give(answer)

    def _is_over(self) -> bool:
        return self._closing or self._core.closed

    async def _take(self, handle: int | None, answer: Answer) -> Request:
        if handle is None:
            raise DaemonRestarted("the name is not served at the moment")
        taken = await self._core.invoke("serving", "take", (handle, *answer), None)
        number, time_left_us, payload = taken
        # Nobody may wait in a loop, so the handler cannot ask whether its answer is wanted.
        return Request(payload, number, time_left_us)

    async def _answer(self, request: Request) -> Answer:
        try:
            value = await self._handler(request)
        except Exception as error:
            self.errors += 1
            log.exception("the handler of %s goes on after this", self.name)
            return failed(request.number, error)
        self.answered += 1
        return answered(request.number, value)

    async def _give(self, answer: Answer) -> None:
        try:
            await self._core.invoke("serving", "answer", tuple(answer), ...)
        except RingfenceError:
            log.debug("an answer of %s came too late", self.name, exc_info=True)

    async def _serve_again(self, lost: int | None, error: RingfenceError) -> bool:
        """Serves the name in the next daemon, as soon as there is one, if the last one is gone."""
        pause, longest = _PATIENCE_S
        while is_lost(error):
            async with self._lock:
                if self._is_over() or (self._handle is not None and self._handle != lost):
                    return True
                try:
                    self._handle = await register(self._core, self.name)
                    return True
                except RingfenceError as again:
                    self._handle = lost = None
                    error = again
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)
        log.error("%s is served no longer", self.name, exc_info=error)
        return False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closing else f"{self.answered} answered"
        return f"<ringfence.aio.Server of {self.name!r}, {state}>"


async def register(core: Core, name: str) -> int:
    """Serves a name: its handle."""
    handle: int = (await core.invoke("serving", "serve", (name,), ...))[0]
    return handle


async def serve(core: Core, name: str, handler: Handler, tasks: int) -> Server:
    """Serves a name with so many tasks."""
    if not 1 <= tasks <= MOST_THREADS:
        raise ValueError(f"tasks is {tasks}: use 1 to {MOST_THREADS}, and more processes")
    core.check()
    apart = core.apart()
    return Server(apart, name, handler, await register(apart, name), tasks)
