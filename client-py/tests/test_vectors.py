"""The typed vector API: what goes in, what comes out, and what each mistake says."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import ringfence as rf
from conftest import run_python
from ringfence.testing import private_daemon


@pytest.fixture
def docs(client: rf.Client) -> Iterator[rf.Collection]:
    """A collection of five points on a line."""
    collection = client.vectors.create(f"line-{secrets.token_hex(4)}", dim=2)
    rows = np.array([[0, 0], [1, 0], [2, 0], [3, 0], [4, 0]], np.float32)
    assert collection.add(range(10, 15), rows) == (5, 0)
    yield collection
    client.vectors.drop(collection.name)


def test_what_a_prompt_shows(client: rf.Client, docs: rf.Collection) -> None:
    assert repr(docs) == f"<collection {docs.name!r}: 2 dimensions, metric l2>"
    assert "client.vectors[name]" in repr(client.vectors)


def test_a_search_finds_the_nearest_first(docs: rf.Collection) -> None:
    hits = docs.search(np.array([1.2, 0], np.float32), k=3)
    assert hits.ids.tolist() == [11, 12, 10]
    assert hits.ids.dtype == np.uint64 and hits.distances.dtype == np.float32
    np.testing.assert_allclose(hits.distances, [0.04, 0.64, 1.44], rtol=1e-5)
    assert hits.visited > 0
    ids, distances, visited = hits
    assert (ids is hits.ids, distances is hits.distances, visited) == (True, True, hits.visited)


def test_hits_are_read_only_and_a_copy_is_not(docs: rf.Collection) -> None:
    hits = docs.search([0.0, 0.0], k=2)
    assert not hits.ids.flags.writeable and not hits.distances.flags.writeable
    copy = hits.copy()
    copy.ids[0] = 99
    assert hits.ids[0] == 10 and copy.visited == hits.visited


def test_fewer_rows_than_k_give_fewer_hits(docs: rf.Collection) -> None:
    assert len(docs.search([0, 0], k=100).ids) == 5
    assert docs.search([0, 0], k=100, exact=True).visited == 5


def test_a_batch_has_a_row_a_query(docs: rf.Collection) -> None:
    queries = np.array([[0, 0], [4, 0], [2, 1]], np.float32)
    batch = docs.search_batch(queries, k=2, exact=True)
    assert batch.ids.tolist() == [[10, 11], [14, 13], [12, 11]] or batch.ids[2, 0] == 12
    assert batch.ids.shape == batch.distances.shape == (3, 2)
    assert batch.counts.tolist() == [2, 2, 2]
    assert batch.visited == 15
    none = docs.search_batch(np.empty((0, 2), np.float32), k=2)
    assert none.ids.shape == (0, 0) and none.visited == 0


def test_queries_with_fewer_hits_are_filled_up() -> None:
    from ringfence._vectors import NO_ID, _by_query

    counts = np.array([2, 0, 1], np.uint32)
    ids, distances = _by_query(
        counts, np.array([1, 2, 3], np.uint64), np.array([0.5, 1, 2], np.float32)
    )
    assert ids.tolist() == [[1, 2], [NO_ID, NO_ID], [3, NO_ID]]
    assert distances.tolist() == [[0.5, 1], [np.inf, np.inf], [2, np.inf]]


def test_rows_come_back_as_they_were(docs: rf.Collection) -> None:
    rows, found = docs.get([14, 99, 10])
    assert found.tolist() == [True, False, True] and found.dtype == np.bool_
    assert rows.tolist() == [[4, 0], [0, 0]]
    empty = docs.get([])
    assert empty.rows.shape == (0, 2) and empty.found.shape == (0,)
    assert docs.get(14).rows.tolist() == [[4, 0]]


def test_upsert_replaces_and_delete_removes(docs: rf.Collection) -> None:
    assert docs.upsert([10, 20], [[9.0, 9.0], [8.0, 8.0]]) == (1, 1)
    assert docs.count() == len(docs) == 6
    assert docs.get([10]).rows.tolist() == [[9, 9]]
    assert docs.delete([10, 11, 999]) == 2
    assert docs.count() == 4
    assert 11 not in docs.search([1, 0], k=10).ids


def test_stats_describe_the_collection(docs: rf.Collection) -> None:
    docs.search([0, 0], k=1)
    docs.search([0, 0], k=1, exact=True)
    stats = docs.stats()
    assert (stats.count, stats.dim, stats.metric) == (5, 2, "l2")
    assert (stats.searches, stats.exact_searches, stats.added) == (1, 1, 5)
    assert stats.capacity >= 5 and stats.memory_bytes > 0
    assert stats.connectivity > 0 and stats.ef_add > 0 and stats.ef_search > 0


def test_collections_are_listed_opened_and_dropped(client: rf.Client) -> None:
    name = f"shelf-{secrets.token_hex(4)}"
    vectors = client.vectors
    assert vectors is client.vectors
    made = vectors.create(name, dim=3, metric="cosine", connectivity=8, ef_add=50, ef_search=20)
    assert repr(made) == f"<collection {name!r}: 3 dimensions, metric cosine>"
    assert name in vectors and name in list(vectors) and name in vectors.list()
    opened = vectors[name]
    assert (opened.name, opened.dim, opened.metric) == (name, 3, "cosine")
    stats = opened.stats()
    assert (stats.connectivity, stats.ef_add, stats.ef_search) == (8, 50, 20)
    assert vectors.create(name, dim=3, metric="cosine", exist_ok=True).count() == 0
    vectors.drop(name)
    assert name not in vectors
    with pytest.raises(KeyError, match=name):
        vectors[name]


@pytest.mark.parametrize(
    "ids",
    [
        np.array([7], np.uint64),
        np.array([7], np.int64),
        np.array([7], np.uint8),
        [7],
        (7,),
        range(7, 8),
        7,
        np.uint32(7),
    ],
)
def test_ids_may_be_any_whole_numbers(docs: rf.Collection, ids: list[int]) -> None:
    assert docs.add(ids, [[5.0, 5.0]]) == (1, 0)
    assert docs.get([7]).found.all()


def test_the_largest_id_goes_through(docs: rf.Collection) -> None:
    docs.add([2**64 - 2, 0], [[50.0, 0.0], [60.0, 0.0]])
    assert docs.search([50, 0], k=1).ids.tolist() == [2**64 - 2]


@pytest.mark.parametrize(
    "rows",
    [[[5, 5]], [[5.0, 5.0]], np.array([[5, 5]]), np.array([[5, 5]], np.float64), ((5, 5.0),)],
)
def test_rows_of_other_numbers_are_converted(docs: rf.Collection, rows: list[list[float]]) -> None:
    assert docs.add([7], rows).added == 1
    assert docs.get([7]).rows.tolist() == [[5, 5]]


Act = Callable[[rf.Collection], object]


@pytest.mark.parametrize(
    ("act", "kind", "text"),
    [
        (lambda d: d.add([1, 2], [[0, 0]]), ValueError, r"2 ids for 1 rows of 'line-"),
        (lambda d: d.add([1], [[0, 0, 0]]), ValueError, r"\(1, 3\), 'line-.*' takes \(n, 2\)"),
        (lambda d: d.add([1], [0, 0]), ValueError, r"rows has the shape \(2,\)"),
        (lambda d: d.add([-1], [[0, 0]]), OverflowError, r"ids has -1; ids go from 0"),
        (lambda d: d.add([2**64], [[0, 0]]), OverflowError, r"ids go from 0 to 2\*\*64 - 2"),
        (lambda d: d.delete([2**64 - 2, -1]), OverflowError, "a number that does not fit; ids go"),
        (lambda d: d.add([1.5], [[0, 0]]), TypeError, "float64; it takes whole numbers"),
        (lambda d: d.add([[1]], [[0, 0]]), ValueError, "ids has 2 dimensions; it takes 1"),
        (lambda d: d.add([1], [["a", "b"]]), TypeError, r"rows has elements .* takes float32"),
        (lambda d: d.add([1], [[1e39, 0]]), OverflowError, r"value of 1e\+39; float32 ends"),
        (lambda d: d.add([10], [[0, 0]]), ValueError, "10"),
        (lambda d: d.add([2**64 - 1], [[0, 0]]), ValueError, r"2\^64 - 1, which is reserved"),
        (lambda d: d.add([1], [[np.nan, 0]]), ValueError, "(?i)nan|finite"),
        (lambda d: d.search([[0, 0]]), ValueError, "a vector has 1; search_batch takes many"),
        (lambda d: d.search([0, 0, 0]), ValueError, "3"),
        (lambda d: d.search([0, 0], k=0), ValueError, "k"),
        (lambda d: d.search([0, 0], k=-1), OverflowError, "`k` is -1, u32 takes 0 to 4294967295"),
        (lambda d: d.search([0, 0], k=1.5), TypeError, r"`k` takes u32 \(int\), not float"),
        (lambda d: d.search_batch([[0]]), ValueError, r"queries has the shape \(1, 1\)"),
        (
            lambda d: d.search(np.zeros(4, np.float32)[::2]),
            TypeError,
            r"query is not contiguous.*numpy\.ascontiguousarray\(query\)",
        ),
        (
            lambda d: d.add([1, 2], np.zeros((2, 2), np.float32, order="F")),
            TypeError,
            r"rows is not contiguous",
        ),
    ],
)
def test_mistakes_say_what_to_do(
    docs: rf.Collection, act: Act, kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text):
        act(docs)
    assert docs.count() == 5, "a refused call changed the collection"


def test_a_wrong_metric_names_the_right_ones(client: rf.Client) -> None:
    with pytest.raises(ValueError, match="metric is 'L2'; it can be one of l2, cosine, dot"):
        client.vectors.create("x", dim=2, metric="L2")  # type: ignore[arg-type] # pyright: ignore


def test_a_name_that_exists_is_said(client: rf.Client, docs: rf.Collection) -> None:
    with pytest.raises(ValueError, match=docs.name) as caught:
        client.vectors.create(docs.name, dim=2)
    assert isinstance(caught.value, rf.RemoteError)
    assert caught.value.code is rf.ErrorCode.ALREADY_EXISTS


def test_results_outlive_client_and_collection(client: rf.Client) -> None:
    """Large replies lie in memory of the daemon: a view keeps it."""
    name = f"wide-{secrets.token_hex(4)}"
    docs = client.vectors.create(name, dim=64)
    rows = np.random.default_rng(3).random((2000, 64), np.float32)
    docs.add(range(2000), rows)
    got = docs.get(range(2000)).rows
    assert got.nbytes > 65536
    client.vectors.drop(name)
    client.close()
    np.testing.assert_array_equal(got, rows)


def test_the_memory_of_collections_is_what_the_configuration_allows(tmp_path: Path) -> None:
    config = tmp_path / "small.toml"
    config.write_text("[engines]\nmemory_bytes = 2097152\n")
    with private_daemon(arguments=("--config", str(config))) as daemon, daemon.connect() as client:
        docs = client.vectors.create("docs", dim=64)
        docs.add(range(100), np.ones((100, 64), np.float32))
        with pytest.raises(MemoryError, match=r"2097152 bytes.*`\[engines\] memory_bytes`"):
            docs.add(range(100, 10_000), np.ones((9_900, 64), np.float32))
        assert docs.count() == 100


def test_and_in_process_what_the_environment_says() -> None:
    add = """
import ringfence as rf
docs = rf.connect("inproc:").vectors.create("docs", dim=64)
docs.add(range(10_000), [[1.0] * 64] * 10_000)
print(docs.count())
"""
    name = "RINGFENCE_ENGINES_MEMORY_BYTES"
    assert run_python(add).stdout == "10000\n"
    assert "MemoryError" in run_python(add, **{name: "2097152"}).stderr
    assert f'{name} = "much" is not a number of bytes' in run_python(add, **{name: "much"}).stderr
