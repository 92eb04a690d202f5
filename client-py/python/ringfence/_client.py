"""What a connection can do, beside the calls that the native half carries out itself."""

from __future__ import annotations

from ._closing import Closing
from ._core import Client as NativeClient
from ._engine import Engine, Method

# `typing` itself would be a third of the import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from typing_extensions import Buffer
    from numpy.typing import DTypeLike

    from ._core import Pending, Topic
    from ._daemon import Daemon, Stats
    from ._loan import Loan
    from ._serving import Handler, Methods, Server
    from ._types import Policy, Timeout
    from ._vectors import Vectors


class _ClientType(type):
    """Makes a client of the in-process core an instance of :class:`Client` too."""

    def __instancecheck__(cls, instance: object) -> bool:
        if cls is Client:
            return isinstance(instance, ClientMethods)
        return super().__instancecheck__(instance)


if TYPE_CHECKING:
    _Base = NativeClient
else:
    _Base = object


class ClientMethods(Closing, _Base):
    """The part of a client that is written in Python; mixed into a native class."""

    # Its place is in the classes that have a native half: only one base may have an own layout.
    __slots__ = ()
    _vectors: Vectors
    _serving: Methods

    @property
    def vectors(self) -> Vectors:
        """The vector engine: collections of vectors and their nearest neighbours (needs numpy)."""
        try:
            return self._vectors
        except AttributeError:
            from ._vectors import Vectors

            self._vectors = Vectors(self)
            return self._vectors

    def engine(self, name: str) -> Engine:
        """An engine by its name, packed and unpacked by the daemon's catalogue:
        ``client.engine("greeter").hello(name="Ada", times=3)``."""
        engines = self._engines()
        for known, doc, methods in engines:
            if known == name:
                return Engine(self, name, doc, methods)
        names = ", ".join(known for known, _, _ in engines)
        raise KeyError(f"the daemon has no engine {name!r}; it has {names}")

    def engines(self) -> list[str]:
        """The names of the daemon's engines."""
        return [name for name, _, _ in self._engines()]

    def topic(
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
        """The topic of this name: messages that many publish and many read, in one order. It is made
        if there is none; if there is one that was made otherwise, that is a ``ValueError``::

            ticks = client.topic("market.ticks", payload_bytes=64)
            with ticks.subscribe() as subscription:
                ticks.publish(b"101500")
                subscription.recv().data            # b"101500"

        ``slots``: messages that its log holds, a power of two. ``payload_bytes``: bytes of the longest
        payload that lies in a slot; longer ones, of up to ``block_bytes`` (a multiple of 4096), take one
        of ``blocks`` blocks and are read where they lie, without a copy. ``policy``: what happens when a subscription is slow: ``"overwrite"`` (it misses
        messages and learns how many), ``"block"`` (a publish waits, ``patience`` seconds at most; then
        the subscription is cut off) or ``"reject"`` (the publish raises ``Backpressure``)."""
        asked = (slots, payload_bytes, blocks, block_bytes, policy, patience)
        return self._topic(name, asked)

    def find_topic(self, name: str) -> Topic:
        """The topic of this name, however it was made; a ``KeyError`` if there is none."""
        return self._topic(name, None)

    def stats(self, *, timeout: Timeout = ...) -> Stats:
        """The daemon as it sees itself: uptime, sessions, calls, ``leased_bytes``, ..."""
        from ._daemon import Stats

        return Stats(*self._method("system", "stats").invoke((), timeout=timeout))

    def loan(self, shape: int | tuple[int, ...], dtype: DTypeLike = "float32") -> Loan:
        """An array to fill where the daemon reads it, for large requests::

            with client.loan((100_000, 384)) as rows:
                model.encode(texts, out=rows)
                docs.add(ids, rows)             # no copy in this process

        At most 1 GiB or what ``[sessions] bulk_bytes_max`` of the daemon allows (needs numpy)."""
        from ._loan import Loan, Wanted

        wanted = Wanted(shape, dtype)
        return Loan(self._loan(wanted.nbytes), wanted)

    def submit(
        self, method: str | Method, /, *, timeout: Timeout = ..., **fields: Any
    ) -> Pending:
        """Sends a call and does not wait for its answer, so that many are in flight at once.
        ``method`` is ``"engine.method"`` or what ``client.engine(...)`` gave."""
        if isinstance(method, Method):
            return method.submit(timeout=timeout, **fields)
        if not isinstance(method, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            kind = type(method).__name__
            raise TypeError(
                f"method is an 'engine.method' or a method of client.engine(...), not {kind}"
            )
        engine, dot, name = method.partition(".")
        if not dot:
            raise ValueError(f"{method!r} names no method; write it as 'engine.method'")
        return self._method(engine, name).submit(fields, timeout=timeout)

    def request(
        self, name: str, payload: Buffer, /, *, wait: bool = False, timeout: Timeout = ...
    ) -> bytes:
        """Asks the process that serves ``name`` (:meth:`serve`), and gives its answer. Nobody serves
        it: a ``KeyError``, or with ``wait`` a wait for somebody who does, within ``timeout``. The
        server dies in the middle: a ``ConnectionError`` whose ``outcome`` is ``"unknown"``; a request
        is never made twice. The handler raises: a :class:`RemoteError` with its message."""
        try:
            methods = self._serving
        except AttributeError:
            from ._serving import Methods

            methods = self._serving = Methods(self)
        return methods.request(name, payload, wait, timeout)

    def serve(self, name: str, handler: Handler, /, *, threads: int = 1) -> Server:
        """Answers requests to ``name`` with what ``handler`` makes of their bytes, in ``threads``
        threads of its own, until the :class:`Server` that this gives is closed::

            with client.serve("pricing.quote", lambda request: quote(request).to_bytes()):
                stop.wait()

        Several servers of one name, in this process or in others, get its requests in turn. What the
        handler raises is logged and raised at the caller. Names: ``a-z``, ``0-9``, ``_``, ``.``, ``-``,
        and none of an engine; ``[serving] grants`` of the daemon says which users may."""
        from ._serving import Server

        return Server(self, name, handler, threads)

    @property
    def daemon(self) -> Daemon:
        """The daemon that this client is connected to."""
        from ._daemon import Daemon

        return Daemon(*self._info())

    def __reduce__(self) -> NoReturn:
        raise TypeError("a client cannot be pickled: connect in the other process instead")

    def __repr__(self) -> str:
        if self._is_closed():
            return "<ringfence.Client, closed>"
        daemon = self.daemon
        if daemon.inproc:
            return "<ringfence.Client in process>"
        return f"<ringfence.Client of {daemon.instance!r}, daemon pid {daemon.pid}>"


class Client(ClientMethods, NativeClient, metaclass=_ClientType):
    """A connection to a daemon, made by :func:`ringfence.connect`. Any thread may use it, and it
    works again by itself after a restart of the daemon and in a forked child."""

    __slots__ = ("_serving", "_vectors")
