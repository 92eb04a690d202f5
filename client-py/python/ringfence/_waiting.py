"""Waiting for several calls at once."""

from __future__ import annotations

from ._errors import CallTimeout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ._core import Pending


def wait_any(pendings: Iterable[Pending], *, timeout: float | None = None) -> Pending:
    """The first of some calls that is answered (or whose own time is over): ``submit`` many, then take
    them as they come. ``timeout``: seconds, ``None`` is for ever. For tens of calls: every look
    costs time for each; :func:`as_completed` takes them all."""
    calls = list(pendings)
    if not calls:
        raise ValueError("wait_any of no calls: there is nothing to wait for")
    # Of its own class: calls in process have another one.
    index = type(calls[0])._first_of(calls, timeout=timeout)
    if index is None:
        raise CallTimeout(
            f"none of {len(calls)} calls was answered within {timeout} s; they are still pending"
        )
    return calls[index]


def as_completed(
    pendings: Iterable[Pending], *, timeout: float | None = None
) -> Iterator[Pending]:
    """All of some calls, each when it is answered. ``timeout``: seconds for all together."""
    import time

    calls = list(pendings)
    deadline = None if timeout is None else time.monotonic() + timeout
    while calls:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        first = wait_any(calls, timeout=left)
        calls.remove(first)
        yield first
