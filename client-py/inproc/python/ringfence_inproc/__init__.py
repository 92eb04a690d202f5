"""The Ringfence core inside this process.

Not an API: ``ringfence.connect("inproc:")`` imports this package and is what users call.
"""

from __future__ import annotations

from ringfence._client import ClientMethods

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringfence import Client
    from ringfence._core import Client as _Native
    from ringfence._types import Spin, Timeout
else:
    from ._inproc import Client as _Native

__all__ = ["connect"]


class InprocClient(ClientMethods, _Native):
    """A client whose core runs in this process. ``isinstance(client, ringfence.Client)`` holds."""

    __slots__ = ("_serving", "_vectors")


def connect(*, timeout: Timeout = ..., spin: Spin = "adaptive", name: str | None = None) -> Client:
    """A client of this process's own core."""
    from typing import cast

    return cast("Client", InprocClient(None, timeout=timeout, spin=spin, name=name))
