"""Run your Rust core once, call it from every process as if it were linked in: the Python client.

>>> import ringfence as rf
>>> with rf.connect() as client:          # finds the daemon; starts a private one if there is none
...     client.echo(b"hello")
b'hello'
"""

from __future__ import annotations

from ._client import Client
from ._connect import connect, find_daemon
from ._core import (
    Counts,
    Message,
    Pending,
    Position,
    Topic,
    TopicStats,
    TopicSubscription,
    __version__,
    copied_bytes,
)
from ._engine import Engine, Method
from ._errors import (
    Backpressure,
    CallTimeout,
    Cancelled,
    DaemonRestarted,
    DaemonStalled,
    DaemonUnavailable,
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
from ._waiting import as_completed, wait_any

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import aio, messages, topology
    from ._codes import ErrorCode
    from ._daemon import Daemon, Stats
    from ._listener import Listener
    from ._loan import Loan
    from ._runtime import Runtime, Subscription
    from ._serving import Request, Server
    from ._vectors import (
        Added,
        BatchHits,
        Collection,
        CollectionStats,
        Hits,
        Rows,
        Saved,
        Vectors,
    )
    from .messages import message

__all__ = [
    "Added",
    "Backpressure",
    "BatchHits",
    "CallTimeout",
    "Cancelled",
    "Client",
    "Collection",
    "CollectionStats",
    "Counts",
    "Daemon",
    "DaemonRestarted",
    "DaemonStalled",
    "DaemonUnavailable",
    "Engine",
    "ErrorCode",
    "ForkedSession",
    "Hits",
    "Listener",
    "Loan",
    "Message",
    "Method",
    "Pending",
    "PermissionDenied",
    "Position",
    "RemoteError",
    "RemoteFileNotFoundError",
    "RemoteKeyError",
    "RemoteMemoryError",
    "RemoteOSError",
    "RemoteOverflowError",
    "RemoteRuntimeError",
    "RemoteTypeError",
    "RemoteValueError",
    "Request",
    "RingfenceError",
    "Rows",
    "Runtime",
    "Saved",
    "SchemaMismatch",
    "Server",
    "SessionKilled",
    "Stats",
    "Subscription",
    "Topic",
    "TopicStats",
    "TopicSubscription",
    "Vectors",
    "__version__",
    "aio",
    "as_completed",
    "connect",
    "copied_bytes",
    "find_daemon",
    "message",
    "messages",
    "topology",
    "wait_any",
]

# Their modules import what `import ringfence` must not: numpy, `typing`, `enum`.
_LAZY_MODULES = ("aio", "messages", "topology")
_LAZY = {
    "Daemon": "_daemon",
    "ErrorCode": "_codes",
    "Listener": "_listener",
    "Loan": "_loan",
    "Request": "_serving",
    "Runtime": "_runtime",
    "Server": "_serving",
    "Subscription": "_runtime",
    "Stats": "_daemon",
    "message": "messages",
    **dict.fromkeys(
        ("Added", "BatchHits", "Collection", "CollectionStats", "Hits", "Rows", "Saved", "Vectors"),
        "_vectors",
    ),
}


def __getattr__(name: str) -> object:
    if name in _LAZY_MODULES:
        from importlib import import_module

        return import_module(f".{name}", __name__)
    if name not in _LAZY:
        import sys

        text = f"module 'ringfence' has no attribute {name!r}"
        raise AttributeError(text, name=name, obj=sys.modules[__name__])
    from importlib import import_module

    value: object = getattr(import_module(f".{_LAZY[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, *_LAZY_MODULES})
