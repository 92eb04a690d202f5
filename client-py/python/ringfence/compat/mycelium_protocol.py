"""``mycelium_protocol`` by its names: ``from ringfence.compat.mycelium_protocol import SCHEMA_DIGEST``.

Message classes and ``SCHEMA_DIGEST`` are your contract's, so ``ringfence codegen`` makes them. This takes
the digest from ``mycelium_protocol.messages``, where programs of the original have the classes; the
original itself did not export it there.
"""

from __future__ import annotations

from .mycelium import (
    MessageBus,
    Publisher,
    SharedMemoryTransport,
    Subscriber,
    TcpTransport,
    UnixTransport,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    SCHEMA_DIGEST: bytes

__all__ = [
    "SCHEMA_DIGEST",
    "MessageBus",
    "Publisher",
    "SharedMemoryTransport",
    "Subscriber",
    "TcpTransport",
    "UnixTransport",
]


def __getattr__(name: str) -> bytes:
    if name != "SCHEMA_DIGEST":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    try:
        digest: bytes = import_module("mycelium_protocol.messages").SCHEMA_DIGEST
    except ImportError as error:
        raise ImportError(
            "SCHEMA_DIGEST is your contract's, and there is no module mycelium_protocol.messages: make it by "
            "ringfence codegen contracts.yaml --lang python --out mycelium_protocol/messages.py, or import "
            "SCHEMA_DIGEST from where you keep your classes",
            name="mycelium_protocol.messages",
        ) from error
    return digest
