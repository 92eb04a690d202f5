"""``with`` and ``async with`` for what has a ``close``."""

from __future__ import annotations

# `typing` alone takes longer to import than all of ringfence.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Protocol, Self

    class HasClose(Protocol):
        def close(self) -> None: ...


class Closing:
    """Closed at the end of a ``with`` block."""

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self: HasClose,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class AsyncClosing:
    """Closed at the end of an ``async with`` block; its ``close`` does not wait."""

    __slots__ = ()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self: HasClose,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
