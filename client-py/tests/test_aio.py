"""The client for asyncio: on the running loop, without a thread."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
import trio
import uvloop
from conftest import SECONDS, run_python, trial_program

import ringfence as rf
from ringfence.testing import PrivateDaemon, private_daemon


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs it on asyncio's own loop, bounded in time."""
    asyncio.run(asyncio.wait_for(main(), SECONDS))


async def eventually(condition: Callable[[], Awaitable[object]], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not await condition():
        assert time.monotonic() < deadline, f"not within {SECONDS} s: {what}"
        await asyncio.sleep(0.005)


@asynccontextmanager
async def ticking(pause: float = 0.01) -> AsyncIterator[Callable[[], int]]:
    """Something else that the loop has to do meanwhile; how often it came round to it."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(pause)
            ticks += 1

    task = asyncio.create_task(tick())
    yield lambda: ticks
    task.cancel()


def test_it_calls(daemon: PrivateDaemon) -> None:
    async def main() -> None:
        async with rf.aio.connect(daemon.socket) as client:
            assert await client.echo(b"hello") == b"hello"
            assert await client.echo(bytearray(range(200))) == bytes(range(200))
            large = os.urandom(3_000_000)
            assert await client.echo(large) == large
            await client.ping()
            assert (await client.stats()).pid == client.daemon.pid == daemon.pid
            assert "vectors" in await client.engines()
            assert repr(client).startswith("<ringfence.aio.Client of 'test-")
            assert "open(name)" in repr(client.vectors)
        assert repr(client) == "<ringfence.aio.Client, closed>"
        with pytest.raises(rf.RingfenceError):
            await client.echo(b"closed")

    run(main)


def test_who_forgets_to_await_is_told(daemon: PrivateDaemon) -> None:
    client = rf.aio.connect(daemon.socket)
    assert "await it" in repr(client)
    with pytest.raises(AttributeError, match=r"no client with 'echo': `client = await connect"):
        client.echo  # type: ignore[attr-defined] # noqa: B018 # pyright: ignore


def test_it_can_be_awaited_and_closed(daemon: PrivateDaemon) -> None:
    async def main() -> None:
        client = await rf.aio.connect(daemon.socket)
        async with client:
            assert await client.echo(b"x") == b"x"
        client.close()
        await client.aclose()

    run(main)


def test_thousands_of_calls_are_in_flight_without_a_thread(trial_daemon: PrivateDaemon) -> None:
    async def main() -> None:
        async with rf.aio.connect(trial_daemon.socket) as client:
            trial = await client.engine("trial")
            threads = threading.active_count(), len(os.listdir("/proc/self/task"))
            naps = [asyncio.create_task(trial.nap(value=0)) for _ in range(1000)]
            echoes = [asyncio.create_task(client.echo(b"%d" % n)) for n in range(4000)]
            await asyncio.sleep(0)
            assert (threading.active_count(), len(os.listdir("/proc/self/task"))) == threads
            assert await asyncio.gather(*echoes) == [b"%d" % n for n in range(4000)]
            assert {answer.value for answer in await asyncio.gather(*naps)} == {0}

    run(main)


def test_the_loop_goes_on_while_a_call_waits(trial_daemon: PrivateDaemon) -> None:
    async def main() -> None:
        async with rf.aio.connect(trial_daemon.socket) as client, ticking() as ticks:
            trial = await client.engine("trial")
            await trial.nap(value=300)
            assert ticks() >= 3

    run(main)


def test_a_task_that_calls_without_end_leaves_time_for_others(daemon: PrivateDaemon) -> None:
    async def main() -> None:
        async with rf.aio.connect(daemon.socket) as client, ticking() as ticks:
            deadline = time.monotonic() + SECONDS
            while ticks() < 3:
                # Most of these are answered before they could wait.
                assert await client.echo(b"x") == b"x"
                assert time.monotonic() < deadline, "nobody else ever ran"

    run(main)


def test_cancelling_frees_the_ticket(trial_daemon: PrivateDaemon) -> None:
    async def main() -> None:
        async with rf.aio.connect(trial_daemon.socket) as client:
            trial = await client.engine("trial")
            # More than a lane has places for. A nap ends when its caller has gone.
            for _ in range(10):
                naps = [asyncio.create_task(trial.nap(value=20_000)) for _ in range(20)]
                await asyncio.sleep(0.001)
                for nap in naps:
                    nap.cancel()
                done = await asyncio.gather(*naps, return_exceptions=True)
                assert all(isinstance(error, asyncio.CancelledError) for error in done)
            assert await client.echo(b"still") == b"still"
            assert (await trial.nap(value=1, timeout=SECONDS)).value == 1

    run(main)


def test_time_outs(trial_daemon: PrivateDaemon) -> None:
    async def main() -> None:
        async with rf.aio.connect(trial_daemon.socket) as client:
            trial = await client.engine("trial")
            with pytest.raises(rf.CallTimeout) as caught:
                await trial.nap(value=10_000, timeout=0.05)
            assert isinstance(caught.value, TimeoutError)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await trial.nap(value=10_000)
            assert await client.echo(b"x") == b"x"

    run(main)


def test_engines_and_their_errors(trial_daemon: PrivateDaemon) -> None:
    async def main() -> None:
        async with rf.aio.connect(trial_daemon.socket) as client:
            trial = await client.engine("trial")
            assert "nap" in trial.names and "nap" in dir(trial)
            assert "takes:" in trial.nap.help and trial["nap"] is trial.nap
            assert repr(trial).startswith("<engine 'trial': nap, ")
            assert repr(trial.nap) == "<method trial.nap>"
            with pytest.raises(rf.RingfenceError, match="panic"):
                await trial.panic(value=0)
            with pytest.raises(TypeError):
                await trial.nap(valeu=1)
            with pytest.raises(TypeError, match=r"name the fields: trial\.nap\(value=\.\.\.\)"):
                await trial.nap(1)  # type: ignore[arg-type] # pyright: ignore
            with pytest.raises(AttributeError, match="has no method"):
                trial.nothing  # noqa: B018
            with pytest.raises(KeyError, match="no engine 'nobody'"):
                await client.engine("nobody")

    run(main)


def test_a_method_says_of_itself_what_it_says_to_a_thread(daemon: PrivateDaemon) -> None:
    async def main() -> None:
        with daemon.connect() as blocking:
            told = blocking.engine("vectors")
            async with rf.aio.connect(daemon.socket) as client:
                vectors = await client.engine("vectors")
                assert (vectors.doc, vectors.names) == (told.doc, told.names)
                for name in vectors.names:
                    here, there = vectors[name], told[name]
                    assert isinstance(here, rf.aio.Method) and not isinstance(here, rf.Method)
                    assert (here.request, here.reply) == (there.request, there.reply)
                    assert (here.timeout, here.idempotent) == (there.timeout, there.idempotent)
                    assert (here.name, here.help) == (there.name, there.help)
                    assert inspect.signature(here) == inspect.signature(there)

    run(main)


def test_a_method_that_describes_itself_waits_for_nobody() -> None:
    async def main() -> None:
        with private_daemon() as daemon:
            async with rf.aio.connect(daemon.socket) as client:
                vectors = await client.engine("vectors")
                before = vectors.search.request
                daemon.kill()
                with pytest.raises(rf.RingfenceError):
                    await client.echo(b"x", timeout=0.2)
                start = time.monotonic()
                # As the last daemon had it; what it was never asked for has to wait for the next one.
                assert vectors.search.request == before
                with pytest.raises(rf.RingfenceError, match="the next call fetches it"):
                    vectors.count.help  # noqa: B018
                assert time.monotonic() - start < 0.5
                daemon.start()
                await client.vectors.list()
                assert "Counts the rows" in vectors.count.help

    run(main)


def test_vectors_answer_as_they_do_to_a_thread(daemon: PrivateDaemon) -> None:
    rng = np.random.default_rng(7)
    rows = rng.random((500, 24), np.float32)

    async def main() -> None:
        async with rf.aio.connect(daemon.socket) as client:
            docs = await client.vectors.create("aio", dim=24, metric="cosine")
            added = await docs.add(np.arange(500, dtype=np.uint64), rows)
            assert added == (500, 0) and await docs.count() == 500
            hits, batch = await asyncio.gather(
                docs.search(rows[3], 5), docs.search_batch(rows[:20], 5)
            )
            with daemon.connect() as client2:
                same = client2.vectors["aio"]
                assert (hits.ids == same.search(rows[3], 5).ids).all()
                assert (batch.ids == same.search_batch(rows[:20], 5).ids).all()
            got = await (await client.vectors.open("aio")).get([3, 999])
            assert (got.rows == rows[3:4]).all() and got.found.tolist() == [True, False]
            assert await docs.upsert([3], rows[4:5]) == (0, 1)
            assert await docs.delete([3, 4]) == 2
            assert (await docs.stats()).count == 498
            assert "aio" in await client.vectors.list()
            with pytest.raises(ValueError, match="takes"):
                await docs.add([1], [[1.0, 2.0]])
            await client.vectors.drop("aio")

    run(main)


def test_the_same_client_finds_the_next_daemon() -> None:
    async def main() -> None:
        with private_daemon() as daemon:
            async with rf.aio.connect(daemon.socket) as client:
                epoch = client.daemon.epoch
                for _ in range(2):
                    daemon.kill()
                    restarting = asyncio.create_task(asyncio.to_thread(daemon.start))
                    async with ticking() as ticks:
                        assert await client.echo(b"again", timeout=SECONDS) == b"again"
                    del ticks
                    await restarting
                assert client.daemon.epoch != epoch
                assert "system" in await client.engines()

    run(main)


def test_a_daemon_that_dies_under_a_call() -> None:
    async def main() -> None:
        with private_daemon() as daemon:
            async with rf.aio.connect(daemon.socket) as client:
                docs = await client.vectors.create("big", dim=200)
                rows = np.random.default_rng(1).random((60_000, 200), np.float32)
                # There is a segment for them from here on: the call is made when it is started.
                await client.echo(bytes(rows.nbytes + (1 << 20)))
                # Not idempotent, and it takes seconds.
                adding = asyncio.create_task(docs.add(np.arange(60_000), rows))
                before = (await client.stats()).calls
                await eventually(
                    lambda: _has_more_calls(client, before), "the daemon is at it"
                )
                daemon.kill()
                with pytest.raises(rf.DaemonRestarted) as caught:
                    await adding
                assert caught.value.outcome in ("unknown", "not_started")
                with pytest.raises(rf.DaemonUnavailable):
                    await client.echo(b"nobody there", timeout=0.2)
                daemon.start()
                assert await client.echo(b"back", timeout=SECONDS) == b"back"

    run(main)


async def _has_more_calls(client: rf.aio.Client, before: int) -> bool:
    return (await client.stats()).calls > before


def test_a_frozen_daemon_does_not_freeze_the_loop() -> None:
    async def main() -> None:
        with private_daemon() as daemon:
            async with rf.aio.connect(daemon.socket) as client, ticking() as ticks:
                daemon.freeze()
                try:
                    before = ticks()
                    with pytest.raises(TimeoutError):
                        await client.echo(b"x", timeout=0.6)
                    assert ticks() - before >= 5
                    # Nor does connecting to it.
                    before = ticks()
                    with pytest.raises(rf.DaemonStalled):
                        await rf.aio.connect(daemon.socket, timeout=0.3)
                    assert ticks() - before >= 3
                finally:
                    daemon.thaw()
                assert await client.echo(b"thawed", timeout=SECONDS) == b"thawed"

    run(main)


def test_a_large_call_to_a_frozen_daemon_does_not_freeze_the_loop() -> None:
    large = os.urandom(1 << 20)

    async def main() -> None:
        with private_daemon() as daemon:
            async with rf.aio.connect(daemon.socket, timeout=20) as client, ticking() as ticks:
                daemon.freeze()
                try:
                    before = ticks()
                    with pytest.raises(TimeoutError, match="not_started"):
                        # There is no segment for it yet, and nobody who would give one.
                        await client.echo(large, timeout=0.6)
                    assert ticks() - before >= 5
                finally:
                    daemon.thaw()
                for echoed in await asyncio.gather(*(client.echo(large) for _ in range(5))):
                    assert echoed == large

    run(main)


def test_close_ends_what_waits(trial_daemon: PrivateDaemon) -> None:
    async def main() -> None:
        client = await rf.aio.connect(trial_daemon.socket)
        trial = await client.engine("trial")
        nap = asyncio.create_task(trial.nap(value=20_000))
        await asyncio.sleep(0.01)
        client.close()
        with pytest.raises(rf.RingfenceError):
            await nap

    run(main)


def test_nobody_there(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(rf.DaemonUnavailable):
            await rf.aio.connect(tmp_path / "control.sock")
        with pytest.raises(ValueError, match="nothing to await"):
            await rf.aio.connect("inproc:")

    run(main)


def test_a_client_belongs_to_its_loop(daemon: PrivateDaemon) -> None:
    loop = asyncio.new_event_loop()
    client = loop.run_until_complete(_open(daemon))

    async def elsewhere() -> None:
        await client.echo(b"x")

    with pytest.raises(RuntimeError, match="another one"):
        asyncio.run(elsewhere())
    assert loop.run_until_complete(client.echo(b"home")) == b"home"
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        asyncio.run(elsewhere())
    client.close()


async def _open(daemon: PrivateDaemon) -> rf.aio.Client:
    return await rf.aio.connect(daemon.socket)


async def _round(daemon: PrivateDaemon) -> bytes:
    async with rf.aio.connect(daemon.socket) as client:
        rows = np.eye(4, dtype=np.float32)
        docs = await client.vectors.create(f"loop-{time.monotonic_ns()}", dim=4)
        await docs.add(range(4), rows)
        await client.vectors.drop(docs.name)
        echoes = await asyncio.gather(*(client.echo(b"%d" % n) for n in range(500)))
        return b"".join(echoes)


def test_uvloop_and_anyio(daemon: PrivateDaemon) -> None:
    expected = b"".join(b"%d" % n for n in range(500))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(_round(daemon)) == expected
    assert anyio.run(_round, daemon, backend="asyncio") == expected
    assert anyio.run(_round, daemon, backend_options={"use_uvloop": True}) == expected


def test_trio_is_told_what_to_do(daemon: PrivateDaemon) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="worker thread"):
            await rf.aio.connect(daemon.socket)

    trio.run(main)


def test_a_forked_child_is_told_so(daemon: PrivateDaemon) -> None:
    result = run_python(
        """
import asyncio, os, sys
import ringfence as rf

async def main():
    client = await rf.aio.connect(sys.argv[1])
    child = os.fork()
    if child == 0:
        try:
            await client.echo(b"x")
        except rf.ForkedSession:
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    print(await client.echo(b"parent"))
    client.close()

asyncio.run(main())
""",
        str(daemon.socket),
    )
    assert (result.returncode, result.stdout) == (0, "b'parent'\n"), result.stderr


def test_a_child_that_closes_leaves_the_parents_loop_alone(daemon: PrivateDaemon) -> None:
    """The set of descriptors that a loop waits for is one for parent and child."""
    result = run_python(
        """
import asyncio, os, sys
import ringfence as rf

async def main():
    async with rf.aio.connect(sys.argv[1], spin="never") as client:
        child = os.fork()
        if child == 0:
            client.close()
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        for _ in range(20):
            await asyncio.gather(*(client.echo(bytes(100_000), timeout=10) for _ in range(8)))
    print("all answered")

asyncio.run(main())
""",
        str(daemon.socket),
    )
    assert (result.returncode, result.stdout) == (0, "all answered\n"), result.stderr


def test_an_idempotent_call_waits_for_the_next_daemon() -> None:
    """Not only for the tenth of a second that any other call waits."""

    async def main() -> None:
        with private_daemon(trial_program()) as daemon:
            async with rf.aio.connect(daemon.socket, timeout=SECONDS) as client:
                trial = await client.engine("trial")
                nap = asyncio.create_task(trial.nap(value=300))
                before = (await client.stats()).calls
                await eventually(lambda: _has_more_calls(client, before), "it is at it")
                daemon.kill()
                await asyncio.sleep(0.5)
                assert not nap.done()
                daemon.start()
                assert (await nap).value == 300

    run(main)
