"""Large arrays: loaned, viewed where they lie, counted."""

from __future__ import annotations

import asyncio
import gc
import re
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import eventually
from numpy.typing import NDArray

import ringfence as rf
from ringfence.testing import PrivateDaemon, private_daemon

ROWS, DIM = 5_000, 32


def mapping_of(array: NDArray[np.generic]) -> str:
    """The name in /proc/self/maps of the memory that an array lies in."""
    address = array.__array_interface__["data"][0]
    for line in Path("/proc/self/maps").read_text().splitlines():
        low, high = (int(part, 16) for part in line.split()[0].split("-"))
        if low <= address < high:
            return line.partition("/")[2]
    raise AssertionError(f"{address:x} is not mapped")


def is_ours(array: NDArray[np.generic], daemon: PrivateDaemon) -> bool:
    return re.search(rf"ringfence\.\d+\.{daemon.instance}\.\w+\.bulk", mapping_of(array)) is not None


def test_a_loaned_array_is_read_where_it_lies(daemon: PrivateDaemon) -> None:
    values = np.random.default_rng(3).random((ROWS, DIM), np.float32)
    with daemon.connect() as client:
        docs = client.vectors.create("loaned", dim=DIM)
        with client.loan((ROWS, DIM)) as rows:
            assert is_ours(rows, daemon) and rows.flags.writeable and rows.shape == (ROWS, DIM)
            rows[:] = values
            before = rf.copied_bytes()
            assert docs.add(np.arange(ROWS), rows).added == ROWS
            assert rf.copied_bytes() == before, "nothing was copied in this process"
            # The same memory again, filled anew, and a part of it from its beginning.
            rows += 1
            assert docs.upsert(np.arange(ROWS), rows).updated == ROWS
            rows[: ROWS // 2] += 1
            assert docs.upsert(np.arange(ROWS // 2), rows[: ROWS // 2]).updated == ROWS // 2
            assert rf.copied_bytes() == before
            # What begins elsewhere is copied, once.
            docs.upsert(np.arange(ROWS // 2), rows[ROWS // 2 :])
            assert rf.copied_bytes() == before + rows.nbytes // 2
        got = docs.get([0, ROWS - 1]).rows
        expected = values[[ROWS // 2, ROWS - 1]] + 1
        assert (got == expected).all()
        client.vectors.drop("loaned")


def test_an_array_of_ones_own_is_copied_once(daemon: PrivateDaemon) -> None:
    rows = np.random.default_rng(4).random((ROWS, DIM), np.float32)
    with daemon.connect() as client:
        docs = client.vectors.create("copied", dim=DIM)
        before = rf.copied_bytes()
        docs.add(np.arange(ROWS), rows)
        assert rf.copied_bytes() - before == rows.nbytes
        assert (docs.get([7, 11]).rows == rows[[7, 11]]).all()
        client.vectors.drop("copied")


def test_a_submitted_call_copies_what_is_no_loan_once(daemon: PrivateDaemon) -> None:
    own = np.random.default_rng(6).integers(0, 256, 1 << 20, np.uint8)
    with daemon.connect() as client, client.loan(own.shape, np.uint8) as loaned:
        echo = client.engine("system").echo
        before = rf.copied_bytes()
        pending = echo.submit(data=own)
        assert rf.copied_bytes() - before == own.nbytes
        # It was copied: whoever submits goes on with an array of their own as they like.
        expected, own[:] = own.copy(), 0
        assert pending.result().data == expected.tobytes()
        loaned[:] = expected
        before = rf.copied_bytes()
        assert echo.submit(data=loaned).result().data == expected.tobytes()
        assert rf.copied_bytes() == before, "nothing was copied in this process"
        # One call at a time names a loan.
        both = [echo.submit(data=loaned) for _ in range(2)]
        assert all(pending.result().data == expected.tobytes() for pending in both)


def test_a_task_copies_an_array_once(daemon: PrivateDaemon) -> None:
    rows = np.random.default_rng(7).random((ROWS, DIM), np.float32)

    async def main() -> None:
        async with rf.aio.connect(daemon.socket) as client:
            docs = await client.vectors.create("awaited", dim=DIM)
            await docs.add(np.arange(ROWS), rows)
            # Now there is a segment of that size, and it is free again.
            before = rf.copied_bytes()
            await docs.upsert(np.arange(ROWS), rows + 1)
            assert rf.copied_bytes() - before == rows.nbytes
            assert ((await docs.get([7, 11])).rows == rows[[7, 11]] + 1).all()
            await client.vectors.drop("awaited")

    asyncio.run(asyncio.wait_for(main(), 60))


def test_a_task_is_lent_an_array(daemon: PrivateDaemon) -> None:
    values = np.random.default_rng(8).random((ROWS, DIM), np.float32)

    async def main() -> None:
        async with rf.aio.connect(daemon.socket) as client:
            # The first thing that it does.
            with await client.loan((ROWS, DIM)) as rows:
                assert is_ours(rows, daemon) and rows.shape == (ROWS, DIM)
                rows[:] = values
                docs = await client.vectors.create("lent", dim=DIM)
                before = rf.copied_bytes()
                assert (await docs.add(np.arange(ROWS), rows)).added == ROWS
                rows += 1
                assert (await docs.upsert(np.arange(ROWS), rows)).updated == ROWS
                assert rf.copied_bytes() == before, "nothing was copied in this process"
            assert ((await docs.get([7, 11])).rows == values[[7, 11]] + 1).all()
            await client.vectors.drop("lent")
            # Many at once, of which each has to be asked for; and again, when they are there.
            for _ in range(2):
                loans = await asyncio.gather(*(client.loan(1 << 18) for _ in range(8)))
                assert len({mapping_of(loan.__enter__()) for loan in loans}) == len(loans)
                del loans
            with pytest.raises(TypeError, match="objects"):
                await client.loan(3, object)
            with pytest.raises((MemoryError, ValueError, OverflowError)):
                await client.loan((1 << 20, 1 << 20))

    asyncio.run(asyncio.wait_for(main(), 60))


def test_a_task_that_is_lent_nothing_is_told_in_its_time_and_holds_nobody_up() -> None:
    async def main(daemon: PrivateDaemon) -> None:
        async with rf.aio.connect(daemon.socket) as client:
            await client.ping()
            daemon.freeze()
            asked = asyncio.ensure_future(client.loan(1 << 20, timeout=0.5))
            turns = 0
            while not asked.done():
                await asyncio.sleep(0.01)
                turns += 1
            daemon.thaw()
            with pytest.raises(TimeoutError):
                await asked
            assert turns > 5, "others had their turn"
            with await client.loan(1 << 20) as array:
                assert array.nbytes == 4 << 20

    with private_daemon() as daemon:
        asyncio.run(asyncio.wait_for(main(daemon), 60))


def test_a_large_call_of_a_task_is_made_again_as_it_was_sent() -> None:
    async def main(daemon: PrivateDaemon) -> None:
        async with rf.aio.connect(daemon.socket) as client:
            echo = (await client.engine("system")).echo
            assert (await echo(data=LARGE)).data == LARGE
            daemon.freeze()
            array = np.full(len(LARGE), 7, np.uint8)
            calling = asyncio.ensure_future(echo(data=array))
            await asyncio.sleep(0)
            array[:] = 0
            daemon.kill()
            daemon.start()
            assert bytes((await calling).data) == b"\x07" * len(LARGE)

    with private_daemon() as daemon:
        asyncio.run(asyncio.wait_for(main(daemon), 60))


def test_a_large_reply_is_viewed_where_it_lies(daemon: PrivateDaemon) -> None:
    rows = np.random.default_rng(5).random((ROWS, DIM), np.float32)
    with daemon.connect() as client:
        docs = client.vectors.create("viewed", dim=DIM)
        docs.add(np.arange(ROWS), rows)
        before = rf.copied_bytes()
        got = docs.get(np.arange(ROWS)).rows
        assert is_ours(got, daemon) and not got.flags.writeable
        assert (got == rows).all() and rf.copied_bytes() == before
        eventually(lambda: client.stats().leased_bytes >= got.nbytes, "the lease is seen")
        del got
        gc.collect()
        eventually(lambda: client.stats().leased_bytes == 0, "the lease is given back")
        client.vectors.drop("viewed")


def test_a_loan_outlives_its_daemon_and_its_client() -> None:
    with private_daemon() as daemon:
        client = daemon.connect()
        with client.loan(1_000_000, np.uint8) as array:
            array[:] = 7
            daemon.kill()
            daemon.start()
            docs = client.vectors.create("again", dim=2500)
            docs.add(range(100), array.view(np.float32).reshape(100, -1))
            assert docs.count() == 100
        client.close()
        assert (array == 7).all()


LARGE = bytes(1 << 20)


def test_a_large_call_to_a_stopped_daemon_ends_in_its_time() -> None:
    with private_daemon() as daemon, daemon.connect(timeout=20) as client:
        echo = client.engine("system").echo
        daemon.freeze()
        start = time.monotonic()
        # There is no segment yet, and nobody to ask for one: a connect might take 20 s.
        with pytest.raises(TimeoutError, match="not_started"):
            echo(data=LARGE, timeout=0.5)
        assert 0.4 < time.monotonic() - start < 4
        daemon.thaw()
        assert echo(data=LARGE).data == LARGE


def test_a_large_call_that_is_made_again_has_one_time() -> None:
    with private_daemon() as daemon, daemon.connect(timeout=20) as client:
        echo = client.engine("system").echo
        assert echo(data=LARGE).data == LARGE
        daemon.freeze()
        # Gone for good after two thirds of its time: it may be made again for the last third.
        killer = threading.Timer(2.0, daemon.kill)
        start = time.monotonic()
        killer.start()
        with pytest.raises(rf.DaemonRestarted):
            echo(data=LARGE, timeout=3.0)
        took = time.monotonic() - start
        killer.join()
        assert 2.9 < took < 4.5, took


def test_what_cannot_be_lent(client: rf.Client) -> None:
    with client.loan((0, 8)) as nothing:
        assert nothing.shape == (0, 8)
    with pytest.raises(TypeError, match="objects"):
        client.loan(3, object)
    for wrong in ("3", 1.5, (2, "a")):
        with pytest.raises(TypeError, match="a whole number, or a tuple of them"):
            client.loan(wrong)  # type: ignore[arg-type] # pyright: ignore
    with pytest.raises(ValueError, match="from 0 up"):
        client.loan((-1, 2))
    with pytest.raises((MemoryError, ValueError, OverflowError)):
        client.loan((1 << 20, 1 << 20))
    loan = client.loan(np.int64(100_000))
    assert repr(loan) == "<ringfence.Loan of (100000,), float32>"
    with loan as array:
        array[:] = 1.5
    assert repr(loan) == "<ringfence.Loan, over>"
    with pytest.raises(ValueError, match="is over"):
        loan.__enter__()
    assert array.sum() == 150_000


def test_a_loan_in_process_is_memory_like_any_other() -> None:
    with rf.connect("inproc:") as client:
        docs = client.vectors.create("here", dim=DIM)
        with client.loan((ROWS, DIM)) as rows:
            rows[:] = np.arange(ROWS, dtype=np.float32)[:, None]
            docs.add(np.arange(ROWS), rows)
        assert docs.search([5.0] * DIM, 1).ids.tolist() == [5]
