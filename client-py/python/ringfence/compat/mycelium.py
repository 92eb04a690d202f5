"""``mycelium`` by its names: ``from ringfence.compat.mycelium import MessageBus``.

No logic of its own: a bus is a :class:`ringfence.Runtime`, a publisher its ``publish``, a subscriber a
queue that its ``subscribe`` fills. A Unix transport is a connection to a daemon. What had a port or a
file of its own between two programs goes through the daemon here, so those say what to use instead.
"""

from __future__ import annotations

import asyncio
import queue
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from .._closing import Closing
from .._runtime import Received, Runtime

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

__all__ = [
    "MessageBus",
    "Publisher",
    "SharedMemoryTransport",
    "Subscriber",
    "TcpTransport",
    "UnixTransport",
]

M = TypeVar("M", bound=Received)


class Publisher(Generic[M]):
    """Publishes messages of one class."""

    def __init__(self, runtime: Runtime, message_cls: type[M]) -> None:
        self._runtime = runtime
        self.message_cls = message_cls
        """The class."""

    def publish(self, message: M) -> None:
        """Writes a message onto the bus.

        :raises TypeError: it is of another class."""
        if not isinstance(message, self.message_cls):
            name = type(message).__name__
            raise TypeError(f"this publisher is for {self.message_cls.__name__}, not for {name}")
        self._runtime.publish(message)  # type: ignore[arg-type]


class Subscriber(Generic[M]):
    """Messages of one class, one after the other: by ``recv``, or in a loop."""

    def __init__(self, runtime: Runtime, message_cls: type[M]) -> None:
        self._inbox: queue.SimpleQueue[M] = queue.SimpleQueue()
        self._subscription = runtime.subscribe(message_cls, self._inbox.put)
        self.message_cls = message_cls
        """The class."""

    def recv(self, timeout: float | None = None) -> M:
        """Waits for a message.

        :raises queue.Empty: none came within ``timeout`` seconds."""
        return self._inbox.get(timeout=timeout)

    def recv_nowait(self) -> M:
        """A message that is there.

        :raises queue.Empty: none is."""
        return self._inbox.get_nowait()

    async def recv_async(self) -> M:
        """Waits for a message, in a thread of the running loop's."""
        return await asyncio.get_running_loop().run_in_executor(None, self.recv)

    def __iter__(self) -> Iterator[M]:
        while True:
            yield self.recv()

    def close(self) -> None:
        """Ends it. What has come may still be received."""
        self._subscription.close()


class MessageBus(Closing):
    """The bus as a service of a topology sees it."""

    def __init__(self, runtime: Runtime, topology_path: str | os.PathLike[str], service: str) -> None:
        from ..topology import load

        self._runtime = runtime
        self._topology = load(topology_path)
        self._service = service

    @classmethod
    def from_topology(
        cls,
        topology_path: str | os.PathLike[str],
        service_name: str,
        schema_digest: bytes | str | None = None,
    ) -> MessageBus:
        """The bus of a service. Its errors are those of :class:`ringfence.Runtime`."""
        return cls(Runtime(schema_digest, topology_path, service_name), topology_path, service_name)

    def publisher_to(self, target_service: str, message_cls: type[M]) -> Publisher[M]:
        """A publisher whose messages reach this service, and whoever else subscribes to their class.

        :raises RuntimeError: there is no such service, or no way to it."""
        self._topology.route(self._service, target_service)
        return Publisher(self._runtime, message_cls)

    def subscriber(self, message_cls: type[M]) -> Subscriber[M]:
        """Messages of this class, from whichever service."""
        return Subscriber(self._runtime, message_cls)

    def close(self) -> None:
        """Ends its subscribers. A second time does nothing."""
        self._runtime.close()


def _instead(name: str, why: str) -> NoReturn:
    raise RuntimeError(
        f"{name} is not offered: {why}. Name the services in a topology.toml and use "
        "MessageBus.from_topology(path, service_name, schema_digest), or Runtime(topology_path=..., "
        "service_name=...)"
    )


class UnixTransport:
    """A connection to a daemon. The path is that of its control socket."""

    def __init__(self, path: str | os.PathLike[str], schema_digest: bytes | str | None = None) -> None:
        self._path = path
        self._digest = schema_digest
        self._runtime: Runtime | None = None

    def connect(self) -> None:
        """Connects. A second time does nothing.

        :raises DaemonUnavailable: there is no daemon.
        :raises ValueError: its bus has another schema."""
        if self._runtime is None:
            self._runtime = Runtime(self._digest, target=self._path)

    def publisher(self, message_cls: type[M]) -> Publisher[M]:
        """Publishes messages of this class to whoever subscribes at the same daemon."""
        return Publisher(self._connected(), message_cls)

    def subscriber(self, message_cls: type[M]) -> Subscriber[M]:
        """Messages of this class, from whoever publishes at the same daemon."""
        return Subscriber(self._connected(), message_cls)

    def close(self) -> None:
        """Ends its subscribers. A second time does nothing."""
        if self._runtime is not None:
            self._runtime.close()

    def _connected(self) -> Runtime:
        if self._runtime is None:
            raise RuntimeError("the transport is not connected: call connect() first")
        return self._runtime


class TcpTransport:
    """A connection between a program and a bridge, which Ringfence does not have: it raises."""

    def __init__(self, host: str, port: int, schema_digest: bytes, **_: Any) -> None:
        _instead("TcpTransport", "other machines are reached by the daemon, not by each program")


class SharedMemoryTransport:
    """A file that two programs map, which Ringfence does not have: it raises."""

    @classmethod
    def create(
        cls, path: str | os.PathLike[str], schema_digest: bytes, capacity: int = 1 << 20
    ) -> NoReturn:
        """Raises, and says what to use instead."""
        _instead("SharedMemoryTransport", "the daemon makes, names and removes all shared memory")

    @classmethod
    def open(cls, path: str | os.PathLike[str], schema_digest: bytes) -> NoReturn:
        """Raises, and says what to use instead."""
        _instead("SharedMemoryTransport", "the daemon makes, names and removes all shared memory")
