"""Arrays that a client fills where the daemon reads them. Imported at the first loan; needs numpy."""

from __future__ import annotations

from math import prod
from operator import index
from typing import TYPE_CHECKING, Any

try:
    import numpy as np
except ImportError as error:
    raise ImportError(
        f"loans are numpy arrays: pip install ringfence[numpy] ({error})", name="numpy"
    ) from error

if TYPE_CHECKING:
    from types import TracebackType

    from numpy.typing import DTypeLike, NDArray


class Wanted:
    """What an array is to be: its sizes, its dtype, and how many bytes that takes."""

    __slots__ = ("count", "kind", "sizes")

    def __init__(self, shape: int | tuple[int, ...], dtype: DTypeLike) -> None:
        self.kind: np.dtype[Any] = np.dtype(dtype)
        if self.kind.hasobject:
            raise TypeError(f"a loan of dtype {self.kind}: objects cannot be sent")
        self.sizes = _sizes(shape)
        if any(size < 0 for size in self.sizes):
            raise ValueError(f"a loan of shape {self.sizes}: sizes go from 0 up")
        self.count = prod(self.sizes)

    @property
    def nbytes(self) -> int:
        return self.count * self.kind.itemsize


class Loan:
    """An array to fill and to send, once or again: ``with client.loan(shape) as rows``. A call whose
    last field it is, from its beginning, sends it without a copy. Do not write while such a call is
    open. The memory goes back when neither the loan nor a view of its array is left."""

    __slots__ = ("array",)

    def __init__(self, memory: Any, wanted: Wanted) -> None:
        flat: NDArray[Any] = (
            np.frombuffer(memory, wanted.kind, wanted.count)
            if wanted.count
            else np.empty(0, wanted.kind)
        )
        self.array: NDArray[Any] | None = flat.reshape(wanted.sizes)
        """The array; ``None`` once the loan is over."""

    def __enter__(self) -> NDArray[Any]:
        if self.array is None:
            raise ValueError("this loan is over: ask for another one")
        return self.array

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.array = None

    def __repr__(self) -> str:
        if self.array is None:
            return "<ringfence.Loan, over>"
        return f"<ringfence.Loan of {self.array.shape}, {self.array.dtype}>"


def _sizes(shape: Any) -> tuple[int, ...]:
    """The sizes of a shape; whole numbers of numpy are as good as Python's."""
    try:
        return (index(shape),)
    except TypeError:
        pass
    try:
        return tuple(index(size) for size in shape)
    except TypeError:
        raise TypeError(f"a loan of shape {shape!r}: a whole number, or a tuple of them") from None
