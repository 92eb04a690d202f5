"""What brings a runtime's messages from those who publish to those who subscribe.

A :class:`Carrier` is chosen once for a runtime, by its topology: all services of a node reach the same
others the same way (SPEC T4-T6), and a daemon serves its own process, too. So each message takes one
way and arrives once. What messages are made of no carrier knows.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING, Protocol

from ._core import message_topic
from ._errors import DaemonRestarted, DaemonStalled, DaemonUnavailable

if TYPE_CHECKING:
    from ringfence_inproc._inproc import Topic as NativeTopic

    from ._core import Topic as DaemonTopic
    from ._core import TopicSubscription
    from .topology import Route

_log = logging.getLogger("ringfence")

_MOST = 100
"""How many messages one receive hands over at most."""

_SCHEMA_TOPIC = "runtime.schema"
"""Whose first message is the schema digest of a daemon's bus."""


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

    bus: str
    """Which one, for people."""

    def topic(self, type_id: int, longest: int) -> Topic:
        """The topic of a message type, whose messages have at most ``longest`` bytes."""
        ...

    def schema(self, digest: bytes) -> bytes:
        """The schema digest of the bus; who asks first says which it is."""
        ...

    def close(self) -> None:
        """Lets go of the bus. What was subscribed has been closed before."""
        ...


# --- within the process -----------------------------------------------------------------------------

_digest_of_process: list[bytes] = []
_digest_lock = threading.Lock()


class InProcess:
    """The bus that all runtimes of this process share."""

    bus = "this process's bus"

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
        name, slots, *_ = message_topic(type_id, longest)
        return self._make(name, slots, longest)

    def schema(self, digest: bytes) -> bytes:
        with _digest_lock:
            if not _digest_of_process:
                _digest_of_process.append(digest)
            return _digest_of_process[0]

    def close(self) -> None:
        pass


# --- by the daemon of the machine -------------------------------------------------------------------


class _DaemonReceiver:
    """A subscription to a topic of a daemon, and to that of the daemon after it."""

    def __init__(self, subscription: TopicSubscription) -> None:
        self._subscription = subscription
        self._waiting = False

    def recv(self) -> tuple[list[bytes], int, bool]:
        try:
            first = next(self._subscription, None)
        except DaemonRestarted:
            _log.info("the daemon was restarted: %s goes on with its new one", self._subscription)
            return [], 0, True
        except (DaemonStalled, DaemonUnavailable) as error:  # which took its time: no need to wait here
            if not self._waiting:
                _log.warning("%s waits for a daemon: %s", self._subscription, error)
            self._waiting = True
            return [], 0, True
        self._waiting = False
        if first is None:
            return [], 0, False
        # What ends it meanwhile is said again by the next receive.
        batch = [first, *self._subscription.recv_batch(_MOST - 1, timeout=0)]
        missed = sum(message.missed for message in batch)
        # Of a long one this is the copy that ends the hold of its block.
        return [bytes(message.data) for message in batch], missed, True

    def close(self) -> None:
        self._subscription.close()


class _DaemonTopic:
    def __init__(self, topic: DaemonTopic) -> None:
        self._topic = topic

    def publish(self, type_id: int, payload: bytes, /) -> tuple[int, int]:
        position = self._topic.publish(payload, type_id=type_id)
        return position.epoch, position.sequence

    def subscribe(self) -> Receiver:
        return _DaemonReceiver(self._topic.subscribe())


class ByDaemon:
    """The bus of the daemon that :func:`ringfence.connect` finds."""

    bus = "the daemon's bus"

    def __init__(self, target: str | os.PathLike[str] | None, service: str | None) -> None:
        from ._connect import INPROC, connect

        if os.fspath(target or os.environ.get("RINGFENCE_TARGET", "")).startswith(INPROC):
            raise RuntimeError(
                f"the target {INPROC} has no processes in it that could meet: name a daemon, or put all "
                "services on one node without an endpoint"
            )
        self._client = connect(target, name=service)

    def topic(self, type_id: int, longest: int) -> Topic:
        name, slots, payload_bytes, blocks, block_bytes = message_topic(type_id, longest)
        topic = self._client.topic(
            name, slots=slots, payload_bytes=payload_bytes, blocks=blocks, block_bytes=block_bytes
        )
        return _DaemonTopic(topic)

    def schema(self, digest: bytes) -> bytes:
        topic = self._client.topic(_SCHEMA_TOPIC, slots=64, payload_bytes=32)
        with topic.subscribe("oldest") as known:
            if not (first := known.recv_batch(1, timeout=0)):
                topic.publish(digest)  # others may do so, too: their order decides
                first = [known.recv()]
        return bytes(first[0].data)

    def close(self) -> None:
        self._client.close()


# --- the choice -------------------------------------------------------------------------------------


def choose(
    topology_path: str | os.PathLike[str] | None = None,
    service_name: str | None = None,
    target: str | os.PathLike[str] | None = None,
) -> Carrier:
    """The carrier that reaches all services of a topology from this one; without one the bus of the
    daemon that was named, else the process's own.

    :raises ValueError: one of the first two is missing, or nobody meets in the daemon that was named.
    :raises RuntimeError: the topology is wrong, has no such service, or a way that is not built yet.
    :raises DaemonUnavailable: they meet in the daemon, and there is none."""
    if topology_path is None and service_name is None:
        return InProcess() if target is None else ByDaemon(target, None)
    if topology_path is None or service_name is None:
        raise ValueError("topology_path and service_name go together: give both or neither")
    from .topology import load

    topology = load(topology_path)
    ways = {other: topology.route(service_name, other) for other in topology.services}
    for other, way in ways.items():
        if way.kind in ("unix", "tcp"):
            raise RuntimeError(_needs_bridge(service_name, other, way))
    if any(way.kind == "shm" for way in ways.values()):
        return ByDaemon(target, service_name)
    if target is not None:
        raise ValueError(f"service {service_name} meets nobody in a daemon: leave target out")
    return InProcess()


def _needs_bridge(service: str, other: str, way: Route) -> str:
    return (
        f"service {service} reaches {other} by {way}: that needs the bridge between daemons, which this "
        "version does not have; on one machine give their nodes endpoint.kind = \"shm\""
    )
