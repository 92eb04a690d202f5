"""The vector engine for asyncio: the calls of :mod:`ringfence._vectors`, awaited."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING

from ._vectors import (
    METRICS,
    Added,
    Saved,
    add_values,
    batch_values,
    create_values,
    ids_values,
    read_batch,
    read_hits,
    read_rows,
    read_stats,
    search_values,
)

if TYPE_CHECKING:
    from ._aio_core import Core
    from ._types import Metric, Timeout
    from ._vectors import BatchHits, CollectionStats, Floats, Hits, Ids, Rows


class Vectors:
    """The collections of a daemon."""

    __slots__ = ("_core",)

    def __init__(self, core: Core) -> None:
        self._core = core

    async def create(
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
        """As :meth:`ringfence.Vectors.create`."""
        options = (connectivity, ef_add, ef_search)
        values = create_values(name, dim, metric, exist_ok, options)
        await self._core.invoke("vectors", "create", values, timeout)
        return Collection(self._core, name, dim, metric)

    def __repr__(self) -> str:
        return "<collections of vectors: list() names them, open(name) opens one>"

    async def open(self, name: str, *, timeout: Timeout = ...) -> Collection:
        """A collection that exists."""
        stats = read_stats(await self._core.invoke("vectors", "stats", (name,), timeout))
        return Collection(self._core, name, stats.dim, stats.metric)

    async def load(
        self, name: str, replace: bool = False, *, timeout: Timeout = ...
    ) -> Collection:
        """As :meth:`ringfence.Vectors.load`."""
        values = await self._core.invoke("vectors", "load", (replace, name), timeout)
        _rows, _bytes, dim, number = values
        return Collection(self._core, name, dim, METRICS[int(number)])

    async def drop(self, name: str, *, timeout: Timeout = ...) -> None:
        """Removes a collection with all its rows."""
        await self._core.invoke("vectors", "drop", (name,), timeout)

    async def list(self, *, timeout: Timeout = ...) -> builtins.list[str]:
        """The names of all collections, sorted."""
        (names,) = await self._core.invoke("vectors", "list", (), timeout)
        return names.split("\n") if names else []


class Collection:
    """A named collection of vectors, each with an id. A handle: it holds no rows itself."""

    __slots__ = ("_core", "dim", "metric", "name")

    def __init__(self, core: Core, name: str, dim: int, metric: Metric) -> None:
        self._core = core
        self.name = name
        """Its name in the daemon."""
        self.dim = dim
        """Dimensions of each row."""
        self.metric: Metric = metric
        """How distance is measured."""

    async def add(self, ids: Ids, rows: Floats, *, timeout: Timeout = ...) -> Added:
        """As :meth:`ringfence.Collection.add`."""
        values = add_values(self, False, ids, rows)
        return Added(*await self._core.invoke("vectors", "add", values, timeout))

    async def upsert(self, ids: Ids, rows: Floats, *, timeout: Timeout = ...) -> Added:
        """As :meth:`ringfence.Collection.upsert`."""
        values = add_values(self, True, ids, rows)
        return Added(*await self._core.invoke("vectors", "add", values, timeout))

    async def get(self, ids: Ids, *, timeout: Timeout = ...) -> Rows:
        """As :meth:`ringfence.Collection.get`."""
        values = ids_values(self, ids)
        return read_rows(await self._core.invoke("vectors", "get", values, timeout))

    async def delete(self, ids: Ids, *, timeout: Timeout = ...) -> int:
        """As :meth:`ringfence.Collection.delete`."""
        (count,) = await self._core.invoke("vectors", "delete", ids_values(self, ids), timeout)
        return int(count)

    async def search(
        self,
        query: Floats,
        k: int = 10,
        *,
        ef: int | None = None,
        exact: bool = False,
        timeout: Timeout = ...,
    ) -> Hits:
        """As :meth:`ringfence.Collection.search`."""
        values = search_values(self, query, k, ef, exact)
        return read_hits(await self._core.invoke("vectors", "search", values, timeout))

    async def search_batch(
        self,
        queries: Floats,
        k: int = 10,
        *,
        ef: int | None = None,
        exact: bool = False,
        timeout: Timeout = ...,
    ) -> BatchHits:
        """As :meth:`ringfence.Collection.search_batch`."""
        values = batch_values(self, queries, k, ef, exact)
        return read_batch(await self._core.invoke("vectors", "search_batch", values, timeout))

    async def count(self, *, timeout: Timeout = ...) -> int:
        """How many rows there are."""
        (count,) = await self._core.invoke("vectors", "count", (self.name,), timeout)
        return int(count)

    async def stats(self, *, timeout: Timeout = ...) -> CollectionStats:
        """The collection and what was done with it."""
        return read_stats(await self._core.invoke("vectors", "stats", (self.name,), timeout))

    async def save(self, *, timeout: Timeout = ...) -> Saved:
        """As :meth:`ringfence.Collection.save`."""
        return Saved(*await self._core.invoke("vectors", "save", (self.name,), timeout))

    def __repr__(self) -> str:
        return f"<collection {self.name!r}: {self.dim} dimensions, metric {self.metric}>"
