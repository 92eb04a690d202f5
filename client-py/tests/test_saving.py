"""Saving collections and loading them again, through real daemons that are stopped and killed."""

from __future__ import annotations

import random
import resource
import secrets
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

import ringfence as rf
from conftest import eventually, run_python
from ringfence.testing import PrivateDaemon, private_daemon

if TYPE_CHECKING:
    from ringfence._types import Metric


@pytest.fixture
def saving(tmp_path: Path) -> Iterator[PrivateDaemon]:
    """A daemon of one's own that saves in ``tmp_path``."""
    with private_daemon(arguments=("--state-dir", str(tmp_path))) as running:
        yield running


def digits() -> NDArray[np.float32]:
    """1797 handwritten digits of 64 dimensions, with many ties."""
    rows: NDArray[np.float32] = load_digits().data.astype(np.float32)
    return rows


def restart(daemon: PrivateDaemon) -> None:
    daemon.kill()
    daemon.start()


@pytest.mark.parametrize("metric", ["l2", "cosine", "dot"])
def test_a_restarted_daemon_answers_as_before(saving: PrivateDaemon, metric: Metric) -> None:
    rows = digits()
    queries = rows[::7] + np.float32(0.25)
    with saving.connect() as client:
        docs = client.vectors.create("docs", dim=64, metric=metric)
        docs.add(range(len(rows)), rows)
        docs.delete(range(0, 400, 3))
        before = [docs.search(query, k=20).copy() for query in queries]
        exact = docs.search_batch(queries, k=20, exact=True)
        saved = docs.save()
        assert saved.rows == docs.count() == len(rows) - 134
        restart(saving)
        with pytest.raises(KeyError):
            docs.count()
        again = client.vectors.load("docs")
        assert (again.dim, again.metric, len(again)) == (64, metric, saved.rows)
        for query, hits in zip(queries, before):
            found = again.search(query, k=20)
            np.testing.assert_array_equal(found.ids, hits.ids)
            np.testing.assert_array_equal(found.distances, hits.distances)
        found_exactly = again.search_batch(queries, k=20, exact=True)
        np.testing.assert_array_equal(found_exactly.ids, exact.ids)
        np.testing.assert_array_equal(found_exactly.distances, exact.distances)
        np.testing.assert_array_equal(again.get(range(1, 400, 3)).rows, rows[1:400:3])
        again.upsert([0], rows[:1])
        np.testing.assert_array_equal(again.get([0]).rows, rows[:1])
        assert len(again) == saved.rows + 1


def test_a_daemon_killed_while_it_saves_leaves_the_file_whole(
    saving: PrivateDaemon, tmp_path: Path
) -> None:
    """Each save in the loop has one batch more than the one before; whatever is on the disk after
    the kill is one of them."""
    folder = tmp_path / saving.instance / "vectors"
    chance, in_the_middle = random.Random(11), 0
    rows = np.random.default_rng(5).random((8000, 64), np.float32)
    with saving.connect() as client:
        docs = client.vectors.create("docs", dim=64)
        docs.add(range(len(rows)), rows)
        docs.save()
        for _ in range(8):
            counts = _save_until_killed(saving, docs, folder, chance.uniform(0, 0.005))
            partial = len(list(folder.glob(".*.partial")))
            assert partial <= 1, "partial files of earlier kills are left"
            in_the_middle += partial
            docs = client.vectors.load("docs")
            last = docs.count()
            assert last in counts, f"{last} rows were saved by nobody: {counts}"
            np.testing.assert_array_equal(docs.get(range(100)).rows, rows[:100])
        docs.save()
    assert in_the_middle > 0, "no kill hit a save: this tested nothing"
    assert [path.name for path in folder.iterdir()] == ["docs.vectors"]


def _save_until_killed(
    daemon: PrivateDaemon, docs: rf.Collection, folder: Path, seconds: float
) -> set[int]:
    """Kills the daemon while another thread saves and starts the next one; the row counts that may
    be on the disk."""
    counts = {docs.count()}

    def save_on() -> None:
        try:
            while True:
                first = secrets.randbits(50)
                docs.add(range(first, first + 10), np.ones((10, docs.dim), np.float32))
                counts.add(docs.count())
                docs.save()
        except (ConnectionError, KeyError):
            # Whoever waits for the next daemon finds no collection in it.
            return

    thread = threading.Thread(target=save_on)
    thread.start()
    eventually(lambda: any(folder.glob(".*.partial")), "a file is being written")
    time.sleep(seconds)
    restart(daemon)
    thread.join(30)
    assert not thread.is_alive()
    return counts


def test_what_is_in_the_way_is_an_exception_that_fits(
    saving: PrivateDaemon, tmp_path: Path
) -> None:
    with saving.connect() as client:
        with pytest.raises(FileNotFoundError, match="never saved"):
            client.vectors.load("docs")
        docs = client.vectors.create("docs", dim=2)
        docs.add([1], [[0, 1]])
        docs.save()
        docs.add([2], [[1, 0]])
        with pytest.raises(ValueError, match="replace=True"):
            client.vectors.load("docs")
        assert client.vectors.load("docs", replace=True).count() == 1
        file = tmp_path / saving.instance / "vectors" / "docs.vectors"
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.parent.stat().st_mode & 0o777 == 0o700
        with file.open("r+b") as damaged:
            damaged.truncate(file.stat().st_size - 1)
        with pytest.raises(OSError, match="damaged") as caught:
            client.vectors.load("docs", replace=True)
        assert isinstance(caught.value, rf.RemoteError)
        assert client.vectors["docs"].count() == 1


def test_without_a_state_directory_the_error_says_what_to_configure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    with private_daemon() as running, running.connect() as client:
        docs = client.vectors.create("docs", dim=2)
        with pytest.raises(OSError, match=r"`\[state\] dir` .* or RINGFENCE_STATE_DIR"):
            docs.save()
        with pytest.raises(OSError, match=r"RINGFENCE_STATE_DIR"):
            client.vectors.load("docs")


def test_a_file_that_may_not_grow_leaves_nothing_behind(
    saving: PrivateDaemon, tmp_path: Path
) -> None:
    """RLIMIT_FSIZE: the write fails in the middle (EFBIG), as it would on a full disk."""
    with saving.connect() as client:
        docs = client.vectors.create("docs", dim=64)
        docs.add(range(10), np.ones((10, 64), np.float32))
        docs.save()
        docs.add(range(10, 1000), np.ones((990, 64), np.float32))
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.prlimit(saving.pid, resource.RLIMIT_FSIZE, (65_536, hard))
        with pytest.raises(OSError, match="make room there"):
            docs.save()
        resource.prlimit(saving.pid, resource.RLIMIT_FSIZE, (hard, hard))
        _assert_old_file_is_whole(client, tmp_path / saving.instance / "vectors")


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root may mount a small file system")
    try:
        with private_daemon(arguments=("--state-dir", str(small))) as running:
            with running.connect() as client:
                docs = client.vectors.create("docs", dim=64)
                docs.add(range(10), np.ones((10, 64), np.float32))
                docs.save()
                docs.add(range(10, 1000), np.ones((990, 64), np.float32))
                with pytest.raises(OSError, match="No space left on device.*make room there"):
                    docs.save()
                _assert_old_file_is_whole(client, small / running.instance / "vectors")
    finally:
        subprocess.run(["umount", str(small)], check=True)


def _assert_old_file_is_whole(client: rf.Client, folder: Path) -> None:
    assert [path.name for path in folder.iterdir()] == ["docs.vectors"]
    assert client.vectors.load("docs", replace=True).count() == 10


def test_in_process_too(tmp_path: Path) -> None:
    save = """
import ringfence as rf
docs = rf.connect("inproc:").vectors.create("docs", dim=2)
docs.add([7, 8], [[0, 1], [1, 0]])
print(docs.save().rows)
"""
    load = """
import ringfence as rf
docs = rf.connect("inproc:").vectors.load("docs")
print(docs.search([0.1, 1.0], k=1).ids.tolist())
"""
    where = {"RINGFENCE_STATE_DIR": str(tmp_path)}
    assert run_python(save, **where).stdout == "2\n"
    assert (tmp_path / "inproc" / "vectors" / "docs.vectors").is_file()
    assert run_python(load, **where).stdout == "[7]\n"
    nowhere = run_python(load)
    assert "RemoteOSError" in nowhere.stderr and "RINGFENCE_STATE_DIR" in nowhere.stderr
    relative = run_python(load, RINGFENCE_STATE_DIR="here")
    assert "must be absolute" in relative.stderr
