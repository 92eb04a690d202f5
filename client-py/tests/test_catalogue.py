"""Calls by the catalogue: any engine, by names that only the daemon knows."""

from __future__ import annotations

import inspect
import struct

import numpy as np
import pytest

import ringfence as rf
from conftest import run_python
from ringfence.testing import private_daemon


def test_engines_are_named(client: rf.Client) -> None:
    assert {"system", "vectors"} <= set(client.engines())
    with pytest.raises(KeyError, match="no engine 'graph2'; it has .*vectors"):
        client.engine("graph2")


def test_an_engine_that_is_off_is_not_there() -> None:
    with private_daemon(arguments=("--engines", "system")) as lean, lean.connect() as client:
        assert client.engines() == ["system"]
        with pytest.raises(KeyError, match="no engine `vectors` is enabled; there are: system"):
            client.vectors.list()


def test_an_engine_shows_its_methods(client: rf.Client) -> None:
    engine = client.engine("vectors")
    assert {"create", "search", "stats"} <= set(dir(engine))
    assert repr(engine).startswith("<engine 'vectors': create, drop,")
    assert "nearest neighbours" in engine.doc
    assert engine.search is engine.search is engine["search"]
    with pytest.raises(AttributeError, match="'vectors' has no method 'serch'; it has create"):
        engine.serch  # noqa: B018
    with pytest.raises(KeyError, match="serch"):
        engine["serch"]


def test_a_slip_of_the_pen_is_met_with_a_suggestion() -> None:
    script = """
import sys, ringfence as rf
with rf.connect("inproc:") as client:
    system = client.engine("system")
eval(sys.argv[1])
"""
    slips = {"rf.conect": "connect", "rf.aio.conect": "connect", "system.echoo": "echo"}
    for slip, meant in slips.items():
        assert f"Did you mean: '{meant}'?" in run_python(script, slip).stderr


def test_a_method_describes_itself(client: rf.Client) -> None:
    search = client.engine("vectors").search
    assert search.name == "vectors.search"
    assert search.idempotent and search.timeout == 30
    assert client.engine("vectors").add.timeout is None
    assert search.request == {
        "k": "u32",
        "ef": "u32",
        "exact": "bool",
        "collection": "str",
        "query": "[f32]",
    }
    assert list(search.reply) == ["visited", "ids", "distances"]
    assert list(inspect.signature(search).parameters) == [*search.request, "timeout"]
    assert "Finds the nearest rows of a vector." in search.help
    assert "k: u32  How many" in search.help
    assert repr(search) == "<method vectors.search>"


def test_calls_take_fields_and_give_named_tuples(client: rf.Client) -> None:
    vectors = client.engine("vectors")
    assert vectors.create(
        name="by-catalogue", dim=2, metric=0, exist_ok=True, connectivity=0, ef_add=0, ef_search=0
    ) is None
    try:
        rows = np.array([[0, 0], [3, 4]], np.float32)
        added = vectors.add(upsert=True, collection="by-catalogue", ids=[1, 2], rows=rows)
        assert added == (2, 0)
        assert (added.added, type(added).__name__) == (2, "VectorsAdd")
        query = struct.pack("2f", 0, 0)
        hits = vectors.search(k=2, ef=0, exact=True, collection="by-catalogue", query=query)
        assert hits.ids.tolist() == [1, 2] and hits.distances.tolist() == [0, 25]
        assert isinstance(hits.ids, np.ndarray) and hits.visited == 2
        got = vectors.get(collection="by-catalogue", ids=[2, 5], timeout=5)
        assert (got.dim, got.found, got.rows.tolist()) == (2, b"\1\0", [3, 4])
        assert vectors.count(collection="by-catalogue").count == 2
        assert "by-catalogue" in vectors.list().names
    finally:
        vectors.drop(collection="by-catalogue")


def test_mistakes_name_method_and_field(client: rf.Client) -> None:
    vectors = client.engine("vectors")
    with pytest.raises(TypeError, match=r"vectors\.count\(\) needs the field `collection`; it"):
        vectors.count()
    with pytest.raises(TypeError, match=r"vectors\.count\(\) has no field `name`; it takes coll"):
        vectors.count(name="x", collection="y")
    with pytest.raises(TypeError, match=r"positional .*: vectors\.count\(collection=\.\.\.\)"):
        vectors.count("x")  # type: ignore[arg-type] # pyright: ignore
    with pytest.raises(OverflowError, match=r"vectors\.create\(\): `dim` is -1, u32 takes 0"):
        vectors.create(
            name="x", dim=-1, metric=0, exist_ok=True, connectivity=0, ef_add=0, ef_search=0
        )


def test_submitting_needs_engine_and_method(client: rf.Client) -> None:
    with pytest.raises(ValueError, match="'echo' names no method; write it as 'engine.method'"):
        client.submit("echo", data=b"x")
    with pytest.raises(TypeError, match="'engine.method' or a method of client.engine"):
        client.submit(client.echo, data=b"x")  # type: ignore[arg-type] # pyright: ignore
    assert client.submit("system.echo", data=b"x").result().data == b"x"
    echo = client.engine("system").echo
    assert client.submit(echo, data=b"y").result().data == b"y"
    assert echo.submit(data=b"z", timeout=5).result(timeout=5).data == b"z"


def test_stats_are_a_named_tuple(client: rf.Client) -> None:
    before = client.stats()
    for _ in range(10):
        client.ping()
    assert client.stats().uptime_ms >= before.uptime_ms
