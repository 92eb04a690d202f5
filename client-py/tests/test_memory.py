"""What a client's own memory does while it sends much more than it has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from conftest import run_python
from ringfence.testing import PrivateDaemon

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

DIM = 4096
BATCH_BYTES = 16 << 20
GIB = 1 << 30
MOST_GROWTH = 64 << 20
"""What the client may grow by while it adds 1 GiB of rows."""

SCRIPT = """
import mmap, sys
import numpy as np
import ringfence as rf

socket, path, dim, batch_rows = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])

def status(key):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))

rows = np.memmap(path, np.float32, "r").reshape(-1, dim)
with rf.connect(socket) as client:
    # The cheapest graph there is: what is measured is how rows get there.
    docs = client.vectors.create("docs", dim=dim, connectivity=4, ef_add=1)
    docs.add([2**40], np.zeros((1, dim), np.float32))
    with open("/proc/self/clear_refs", "w") as refs:
        refs.write("5")  # VmHWM starts again (proc_pid_clear_refs(5))
    before = status("VmRSS")
    for first in range(0, len(rows), batch_rows):
        batch = rows[first : first + batch_rows]
        docs.add(range(first, first + len(batch)), batch)
        # The array's own pages are not the client's: at most one batch of them is here at a time.
        rows._mmap.madvise(mmap.MADV_DONTNEED)
    print(status("VmHWM") - before, docs.count() - 1)
"""


def test_adding_a_gibibyte_takes_the_client_less_than_64_mebibytes(
    ringfence_daemon: PrivateDaemon, tmp_path: Path
) -> None:
    """The peak as the kernel has it (VmHWM), with the copies under way in shared memory and one
    batch of the array's own pages. Where there is less memory than the daemon needs for 1 GiB, less
    is added, and the bound is what is left of it beside two batches."""
    there = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    # Once in the table, once in the graph, and as much for whoever else is here.
    size = min(GIB, there // 4 // BATCH_BYTES * BATCH_BYTES)
    if size < 4 * BATCH_BYTES:
        pytest.skip(f"{there} bytes of memory are free: too few to tell growth from noise")
    rows = size // (DIM * 4)
    path = tmp_path / "rows.f32"
    _write_rows(path, size)
    try:
        result = run_python(
            SCRIPT, str(ringfence_daemon.socket), str(path), str(DIM), str(BATCH_BYTES // (DIM * 4))
        )
    finally:
        path.unlink()
    assert result.returncode == 0, result.stderr
    growth, count = map(int, result.stdout.split())
    assert count == rows
    bound = max(2.5 * BATCH_BYTES, MOST_GROWTH * size / GIB)
    assert growth < bound, f"{growth >> 20} MiB more while {size >> 20} MiB were added"


def _write_rows(path: Path, size: int) -> None:
    import numpy as np

    chance = np.random.default_rng(8)
    with path.open("wb") as file:
        for _ in range(size // BATCH_BYTES):
            file.write(chance.random(BATCH_BYTES // 4, np.float32).data)
