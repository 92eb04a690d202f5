"""What a client's own memory does while it sends much more than it has."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from conftest import run_python
from ringfence.testing import PrivateDaemon

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

DIM = 4096
BATCH_ROWS = 256
BATCH_BYTES = BATCH_ROWS * DIM * 4
FILE_BYTES = 64 << 20
GIB = 1 << 30
MOST_GROWTH = 64 << 20
"""What the client may grow by while it adds 1 GiB of rows."""

SCRIPT = """
import mmap, sys, time
import numpy as np
import ringfence as rf

socket, path = sys.argv[1:3]
dim, batch, wanted = map(int, sys.argv[3:])

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
    before, end, added = status("VmRSS"), time.monotonic() + 35, 0
    while added < wanted and time.monotonic() < end:
        first = added % len(rows)
        docs.add(range(added, added + batch), rows[first : first + batch])
        added += batch
        # The array's own pages are not the client's: at most one batch of them is here at a time.
        rows._mmap.madvise(mmap.MADV_DONTNEED)
    print(status("VmHWM") - before, added, docs.count() - 1)
"""


def test_adding_a_gibibyte_takes_the_client_less_than_64_mebibytes(
    ringfence_daemon: PrivateDaemon, tmp_path: Path
) -> None:
    """The peak as the kernel has it (VmHWM), with the copies under way in shared memory and one
    batch of the array's own pages. A machine that has no memory for 1 GiB in the daemon, or no time,
    adds less, and the client may grow by less."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    # Once in the table, once in the graph, and as much for whoever else is here.
    wanted = min(GIB, free // 4) // BATCH_BYTES * BATCH_ROWS
    path = tmp_path / "rows.f32"
    np.random.default_rng(8).random(FILE_BYTES // 4, np.float32).tofile(path)
    arguments = (str(path), str(DIM), str(BATCH_ROWS), str(wanted))
    result = run_python(SCRIPT, str(ringfence_daemon.socket), *arguments)
    path.unlink()
    assert result.returncode == 0, result.stderr
    growth, added, count = map(int, result.stdout.split())
    assert added == count
    size = added * DIM * 4
    bound = MOST_GROWTH * size / GIB
    if bound < 3 * BATCH_BYTES:
        pytest.skip(f"only {size >> 20} MiB were added: too few to tell growth from noise")
    assert growth < bound, f"{growth >> 20} MiB more while {size >> 20} MiB were added"
    print(f"{growth / 2**20:.1f} MiB more while {size >> 20} MiB were added")
