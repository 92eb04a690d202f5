"""The vector engine against numpy in double precision, on real data: 134 196 image patches of 108
numbers, and the digits of scikit-learn."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

import ringfence as rf
from ringfence.demo import image_patches
from ringfence.testing import PrivateDaemon

K = 10
RECALL = 0.95
VISITED_SHARE = 0.05
# Distances are computed in single precision there.
RELATIVE = 1e-4
ABSOLUTE = 1e-5

# An index of all patches is built once; that takes a while on a small machine.
pytestmark = pytest.mark.timeout(600)

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


@dataclass
class Case:
    """A collection with its rows, queries that are none of them, and the true distances."""

    docs: rf.Collection
    rows: Floats
    queries: Floats
    metric: str

    def distances(self, query: Floats) -> Doubles:
        wide, asked = self.rows.astype(np.float64), query.astype(np.float64)
        if self.metric == "l2":
            return np.asarray(((wide - asked) ** 2).sum(axis=1))
        dots = wide @ asked
        if self.metric == "dot":
            return np.asarray(1 - dots)
        lengths = np.sqrt((wide**2).sum(axis=1)) * np.sqrt((asked**2).sum())
        return np.asarray(1 - dots / lengths)


@pytest.fixture(scope="module")
def patches(daemon: PrivateDaemon) -> Iterator[Case]:
    rows = image_patches()
    assert rows.shape == (134_196, 108)
    order = np.random.default_rng(5).permutation(len(rows))
    # Queries are patches of the same photographs, moved a little.
    noise = np.random.default_rng(6).normal(0, 0.02, (200, 108)).astype(np.float32)
    queries = rows[order[:200]] + noise
    with daemon.connect() as client:
        docs = client.vectors.create(f"patches-{secrets.token_hex(4)}", dim=108)
        for start in range(0, len(rows), 20_000):
            part = rows[start : start + 20_000]
            docs.add(range(start, start + len(part)), part)
        assert docs.count() == len(rows)
        yield Case(docs, rows, queries, "l2")
        client.vectors.drop(docs.name)


@pytest.fixture(params=["l2", "cosine", "dot"])
def digits(client: rf.Client, request: pytest.FixtureRequest) -> Iterator[Case]:
    from sklearn.datasets import load_digits  # type: ignore[import-untyped]

    images = load_digits().data.astype(np.float32)
    rows, queries = images[100:], images[:100]
    docs = client.vectors.create(f"digits-{secrets.token_hex(4)}", dim=64, metric=request.param)
    docs.add(range(len(rows)), rows)
    yield Case(docs, rows, queries, request.param)
    client.vectors.drop(docs.name)


def recall(case: Case, found: list[NDArray[np.uint64]]) -> float:
    """The share of hits that are as near as the true ones; rows at equal distance are equal."""
    good = 0
    for query, ids in zip(case.queries, found, strict=True):
        true = case.distances(query)
        border = np.partition(true, K - 1)[K - 1]
        good += int((true[ids.astype(np.int64)] <= border * (1 + RELATIVE) + ABSOLUTE).sum())
    return good / (K * len(case.queries))


def test_default_settings_find_the_neighbours_of_patches(patches: Case) -> None:
    before = patches.docs.stats()
    hits = [patches.docs.search(query, K) for query in patches.queries]
    after = patches.docs.stats()
    assert recall(patches, [hit.ids for hit in hits]) >= RECALL
    visited = after.visited - before.visited
    assert after.searches - before.searches == len(patches.queries)
    assert visited == sum(hit.visited for hit in hits)
    share = visited / len(patches.queries) / len(patches.rows)
    assert 0 < share < VISITED_SHARE


def test_a_batch_answers_as_single_searches_do(patches: Case) -> None:
    batch = patches.docs.search_batch(patches.queries, K)
    for index, query in enumerate(patches.queries):
        hits = patches.docs.search(query, K)
        assert batch.ids[index].tolist() == hits.ids.tolist()
        assert batch.distances[index].tolist() == hits.distances.tolist()


def test_eight_threads_answer_as_one_does(patches: Case) -> None:
    def work(query: Floats) -> tuple[list[int], list[float]]:
        hits = patches.docs.search(query, K)
        return hits.ids.tolist(), hits.distances.tolist()

    alone = [work(query) for query in patches.queries]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, patches.queries)) == alone


def test_exact_search_is_exact_on_patches(patches: Case) -> None:
    batch = patches.docs.search_batch(patches.queries[:20], K, exact=True)
    assert batch.visited == 20 * len(patches.rows)
    for query, ids, distances in zip(patches.queries, batch.ids, batch.distances, strict=False):
        true = np.sort(patches.distances(query))[:K]
        np.testing.assert_allclose(distances, true, RELATIVE, ABSOLUTE)
        np.testing.assert_allclose(
            patches.distances(query)[ids.astype(np.int64)], true, RELATIVE, ABSOLUTE
        )


def test_exact_search_is_exact_on_digits(digits: Case) -> None:
    # `dot` of digits goes into the thousands: there the relative tolerance is what counts.
    for query in digits.queries:
        hits = digits.docs.search(query, K, exact=True)
        true = digits.distances(query)
        np.testing.assert_allclose(hits.distances, np.sort(true)[:K], RELATIVE, ABSOLUTE)
        np.testing.assert_allclose(
            hits.distances, true[hits.ids.astype(np.int64)], RELATIVE, ABSOLUTE
        )
        assert hits.visited == len(digits.rows)


def test_distances_are_those_of_the_ids_and_rise(digits: Case) -> None:
    for query in digits.queries:
        hits = digits.docs.search(query, K)
        true = digits.distances(query)[hits.ids.astype(np.int64)]
        np.testing.assert_allclose(hits.distances, true, RELATIVE, ABSOLUTE)
        assert (np.diff(hits.distances) >= 0).all()
        assert len(set(hits.ids.tolist())) == K


# Not `dot`: an inner product is no distance, and a graph may find few of its neighbours.
@pytest.mark.parametrize("digits", ["l2", "cosine"], indirect=True)
def test_default_settings_find_the_neighbours_of_digits(digits: Case) -> None:
    found = [digits.docs.search(query, K).ids for query in digits.queries]
    assert recall(digits, found) >= RECALL


def test_rows_come_back_bit_for_bit(digits: Case) -> None:
    ids = np.random.default_rng(2).permutation(len(digits.rows)).astype(np.uint64)
    rows, found = digits.docs.get(ids)
    assert found.all()
    np.testing.assert_array_equal(rows, digits.rows[ids.astype(np.int64)])
