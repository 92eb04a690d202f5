"""The vector engine with numpy arrays in and out.

Imported at the first use of ``client.vectors``: this is the module that needs numpy. Arrays of the
right type (``float32`` rows, ``uint64`` ids) are sent as they are, others are converted first; what
cannot be converted without changing its meaning is an error. Results are read-only arrays over the
reply's own memory; ``numpy.array(hits.ids)`` makes a writable copy.
"""

from __future__ import annotations

import builtins
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

try:
    import numpy as np
except ImportError as error:
    raise ImportError(
        f"vectors go in and out as numpy arrays: pip install ringfence[numpy] ({error})",
        name="numpy",
    ) from error

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from ._core import Client as NativeClient
    from ._core import Method as NativeMethod
    from ._types import Metric, Timeout

    Floats = NDArray[Any] | Sequence[float] | Sequence[Sequence[float]] | memoryview
    Ids = NDArray[Any] | Sequence[int] | range | int

METRICS: tuple[Metric, ...] = ("l2", "cosine", "dot")
"""By the number that the protocol has for each."""

METHODS = (
    *("create", "drop", "list"),
    *("add", "get", "delete", "search", "search_batch", "count", "stats"),
    *("save", "load"),
)
"""The methods of the engine."""

ID_RANGE = "ids go from 0 to 2**64 - 2"

NO_ID = 2**64 - 1
"""No row has this id; it fills the rows of :attr:`BatchHits.ids` that have too few hits."""


class Added(NamedTuple):
    """What adding rows did."""

    added: int
    """Rows that are new."""
    updated: int
    """Rows that replaced one of the same id."""


class Rows(NamedTuple):
    """Rows as they were put in."""

    rows: NDArray[np.float32]
    """The rows that exist, one after the other, in the order they were asked for."""
    found: NDArray[np.bool_]
    """For each id asked for, does it exist?"""


class Hits(NamedTuple):
    """The nearest rows of a query, nearest first."""

    ids: NDArray[np.uint64]
    """Their ids."""
    distances: NDArray[np.float32]
    """Their distances."""
    visited: int
    """Rows whose distance was computed."""

    def copy(self) -> Hits:
        """The same in memory of this process, writable; lets go of the daemon's."""
        return Hits(self.ids.copy(), self.distances.copy(), self.visited)


class BatchHits(NamedTuple):
    """The nearest rows of each of many queries; one row of the arrays a query."""

    ids: NDArray[np.uint64]
    """Their ids, nearest first; ``2**64 - 1`` where a query has fewer hits than others."""
    distances: NDArray[np.float32]
    """Their distances; infinite where a query has fewer hits than others."""
    counts: NDArray[np.uint32]
    """The hits of each query."""
    visited: int
    """Rows whose distance was computed, over all queries."""


class Saved(NamedTuple):
    """What saving a collection wrote."""

    rows: int
    """Rows."""
    bytes: int
    """Bytes of the file."""


@dataclass(frozen=True, slots=True)
class CollectionStats:
    """A collection and what was done with it."""

    count: int
    """Rows."""
    dim: int
    """Dimensions of each row."""
    metric: Metric
    """How distance is measured."""
    connectivity: int
    """Edges a node in the graph."""
    ef_add: int
    """Candidates kept while a vector is added."""
    ef_search: int
    """Candidates kept while searching by default."""
    capacity: int
    """Rows that fit before the index grows."""
    memory_bytes: int
    """Bytes that index and rows take."""
    searches: int
    """Queries answered by the graph."""
    visited: int
    """Rows whose distance these computed."""
    exact_searches: int
    """Queries answered exactly."""
    added: int
    """Rows added, replaced ones included, since the collection was made."""
    deleted: int
    """Rows deleted since the collection was made."""


class Vectors:
    """The collections of a daemon: ``client.vectors``."""

    __slots__ = ("_methods",)

    def __init__(self, client: NativeClient) -> None:
        self._methods = {name: client._method("vectors", name) for name in METHODS}

    def create(
        self,
        name: str,
        *,
        dim: int,
        metric: Metric = "l2",
        exist_ok: bool = False,
        connectivity: int | None = None,
        ef_add: int | None = None,
        ef_search: int | None = None,
        timeout: Timeout = ...,
    ) -> Collection:
        """Makes a collection of vectors with ``dim`` dimensions each. ``connectivity`` (HNSW's M),
        ``ef_add`` and ``ef_search`` (candidates kept while adding and searching) trade speed for
        recall. With ``exist_ok`` an existing collection of the same shape is opened instead."""
        options = (connectivity, ef_add, ef_search)
        values = create_values(name, dim, metric, exist_ok, options)
        self._methods["create"].invoke(values, timeout=timeout)
        return Collection(self._methods, name, dim, metric)

    def __repr__(self) -> str:
        return "<collections of vectors: list() names them, client.vectors[name] opens one>"

    def open(self, name: str, *, timeout: Timeout = ...) -> Collection:
        """A collection that exists; ``client.vectors[name]`` is the same."""
        values = self._methods["stats"].invoke((name,), timeout=timeout)
        stats = read_stats(values)
        return Collection(self._methods, name, stats.dim, stats.metric)

    def load(self, name: str, replace: bool = False, *, timeout: Timeout = ...) -> Collection:
        """Makes a collection from the file that :meth:`Collection.save` wrote under this name,
        perhaps in an earlier daemon. If a collection of this name exists that is an error; with
        ``replace`` it is exchanged, and whoever searches it meanwhile finds the old rows or the new
        ones. A file that is damaged is an :class:`OSError` and changes nothing."""
        values = self._methods["load"].invoke((replace, name), timeout=timeout)
        _rows, _bytes, dim, number = values
        return Collection(self._methods, name, dim, METRICS[int(number)])

    def drop(self, name: str, *, timeout: Timeout = ...) -> None:
        """Removes a collection with all its rows."""
        self._methods["drop"].invoke((name,), timeout=timeout)

    def list(self, *, timeout: Timeout = ...) -> builtins.list[str]:
        """The names of all collections, sorted."""
        names: str = self._methods["list"].invoke((), timeout=timeout)[0]
        return names.split("\n") if names else []

    def __getitem__(self, name: str) -> Collection:
        return self.open(name)

    def __contains__(self, name: object) -> bool:
        return name in self.list()

    def __iter__(self) -> Iterator[str]:
        return iter(self.list())


class Collection:
    """A named collection of vectors, each with an id. A handle: it holds no rows itself."""

    __slots__ = ("_methods", "dim", "metric", "name")

    def __init__(
        self, methods: dict[str, NativeMethod], name: str, dim: int, metric: Metric
    ) -> None:
        self._methods = methods
        self.name = name
        """Its name in the daemon."""
        self.dim = dim
        """Dimensions of each row."""
        self.metric: Metric = metric
        """How distance is measured."""

    def add(self, ids: Ids, rows: Floats, *, timeout: Timeout = ...) -> Added:
        """Adds rows, all or none; an id that exists already is an error."""
        values = add_values(self, False, ids, rows)
        return Added(*self._methods["add"].invoke(values, timeout=timeout))

    def upsert(self, ids: Ids, rows: Floats, *, timeout: Timeout = ...) -> Added:
        """Adds rows, all or none; a row whose id exists already is replaced."""
        values = add_values(self, True, ids, rows)
        return Added(*self._methods["add"].invoke(values, timeout=timeout))

    def get(self, ids: Ids, *, timeout: Timeout = ...) -> Rows:
        """Gives rows back as they were put in; ids that do not exist are skipped."""
        values = ids_values(self, ids)
        return read_rows(self._methods["get"].invoke(values, timeout=timeout))

    def delete(self, ids: Ids, *, timeout: Timeout = ...) -> int:
        """Deletes rows and gives their number; ids that do not exist are skipped."""
        count: int = self._methods["delete"].invoke(ids_values(self, ids), timeout=timeout)[0]
        return count

    def search(
        self,
        query: Floats,
        k: int = 10,
        *,
        ef: int | None = None,
        exact: bool = False,
        timeout: Timeout = ...,
    ) -> Hits:
        """Finds the ``k`` nearest rows of a vector. ``ef``: candidates kept while searching, more
        is slower and finds more; ``exact`` looks at every row."""
        values = search_values(self, query, k, ef, exact)
        return read_hits(self._methods["search"].invoke(values, timeout=timeout))

    def search_batch(
        self,
        queries: Floats,
        k: int = 10,
        *,
        ef: int | None = None,
        exact: bool = False,
        timeout: Timeout = ...,
    ) -> BatchHits:
        """Finds the ``k`` nearest rows of each of many vectors in one call. The answers are those
        of as many calls of :meth:`search`."""
        values = batch_values(self, queries, k, ef, exact)
        return read_batch(self._methods["search_batch"].invoke(values, timeout=timeout))

    def count(self, *, timeout: Timeout = ...) -> int:
        """How many rows there are."""
        count: int = self._methods["count"].invoke((self.name,), timeout=timeout)[0]
        return count

    def stats(self, *, timeout: Timeout = ...) -> CollectionStats:
        """The collection and what was done with it."""
        return read_stats(self._methods["stats"].invoke((self.name,), timeout=timeout))

    def save(self, *, timeout: Timeout = ...) -> Saved:
        """Writes the collection, as it is at one moment, to the file of its name in the daemon's
        state directory (``[state] dir`` of its configuration, or ``RINGFENCE_STATE_DIR``), in place
        of the one before: as a whole, or not at all. ``client.vectors.load(name)`` reads it."""
        return Saved(*self._methods["save"].invoke((self.name,), timeout=timeout))

    def __len__(self) -> int:
        return self.count()

    def __repr__(self) -> str:
        return f"<collection {self.name!r}: {self.dim} dimensions, metric {self.metric}>"


# What goes into the calls and what comes out of them: the same for those that are awaited.


class _Shape(Protocol):
    """A collection, awaited or not."""

    name: str
    dim: int


def create_values(
    name: str, dim: int, metric: Metric, exist_ok: bool, options: tuple[int | None, ...]
) -> tuple[Any, ...]:
    """The request of ``create``; ``options`` are connectivity, ef_add and ef_search."""
    if metric not in METRICS:
        raise ValueError(f"metric is {metric!r}; it can be one of {', '.join(METRICS)}")
    return (dim, METRICS.index(metric), exist_ok, *(option or 0 for option in options), name)


def add_values(to: _Shape, upsert: bool, ids: Ids, rows: Floats) -> tuple[Any, ...]:
    """The request of ``add``."""
    wanted = _ids(ids)
    matrix = _matrix(to, rows, "rows")
    if len(wanted) != len(matrix):
        raise ValueError(
            f"{len(wanted)} ids for {len(matrix)} rows of {to.name!r}; give one id a row"
        )
    return (upsert, to.name, wanted, matrix)


def ids_values(of: _Shape, ids: Ids) -> tuple[Any, ...]:
    """The request of ``get`` and of ``delete``."""
    return (of.name, _ids(ids))


def search_values(
    of: _Shape, query: Floats, k: int, ef: int | None, exact: bool
) -> tuple[Any, ...]:
    """The request of ``search``."""
    vector = _floats(query, "query")
    if vector.ndim != 1:
        raise ValueError(
            f"query has {vector.ndim} dimensions, a vector has 1; search_batch takes many"
        )
    return (k, ef or 0, exact, of.name, vector)


def batch_values(
    of: _Shape, queries: Floats, k: int, ef: int | None, exact: bool
) -> tuple[Any, ...]:
    """The request of ``search_batch``."""
    return (k, ef or 0, exact, of.name, _matrix(of, queries, "queries"))


def read_rows(values: tuple[Any, ...]) -> Rows:
    """The reply of ``get``."""
    dim, found, rows = values
    return Rows(rows.reshape(-1, dim), np.frombuffer(found, np.bool_))


def read_hits(values: tuple[Any, ...]) -> Hits:
    """The reply of ``search``."""
    visited, ids, distances = values
    return Hits(ids, distances, visited)


def read_batch(values: tuple[Any, ...]) -> BatchHits:
    """The reply of ``search_batch``."""
    visited, counts, ids, distances = values
    return BatchHits(*_by_query(counts, ids, distances), counts, visited)


def read_stats(values: tuple[Any, ...]) -> CollectionStats:
    """The reply of ``stats``."""
    count, dim, number, *rest = values
    metric: Metric = METRICS[int(number)]
    return CollectionStats(count, dim, metric, *rest)


def _by_query(
    counts: NDArray[np.uint32], ids: NDArray[np.uint64], distances: NDArray[np.float32]
) -> tuple[NDArray[np.uint64], NDArray[np.float32]]:
    """Flat hits as one row a query, filled up where a query has fewer than others."""
    width = int(counts.max(initial=0))
    shape = (len(counts), width)
    if ids.size == len(counts) * width:
        return ids.reshape(shape), distances.reshape(shape)
    there = np.arange(width) < counts[:, None]
    all_ids = np.full(shape, NO_ID, np.uint64)
    all_distances = np.full(shape, np.inf, np.float32)
    all_ids[there] = ids
    all_distances[there] = distances
    return all_ids, all_distances


def _matrix(of: _Shape, rows: Floats, what: str) -> NDArray[np.float32]:
    matrix = _floats(rows, what)
    if matrix.ndim != 2 or matrix.shape[1] != of.dim:
        if matrix.size == 0:
            return matrix.reshape(0, of.dim)
        raise ValueError(f"{what} has the shape {matrix.shape}, {of.name!r} takes (n, {of.dim})")
    return matrix


def _contiguous(array: NDArray[Any], what: str) -> None:
    if not array.flags.c_contiguous:
        raise TypeError(
            f"{what} is not contiguous in memory; pass numpy.ascontiguousarray({what}) or a copy"
        )


def _floats(value: Floats, what: str) -> NDArray[np.float32]:
    array: NDArray[Any] = value if isinstance(value, np.ndarray) else np.asarray(value)
    _contiguous(array, what)
    if array.dtype == np.float32:
        return array
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{what} has elements of type {array.dtype}; it takes float32")
    with np.errstate(over="ignore"):
        single: NDArray[np.float32] = array.astype(np.float32)
    if not np.isfinite(single).all() and np.isfinite(array).all():
        largest = np.abs(array).max()
        raise OverflowError(f"{what} has a value of {largest}; float32 ends at 3.4e38")
    return single


def _ids(value: Ids) -> NDArray[np.uint64]:
    array: NDArray[Any] = value if isinstance(value, np.ndarray) else _whole_numbers(value)
    _contiguous(array, "ids")
    if array.ndim == 0:
        array = array.reshape(1)
    if array.ndim != 1:
        raise ValueError(f"ids has {array.ndim} dimensions; it takes 1")
    if array.dtype == np.uint64:
        return array
    if array.size == 0:
        return np.empty(0, np.uint64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"ids has elements of type {array.dtype}; it takes whole numbers")
    if array.min() < 0:
        raise OverflowError(f"ids has {array.min()}; {ID_RANGE}")
    return array.astype(np.uint64)


def _whole_numbers(value: Ids) -> NDArray[Any]:
    """An array of what is none. numpy makes floats of numbers from both sides of 2**63."""
    array: NDArray[Any] = np.asarray(value)
    if array.dtype.kind not in "fO" or array.size == 0:
        return array
    numbers: list[object] = np.asarray(value, np.object_).ravel().tolist()
    if not all(isinstance(number, int) for number in numbers):
        return array
    try:
        return np.asarray(value, np.uint64)
    except OverflowError as error:
        raise OverflowError(f"ids has a number that does not fit; {ID_RANGE}") from error
