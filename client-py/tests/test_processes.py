"""A client in the worker processes of others: multiprocessing however it starts them, executors,
gunicorn."""

from __future__ import annotations

import asyncio
import http.client
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from conftest import SECONDS, eventually

import ringfence as rf
from ringfence.testing import PrivateDaemon

WAYS = ["fork", "spawn", "forkserver"]
WORKERS = 3

_own: rf.Client | None = None


def connect_own(target: str) -> None:
    """What a pool's worker does first."""
    global _own
    _own = rf.connect(target)


def length(item: bytes) -> tuple[int, int]:
    """What it does then: the length by way of the daemon, and its session."""
    assert _own is not None
    return len(_own.echo(item)), _own.daemon.session


def put_echo(target: str, queue: multiprocessing.Queue[tuple[bytes, int]]) -> None:
    with rf.connect(target) as client:
        queue.put((client.echo(b"from a child"), client.daemon.session))


def async_length(target: str, item: bytes) -> int:
    async def main() -> int:
        async with rf.aio.connect(target) as client:
            return len(b"".join(await asyncio.gather(*(client.echo(item) for _ in range(10)))))

    return asyncio.run(asyncio.wait_for(main(), SECONDS))


@pytest.mark.parametrize("way", WAYS)
def test_a_process(daemon: PrivateDaemon, way: str) -> None:
    context = multiprocessing.get_context(way)
    with daemon.connect() as client:
        client.ping()
        queue = context.Queue()
        child = context.Process(target=put_echo, args=(str(daemon.socket), queue))
        child.start()
        echoed, session = queue.get(timeout=SECONDS)
        child.join(SECONDS)
        assert child.exitcode == 0
        assert echoed == b"from a child" and session != client.daemon.session
        assert client.echo(b"parent") == b"parent"


@pytest.mark.parametrize("way", WAYS)
def test_a_pool(daemon: PrivateDaemon, way: str) -> None:
    items = [bytes(n) for n in range(60)]
    with multiprocessing.get_context(way).Pool(
        WORKERS, connect_own, [str(daemon.socket)], maxtasksperchild=3
    ) as pool:
        answers = pool.map(length, items, chunksize=2)
    assert [size for size, _ in answers] == list(range(60))
    # Each worker left after three chunks, and so did its session.
    assert len({session for _, session in answers}) > WORKERS


@pytest.mark.parametrize("way", WAYS)
def test_an_executor(daemon: PrivateDaemon, way: str) -> None:
    target = str(daemon.socket)
    with ProcessPoolExecutor(
        WORKERS, multiprocessing.get_context(way), connect_own, [target]
    ) as pool:
        assert [size for size, _ in pool.map(length, [b"x" * n for n in range(40)])] == list(
            range(40)
        )
        sizes = pool.map(async_length, [target] * 4, [bytes(n) for n in range(4)])
        assert list(sizes) == [0, 10, 20, 30]


def test_a_client_of_the_parent_does_not_travel(daemon: PrivateDaemon) -> None:
    """By fork it is there already; pickled it says what to do."""
    with daemon.connect() as client, ProcessPoolExecutor(1) as pool:
        with pytest.raises(TypeError, match="connect in the other process instead"):
            pool.submit(str, client).result(SECONDS)


def test_arrays_travel_as_copies(daemon: PrivateDaemon) -> None:
    """A view of the daemon's memory is pickled like any array."""
    rows = np.random.default_rng(7).random((2000, 64), np.float32)
    with daemon.connect() as client:
        docs = client.vectors.create("travel", dim=64, exist_ok=True)
        docs.upsert(range(2000), rows)
        view = docs.get(range(2000)).rows
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, context) as pool:
            assert pool.submit(np.array_equal, view, rows).result(SECONDS)
        client.vectors.drop("travel")


APP = """
import os
import ringfence as rf

client = rf.connect()
docs = client.vectors.open("pages")
assert client.echo(b"preloaded") == b"preloaded"

def session():
    return f"{client.daemon.epoch}.{client.daemon.session}"


MASTER = session()

def app(environ, start_response):
    size = len(client.echo(bytes(100)))
    found = docs.search([1.0, 0.0], k=1).ids[0]
    answer = f"{os.getpid()} {session()} {MASTER} {size} {found}".encode()
    start_response("200 OK", [("Content-Length", str(len(answer)))])
    return [answer]
"""


class UnixConnection(http.client.HTTPConnection):
    """HTTP through a Unix socket."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(SECONDS)
        self.sock.connect(self.host)


def get(path: Path) -> bytes:
    """What is answered to one request."""
    connection = UnixConnection(str(path))
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        body = response.read()
        assert response.status == 200, body
        return body
    finally:
        connection.close()


COMMAND = ["gunicorn", "--preload", "--workers", str(WORKERS), "pages:app"]


@contextmanager
def gunicorn(
    target: str, app: str, command: Sequence[str]
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    # Not under pytest's own folder: the path of a socket may have 107 bytes only.
    with tempfile.TemporaryDirectory(prefix="rf-") as name:
        folder = Path(name)
        (folder / "pages.py").write_text(app)
        log = folder / "log"
        clean = {k: v for k, v in os.environ.items() if not k.startswith("RINGFENCE_")}
        here = ["--bind", f"unix:{folder}/web", "--no-control-socket"]
        # A worker that is being started while the master is told to end may miss it.
        here += ["--graceful-timeout", "5"]
        with log.open("wb") as output:
            master = subprocess.Popen(
                [sys.executable, "-m", *command, *here],
                cwd=folder,
                env=clean | {"RINGFENCE_TARGET": target},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            eventually(
                lambda: (folder / "web").exists() or master.poll() is not None, "it listens"
            )
            assert master.poll() is None, log.read_text()
            yield master, folder / "web"
            master.terminate()
            assert master.wait(SECONDS) == 0, log.read_text()
        except BaseException:
            sys.stderr.write(log.read_text())
            raise
        finally:
            master.kill()
            master.wait(SECONDS)


def test_gunicorn_with_preload(ringfence_daemon: PrivateDaemon) -> None:
    with ringfence_daemon.connect() as client:
        docs = client.vectors.create("pages", dim=2)
        docs.add([5, 6], [[1, 0], [0, 1]])
        with gunicorn(str(ringfence_daemon.socket), APP, COMMAND) as (_, web):
            sessions: dict[bytes, bytes] = {}

            def workers_answer(count: int) -> bool:
                pid, session, master, *answers = get(web).split()
                assert answers == [b"100", b"5"]
                assert session != master and sessions.setdefault(pid, session) == session
                return len(sessions) >= count

            eventually(lambda: workers_answer(WORKERS), "all workers answer")
            assert len(set(sessions.values())) == WORKERS
            killed = int(next(iter(sessions)))
            os.kill(killed, signal.SIGKILL)
            eventually(lambda: not Path(f"/proc/{killed}").exists(), "the master has seen it")
            eventually(lambda: workers_answer(WORKERS + 1), "the new worker answers")

            # A restart is no affair of theirs: what was lost with it is added again.
            ringfence_daemon.kill()
            ringfence_daemon.start()
            client.vectors.create("pages", dim=2).add([5, 6], [[1, 0], [0, 1]])
            sessions.clear()
            eventually(lambda: workers_answer(WORKERS), "all workers answer again")
        eventually(lambda: client.stats().sessions == 1, "nobody's session is left")
