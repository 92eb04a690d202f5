"""Run your Rust core once, call it from every process as if it were linked in: the Python client.

>>> import ringfence as rf
>>> with rf.connect() as client:          # finds the daemon; starts a private one if there is none
...     client.echo(b"hello")
b'hello'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._client import Client, Daemon
from ._connect import connect, find_daemon
from ._core import Pending, __version__
from ._engine import Engine, Method
from ._errors import (
    Backpressure,
    CallTimeout,
    Cancelled,
    DaemonRestarted,
    DaemonStalled,
    DaemonUnavailable,
    ErrorCode,
    ForkedSession,
    PermissionDenied,
    RemoteError,
    RemoteFileNotFoundError,
    RemoteKeyError,
    RemoteMemoryError,
    RemoteOSError,
    RemoteOverflowError,
    RemoteRuntimeError,
    RemoteTypeError,
    RemoteValueError,
    RingfenceError,
    SchemaMismatch,
    SessionKilled,
)

if TYPE_CHECKING:
    from ._vectors import Added, BatchHits, Collection, CollectionStats, Hits, Rows, Vectors

__all__ = [
    "Added",
    "Backpressure",
    "BatchHits",
    "CallTimeout",
    "Cancelled",
    "Client",
    "Collection",
    "CollectionStats",
    "Daemon",
    "DaemonRestarted",
    "DaemonStalled",
    "DaemonUnavailable",
    "Engine",
    "ErrorCode",
    "ForkedSession",
    "Hits",
    "Method",
    "Pending",
    "PermissionDenied",
    "RemoteError",
    "RemoteFileNotFoundError",
    "RemoteKeyError",
    "RemoteMemoryError",
    "RemoteOSError",
    "RemoteOverflowError",
    "RemoteRuntimeError",
    "RemoteTypeError",
    "RemoteValueError",
    "RingfenceError",
    "Rows",
    "SchemaMismatch",
    "SessionKilled",
    "Vectors",
    "__version__",
    "connect",
    "find_daemon",
]

# Their module imports numpy, which `import ringfence` must not.
_LAZY = frozenset(
    ("Added", "BatchHits", "Collection", "CollectionStats", "Hits", "Rows", "Vectors")
)


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module 'ringfence' has no attribute {name!r}")
    from . import _vectors

    value = getattr(_vectors, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
