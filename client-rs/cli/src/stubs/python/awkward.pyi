# What `client.engine("named")` offers, for type checkers. Made by `ringfence stubs named`; make it
# anew when the daemon's engine changes. Kept as named_engine.pyi it is used like this:
#
#     if TYPE_CHECKING:  # at run time there is no such module
#         from named_engine import Named
#     engine = cast("Named", client.engine("named"))
#
# Digest of the engine: 834cd50b6ffa5663c01798e791795563584f73cafa0a7afa9e517c7d088c8e18

import builtins as _builtins
from types import EllipsisType as _EllipsisType
from typing import Any as _Any
from typing import NamedTuple as _NamedTuple
from typing import SupportsIndex as _SupportsIndex
from typing import TypeAlias as _TypeAlias

import numpy as _np
from numpy.typing import NDArray as _NDArray

from ringfence import Method as _Method

_Timeout: _TypeAlias = float | None | _EllipsisType
_Int: _TypeAlias = _SupportsIndex

class NamedList(_NamedTuple):
    count: _builtins.int  # type: ignore[assignment] # pyright: ignore
    index: _builtins.str  # type: ignore[assignment] # pyright: ignore
    """A \\u{1b} text."""

class NamedInt(_NamedTuple):
    int: _builtins.int
    str: _builtins.str
    """A \\u{1b} text."""

class NamedAB(tuple[_builtins.int, _builtins.str, _builtins.int, _builtins.int]):
    @property
    def _0(self) -> _builtins.int:
        """`class`, no name in Python."""
    @property
    def _1(self) -> _builtins.str:
        """`_x`, no name in Python. A \\u{1b} text."""
    @property
    def index(self) -> _builtins.int:  # type: ignore[override] # pyright: ignore
        ...
    @property
    def x(self) -> _builtins.int:
        ...
    _fields: _builtins.tuple[_builtins.str, ...]
    def _asdict(self) -> dict[_builtins.str, _Any]: ...

class NamedAB2(_NamedTuple):
    bytes: _builtins.bytes

class NamedImport(_NamedTuple):
    x: _builtins.int

class NamedReply(_NamedTuple):
    x: _builtins.int

class NamedTuple(_NamedTuple):
    x: _NDArray[_np.bool_]

class Named:
    """Ends with a \"quote\""""
    name: _builtins.str
    """Its name in the catalogue."""
    doc: _builtins.str
    """What it is for."""
    names: _builtins.tuple[_builtins.str, ...]
    """The names of its methods."""
    def __getitem__(self, name: _builtins.str, /) -> _Method:
        """A method by its name, untyped; also those that Python has no attribute for."""
    def list(self, *, plain: _Int, timeout: _Timeout = ..., **fields: _Any) -> NamedList:
        """Does list. Says \"\"\"so\"\"\" and \\n.
        `class` (u32, to be passed as **{...})
        `from` (str, to be passed as **{...}): A \\u{1b} text.
        `plain` (u32)
        """
    def int(self, *, int: _Int, timeout: _Timeout = ...) -> NamedInt:
        """Does int. Says \"\"\"so\"\"\" and \\n.
        `int` (u32)
        """
    def a_b(self, *, timeout: _Timeout = ...) -> NamedAB:
        """Does a_b. Says \"\"\"so\"\"\" and \\n."""
    def a__b(self, *, timeout: _Timeout = ...) -> NamedAB2:
        """Does a__b. Says \"\"\"so\"\"\" and \\n."""
    # "import" is no attribute: call engine["import"], it gives NamedImport.
    # "no-name" is no attribute: call engine["no-name"], it gives NamedReply.
    # "names" is no attribute: call engine["names"], it gives None.
    # "late" takes a field `timeout`, which no call of Python's can pass.
    def tuple(self, *, timeout: _Timeout = ...) -> NamedTuple:
        """Does tuple. Says \"\"\"so\"\"\" and \\n."""
