"""What brings a runtime's messages from those who publish to those who subscribe.

A :class:`Carrier` is chosen once for a runtime, by its topology: all services of a node reach the same
others the same way (SPEC T4-T6), and a daemon serves its own process, too. So each message takes one
way and arrives once. What messages are made of no carrier knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import os

    from ringfence_inproc._inproc import Topic as NativeTopic

    from .topology import Route

_LOG_BYTES = 1 << 20
"""About what the log of a topic takes."""


class Receiver(Protocol):
    """The receiving end of a subscription."""

    def recv(self) -> tuple[list[bytes], int, bool]:
        """Waits for messages: these, how many were missed on the way, and whether more may come."""
        ...

    def close(self) -> None:
        """Ends it and wakes who waits."""
        ...


class Topic(Protocol):
    """Messages of one type, in one order."""

    def publish(self, type_id: int, payload: bytes, /) -> tuple[int, int]:
        """Writes one: epoch and sequence of its place."""
        ...

    def subscribe(self) -> Receiver:
        """Receives from the next message on."""
        ...


class Carrier(Protocol):
    """Topics of one bus."""

    name: str
    """What it is, for people."""

    def topic(self, type_id: int, longest: int) -> Topic:
        """The topic of a message type, whose messages have at most ``longest`` bytes."""
        ...

    def close(self) -> None:
        """Lets go of the bus. What was subscribed has been closed before."""
        ...


class InProcess:
    """The bus that all runtimes of this process share."""

    name = "in process"

    def __init__(self) -> None:
        try:
            from ringfence_inproc._inproc import Topic
        except ImportError as error:
            raise ImportError(
                "the bus of this process is in a second package: pip install 'ringfence[inproc]'",
                name=error.name,
            ) from error
        self._make: type[NativeTopic] = Topic

    def topic(self, type_id: int, longest: int) -> Topic:
        # Powers of two, so that 64 to 4096 messages take about a mebibyte.
        slots = min(max(1 << (_LOG_BYTES // (longest + 128)).bit_length() - 1, 64), 4096)
        return self._make(f"type.{type_id}", slots, longest)

    def close(self) -> None:
        pass


def choose(
    topology_path: str | os.PathLike[str] | None = None, service_name: str | None = None
) -> Carrier:
    """The carrier that reaches all services of a topology from this one; without one the process's own bus.

    :raises ValueError: one of the two is missing.
    :raises RuntimeError: the topology is wrong, has no such service, or a way that is not built yet."""
    if topology_path is None and service_name is None:
        return InProcess()
    if topology_path is None or service_name is None:
        raise ValueError("topology_path and service_name go together: give both or neither")
    from .topology import load

    topology = load(topology_path)
    ways = {other: topology.route(service_name, other) for other in topology.services}
    for other, way in ways.items():
        if way.kind in ("unix", "tcp"):
            raise RuntimeError(_needs_bridge(service_name, other, way))
    if any(way.kind == "shm" for way in ways.values()):
        raise RuntimeError(
            f"service {service_name} meets others by the daemon of this machine (kind \"shm\"), and this "
            "version has no topics between processes yet: put its services on one node without an endpoint"
        )
    return InProcess()


def _needs_bridge(service: str, other: str, way: Route) -> str:
    return (
        f"service {service} reaches {other} by {way}: that needs the bridge between daemons, which this "
        "version does not have; on one machine give their nodes endpoint.kind = \"shm\""
    )
