"""What turns an asyncio client: the native half in the loop, and what every call goes through."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from ._core import AsyncCall, AsyncClient
from ._errors import ForkedSession

if TYPE_CHECKING:
    from pathlib import Path
    from typing import NoReturn

    from ._core import Method as NativeMethod
    from ._types import Spin, Timeout


def running_loop() -> asyncio.AbstractEventLoop:
    """The loop of the calling task."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError as error:
        raise RuntimeError(
            "ringfence.aio needs a running asyncio loop (uvloop and anyio's asyncio backend are "
            "such); elsewhere, under trio say, call ringfence.connect() in a worker thread"
        ) from error


class Core:
    """A native client in its loop. It has no API of its own: see :class:`ringfence.aio.Client`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        target: str | None,
        daemon: Path | None,
        autostart: Path | None,
        timeout: float | None,
        spin: Spin,
        name: str | None,
    ) -> None:
        self._loop = loop
        self._arguments = (loop, target, daemon, autostart, timeout, spin, name)
        self._apart: Core | None = None
        self._pid = os.getpid()
        self.closed = False
        self._methods: dict[tuple[str, str], NativeMethod] = {}
        self.native = AsyncClient(
            loop.create_future,
            target,
            daemon=daemon,
            autostart=autostart,
            timeout=timeout,
            spin=spin,
            name=name,
        )
        self._fileno = self.native.fileno()
        loop.add_reader(self._fileno, self.turn)

    def close(self) -> None:
        """Ends the session and what waits for it; a second time does nothing."""
        if self.closed:
            return
        self.closed = True
        if self._apart is not None:
            self._apart.close()
        self.native.close()
        # A forked child's loop shares its set of descriptors with the parent's, which goes on.
        if os.getpid() == self._pid and not self._loop.is_closed():
            self.turn()
            self._loop.remove_reader(self._fileno)

    def apart(self) -> Core:
        """The same daemon over a session of its own, which ends with this one: for what is served, whose
        answers must find room while calls wait for some."""
        if self._apart is None:
            self._apart = Core(*self._arguments)
        return self._apart

    def method(self, engine: str, name: str) -> NativeMethod:
        """A method, resolved once."""
        method = self._methods.get((engine, name))
        if method is None:
            method = self._methods[engine, name] = self.native._method(engine, name)
        return method

    def check(self) -> None:
        """A client is of one loop: in another one nobody would ever turn it."""
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is not self._loop:
            self._refuse()

    def _refuse(self) -> NoReturn:
        if os.getpid() != self._pid:
            raise ForkedSession(
                "this client was connected before the process was forked: connect in the child"
            )
        state = "closed" if self._loop.is_closed() else "another one, or is not running"
        raise RuntimeError(
            f"this client belongs to a loop that is {state}: connect in the loop that uses it"
        )

    def turn(self) -> None:
        for future, value, error in self.native.turn():
            if future.done():
                continue
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)

    async def wait(self, call: AsyncCall) -> Any:
        try:
            return await call.future
        except asyncio.CancelledError:
            self.native.forget(call)
            raise

    async def learn(self, timeout: Timeout = ...) -> None:
        answer = self.native.learn(timeout=timeout)
        if type(answer) is AsyncCall:
            await self.wait(answer)

    async def ready(self, timeout: Timeout = ...) -> None:
        """Connected, with the catalogue of the present daemon."""
        self.check()
        if not self.native.knows():
            await self.learn(timeout)

    async def engines(self) -> list[tuple[str, str, list[str]]]:
        self.check()
        if not self.native.knows():
            await self.learn()
        return self.native._engines()

    async def call(self, method: NativeMethod, fields: dict[str, Any], timeout: Timeout) -> Any:
        await self.ready(timeout)
        answer = self.native.call(method, fields, timeout=timeout)
        return await self.wait(answer) if type(answer) is AsyncCall else answer

    async def invoke(
        self, engine: str, name: str, values: tuple[Any, ...], timeout: Timeout
    ) -> tuple[Any, ...]:
        """Calls a method with values in the order of its fields, for a tuple of the reply's."""
        await self.ready(timeout)
        answer = self.native.invoke(self.method(engine, name), values, timeout=timeout)
        result: tuple[Any, ...] = await self.wait(answer) if type(answer) is AsyncCall else answer
        return result
