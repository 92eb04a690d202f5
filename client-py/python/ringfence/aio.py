"""The client for asyncio: its own class family, on the running loop, without a thread.

>>> import asyncio
>>> import ringfence as rf
>>> async def main():
...     async with rf.aio.connect() as client:
...         return await client.echo(b"hello")
>>> asyncio.run(main())
b'hello'

A call that the daemon answers within about a microsecond does not leave the task, but for every
128th, so that other tasks have their turn; every other one waits in the loop, which watches one
descriptor for all of them. Cancelling a task gives its call up. A client belongs to the loop that
it was connected in.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from ._aio_core import Core, running_loop
from ._closing import AsyncClosing
from ._connect import INPROC, log_start, own_or_private, why_not_started
from ._core import AsyncCall
from ._engine import EngineBase, MethodBase
from ._errors import DaemonUnavailable

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import TracebackType
    from typing import Never, NoReturn

    from numpy.typing import DTypeLike

    from ._aio_serving import Handler, Server
    from ._aio_vectors import Collection, Vectors
    from ._daemon import Daemon, Stats
    from ._loan import Loan
    from ._aio_topics import Topic, TopicSubscription
    from ._types import Policy, Spin, Timeout

__all__ = [
    "Client",
    "Collection",
    "Connecting",
    "Engine",
    "Method",
    "Server",
    "Topic",
    "TopicSubscription",
    "Vectors",
    "connect",
]

_CONNECT_SECONDS = 10.0


def connect(
    target: str | os.PathLike[str] | None = None,
    *,
    autostart: bool = True,
    timeout: float | None = _CONNECT_SECONDS,
    spin: Spin = "adaptive",
    name: str | None = None,
    daemon: str | os.PathLike[str] | None = None,
) -> Connecting:
    """Connects to a daemon: ``async with connect() as client`` or ``client = await connect()``.

    Everything is as in :func:`ringfence.connect`, but for ``"inproc:"``, where nothing could be
    waited for. ``timeout``: seconds that connecting may take, ``None`` is for ever.
    """
    return Connecting(target, autostart, timeout, spin, name, daemon)


class Connecting:
    """A client to be: await it, or use it in ``async with``."""

    __slots__ = ("_arguments", "_client")

    def __init__(self, *arguments: Any) -> None:
        self._arguments = arguments
        self._client: Client | None = None

    def __await__(self) -> Generator[Any, None, Client]:
        return _open(*self._arguments).__await__()

    async def __aenter__(self) -> Client:
        self._client = await self
        return self._client

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._client is not None:
            self._client.close()

    def __repr__(self) -> str:
        return "<ringfence.aio.Connecting: await it, or use it in `async with`>"

    # Not for type checkers, which know that it has none of these.
    if not TYPE_CHECKING:

        def __getattr__(self, name):
            raise AttributeError(
                f"connect() has not been awaited, so there is no client with {name!r}: "
                "`client = await connect()`, or `async with connect() as client`"
            )


async def _open(
    target: str | os.PathLike[str] | None,
    autostart: bool,
    timeout: float | None,
    spin: Spin,
    name: str | None,
    daemon: str | os.PathLike[str] | None,
) -> Client:
    if target is None:
        target = os.environ.get("RINGFENCE_TARGET") or None
    text = None if target is None else os.fspath(target)
    if text is not None and text.startswith(INPROC):
        raise ValueError(
            'calls of "inproc:" run in their caller: there is nothing to await. Use '
            'ringfence.connect("inproc:"), or name a daemon'
        )
    own, private = own_or_private(text, autostart, daemon)
    core = Core(running_loop(), text, own, private, timeout, spin, name)
    client = Client(core)
    try:
        await core.learn(timeout)
    except BaseException as error:
        client.close()
        if isinstance(error, DaemonUnavailable) and text is None and autostart and private is None:
            error.add_note(why_not_started())
        raise
    if client.daemon.autostarted:
        log_start(client.daemon, own or private)
    return client


class Client(AsyncClosing):
    """A connection to a daemon for the tasks of one event loop. It works again by itself after a
    restart of the daemon; it does not survive a fork: connect in the child."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._vectors: Vectors | None = None

    async def echo(self, data: Any, *, timeout: Timeout = ...) -> bytes:
        """Sends bytes and gives back what the daemon answers: the same."""
        core = self._core
        core.check()
        answer = core.native.echo(data, timeout=timeout)
        echoed: bytes = await core.wait(answer) if type(answer) is AsyncCall else answer
        return echoed

    async def ping(self, *, timeout: Timeout = ...) -> None:
        """Asks the daemon for a sign of life."""
        self._core.check()
        answer = self._core.native.ping(timeout=timeout)
        if type(answer) is AsyncCall:
            await self._core.wait(answer)

    async def stats(self, *, timeout: Timeout = ...) -> Stats:
        """The daemon as it sees itself: uptime, sessions, calls, ``leased_bytes``, ..."""
        from ._daemon import Stats

        return Stats(*await self._core.invoke("system", "stats", (), timeout))

    async def loan(
        self,
        shape: int | tuple[int, ...],
        dtype: DTypeLike = "float32",
        *,
        timeout: Timeout = ...,
    ) -> Loan:
        """An array to fill where the daemon reads it, for large requests::

            with await client.loan((100_000, 384)) as rows:
                model.encode(texts, out=rows)
                await docs.add(ids, rows)       # no copy in this process

        Everything else is as in :meth:`ringfence.Client.loan`."""
        from ._loan import Loan, Wanted

        core, wanted = self._core, Wanted(shape, dtype)
        core.check()
        answer = core.native.loan(wanted.nbytes, timeout=timeout)
        memory = await core.wait(answer) if type(answer) is AsyncCall else answer
        return Loan(memory, wanted)

    async def topic(
        self,
        name: str,
        *,
        slots: int = 1024,
        payload_bytes: int = 192,
        blocks: int = 0,
        block_bytes: int = 0,
        policy: Policy = "overwrite",
        patience: float = 1.0,
    ) -> Topic:
        """The topic of this name, made if there is none; everything is as in
        :meth:`ringfence.Client.topic`::

            ticks = await client.topic("market.ticks")
            async for message in await ticks.subscribe():
                ...
        """
        return await self._topic(name, (slots, payload_bytes, blocks, block_bytes, policy, patience))

    async def find_topic(self, name: str) -> Topic:
        """The topic of this name, however it was made; a ``KeyError`` if there is none."""
        return await self._topic(name, None)

    async def _topic(
        self, name: str, asked: tuple[int, int, int, int, str, float] | None
    ) -> Topic:
        from ._aio_topics import Topic

        core = self._core
        await core.ready()
        answer = core.native.topic(name, asked)
        native = await core.wait(answer) if type(answer) is AsyncCall else answer
        return Topic(core, native)

    async def engine(self, name: str) -> Engine:
        """An engine by its name, packed and unpacked by the daemon's catalogue:
        ``greeter = await client.engine("greeter")``, ``await greeter.hello(name="Ada", times=3)``.
        """
        engines = await self._core.engines()
        for known, doc, methods in engines:
            if known == name:
                return Engine(self._core, name, doc, methods)
        names = ", ".join(known for known, _, _ in engines)
        raise KeyError(f"the daemon has no engine {name!r}; it has {names}")

    async def engines(self) -> list[str]:
        """The names of the daemon's engines."""
        return [name for name, _, _ in await self._core.engines()]

    async def request(
        self, name: str, payload: Any, /, *, wait: bool = False, timeout: Timeout = ...
    ) -> bytes:
        """Asks the process that serves ``name``: as :meth:`ringfence.Client.request`."""
        values = (wait, name, payload)
        data: bytes = (await self._core.invoke("serving", "call", values, timeout))[0]
        return data

    async def serve(self, name: str, handler: Handler, /, *, tasks: int = 1) -> Server:
        """Answers requests to ``name`` with what the coroutine ``handler`` makes of their bytes, in
        ``tasks`` tasks of this loop, until the :class:`Server` is closed::

            async def quote(request):
                return await look_up(request)

            async with await client.serve("pricing.quote", quote, tasks=8):
                await stop.wait()

        Everything else is as in :meth:`ringfence.Client.serve`."""
        from ._aio_serving import serve

        return await serve(self._core, name, handler, tasks)

    @property
    def vectors(self) -> Vectors:
        """The vector engine: collections of vectors and their nearest neighbours (needs numpy)."""
        if self._vectors is None:
            from ._aio_vectors import Vectors

            self._vectors = Vectors(self._core)
        return self._vectors

    @property
    def daemon(self) -> Daemon:
        """The daemon that this client is connected to."""
        from ._daemon import Daemon

        return Daemon(*self._core.native._info())

    def close(self) -> None:
        """Lets go of the daemon. Open calls raise, and so do later ones; a second ``close`` does
        nothing."""
        self._core.close()

    async def aclose(self) -> None:
        """The same, for whoever closes everything with ``await``."""
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a client cannot be pickled: connect in the other process instead")

    def __repr__(self) -> str:
        if self._core.closed:
            return "<ringfence.aio.Client, closed>"
        daemon = self.daemon
        return f"<ringfence.aio.Client of {daemon.instance!r}, daemon pid {daemon.pid}>"


class Method(MethodBase):
    """A method of an engine. Call it with its request's fields by name and await the answer, a
    named tuple, or ``None`` where the reply has no fields."""

    __slots__ = ("_core",)

    def __init__(self, core: Core, engine: str, name: str) -> None:
        super().__init__(core.method(engine, name), f"{engine}.{name}")
        self._core = core

    async def __call__(self, /, *positional: Never, timeout: Timeout = ..., **fields: Any) -> Any:
        if positional:
            raise self._by_name()
        return await self._core.call(self._native, fields, timeout)


class Engine(EngineBase[Method]):
    """An engine of a daemon: its methods are attributes."""

    __slots__ = ()

    def __init__(self, core: Core, name: str, doc: str, names: list[str]) -> None:
        super().__init__(name, doc, names, lambda method: Method(core, name, method))


_LAZY = {
    "Collection": "_aio_vectors",
    "Server": "_aio_serving",
    "Topic": "_aio_topics",
    "TopicSubscription": "_aio_topics",
    "Vectors": "_aio_vectors",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        text = f"module 'ringfence.aio' has no attribute {name!r}"
        raise AttributeError(text, name=name, obj=sys.modules[__name__])
    from importlib import import_module

    value: object = getattr(import_module(f".{_LAZY[name]}", "ringfence"), name)
    globals()[name] = value
    return value
