"""Ctrl-C, typed on a terminal, ends every call that waits, within a tenth of a second."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import ringfence as rf
from conftest import signal_soon
from ringfence.testing import PrivateDaemon

WITHIN_SECONDS = 0.1
# The machine may be busy with something else at that very moment.
ATTEMPTS = 5

CALLS = {
    "echo": "client.echo(b'x')",
    "echo large": "client.echo(bytes(1 << 20))",
    "echo_many": "client.echo_many([b'x'] * 1000)",
    "ping": "client.ping(timeout=None)",
    "stats": "client.stats()",
    "method": "count(collection='docs')",
    "create": "client.vectors.create('other', dim=2)",
    "open": "client.vectors.open('docs')",
    "list": "client.vectors.list()",
    "drop": "client.vectors.drop('docs')",
    "add": "docs.add([5], [[0.0, 0.0]])",
    "upsert": "docs.upsert([5], [[0.0, 0.0]])",
    "get": "docs.get([1])",
    "delete": "docs.delete([1])",
    "search": "docs.search([0, 0])",
    "search_batch": "docs.search_batch([[0, 0]])",
    "count": "docs.count()",
    "collection stats": "docs.stats()",
    "result": "client.submit('system.ping').result()",
    "result in time": "client.submit('system.ping').result(timeout=50)",
    "second connect": "rf.connect(target, timeout=50)",
}

SCRIPT = """
import os, signal, sys
import ringfence as rf
from ringfence._private import freeze_process
# A test run in the background of a shell has SIGINT ignored, and so has what it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
target, call = sys.argv[1:]
client = rf.connect(target)
docs = client.vectors.create("docs", dim=2, exist_ok=True)
docs.upsert([1], [[0.0, 0.0]])
docs.get([1]), docs.delete([7]), docs.count(), docs.search([0, 0]), docs.search_batch([[0, 0]])
count = client.engine("vectors").count
count(collection="docs"), client.vectors.list(), client.submit("system.ping").result()
freeze_process(client.daemon.pid)
while True:
    print("waiting", flush=True)
    try:
        eval(call)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    else:
        print("returned", flush=True)
"""


class Terminal:
    """A process on a terminal of its own, where Ctrl-C is a key."""

    def __init__(self, *command: str) -> None:
        self.master, follower = pty.openpty()
        self.seen = b""
        self.process = subprocess.Popen(
            command,
            stdin=follower,
            stdout=follower,
            stderr=follower,
            start_new_session=True,
            # The new session's leader takes the terminal as its own when it opens it first.
            preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),
        )
        os.close(follower)

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def await_text(self, text: bytes, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            left = deadline - time.monotonic()
            assert left > 0, f"no {text!r} within {seconds} s in {self.seen!r}"
            if select.select([self.master], [], [], left)[0]:
                self.seen += os.read(self.master, 4096)
        self.seen = self.seen.partition(text)[2]

    def end(self) -> None:
        self.process.kill()
        self.process.wait(30)
        os.close(self.master)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_ctrl_c_ends_the_call(ringfence_daemon: PrivateDaemon, call: str) -> None:
    terminal = Terminal(sys.executable, "-c", SCRIPT, str(ringfence_daemon.socket), call)
    took = []
    try:
        for _ in range(ATTEMPTS):
            terminal.await_text(b"waiting")
            # Deep in the wait, behind spinning and yielding.
            time.sleep(0.05)
            start = time.monotonic()
            terminal.type(b"\x03")
            terminal.await_text(b"interrupted")
            took.append(time.monotonic() - start)
            if took[-1] < WITHIN_SECONDS:
                return
    finally:
        terminal.end()
        ringfence_daemon.thaw()
    pytest.fail(f"Ctrl-C took {took} s")


def test_a_long_call_in_process_is_left_too() -> None:
    """In process the core runs on threads of this process: the call is left, not ended."""

    class Alarm(Exception):
        pass

    def ring(_number: int, _frame: object) -> None:
        raise Alarm

    client = rf.connect("inproc:")
    docs = client.vectors.create("long", dim=64)
    rows = np.random.default_rng(1).random((60_000, 64), np.float32)
    before = signal.signal(signal.SIGUSR1, ring)
    try:
        signal_soon()
        with pytest.raises(Alarm):
            docs.add(range(len(rows)), rows)
        signal_soon()
        with pytest.raises(Alarm):
            client.submit("vectors.add", upsert=True, collection="long", ids=[1], rows=rows[0])
            docs.search_batch(rows, exact=True)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert client.echo(b"after") == b"after"
