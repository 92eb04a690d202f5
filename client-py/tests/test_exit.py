"""Leaving without a word: no close, with calls in flight, from a thread, by a signal. The process
ends at once, says nothing, and the daemon forgets it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from conftest import eventually, run_python, signal_soon
from ringfence.testing import PrivateDaemon

START = """
import os, sys, threading
import numpy
import ringfence as rf
from ringfence._private import freeze_process
client = rf.connect(sys.argv[1])
docs = client.vectors.create(f"exit-{os.getpid()}", dim=64)
docs.add(range(1000), numpy.ones((1000, 64), numpy.float32))
"""

ENDINGS = {
    "nothing": "",
    "client forgotten": "del client, docs",
    "view held": "rows = docs.get(range(1000)).rows",
    "view outlives client": "rows = docs.get(range(1000)).rows; client.close(); del client",
    "pending held": "flying = [client.submit('system.ping') for _ in range(50)]",
    "pending dropped": "[client.submit('system.ping') for _ in range(50)]",
    "engine held": "engine = client.engine('vectors'); method = engine.search",
    "cycle": "loop = [client]; loop.append(loop)",
    "two clients": "other = rf.connect(sys.argv[1]); other.ping()",
    "sys.exit in with": "with client: sys.exit(0)",
    "os._exit": "os._exit(0)",
    "daemon thread in a loop": (
        "def work():\n"
        "    while True: client.echo(b'x')\n"
        "threading.Thread(target=work, daemon=True).start()\n"
        "client.ping()"
    ),
    "atexit call": "import atexit; atexit.register(client.ping)",
    "atexit close": "import atexit; atexit.register(client.close); client.ping()",
    "sys.exit in a thread": (
        "def work():\n"
        "    client.ping(); sys.exit(3)\n"
        "thread = threading.Thread(target=work); thread.start(); thread.join()"
    ),
    "last call by a thread": (
        "def work():\n"
        "    for _ in range(300): client.echo(b'x')\n"
        "threading.Thread(target=work).start()"
    ),
    "call by a __del__": (
        "class Last:\n"
        "    def __del__(self, client=client): client.echo(b'x')\n"
        "last = Last()"
    ),
    "close by a __del__ in a cycle": (
        "class Owner:\n"
        "    def __init__(self): self.client = client; self.own = self\n"
        "    def __del__(self): self.client.ping(); self.client.close()\n"
        "owner = Owner()"
    ),
    # The interpreter is on its way out for a while, and the thread's calls come back into it.
    "daemon threads at a slow end": (
        "import time\n"
        "def work():\n"
        "    while True: client.echo(b'x'); docs.get([1]); client.submit('system.ping').result()\n"
        "class Slow:\n"
        "    def __del__(self, sleep=time.sleep): sleep(0.3)\n"
        "slow = Slow()\n"
        "[threading.Thread(target=work, daemon=True).start() for _ in range(3)]\n"
        "time.sleep(0.1)"
    ),
}


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS.keys())
def test_a_process_just_ends(target: str, ending: str) -> None:
    result = run_python(f"{START}\n{ending}", target)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_the_daemon_forgets_who_left(ringfence_daemon: PrivateDaemon) -> None:
    with ringfence_daemon.connect() as client:
        client.ping()
        names = ringfence_daemon.leftovers()
        for ending in ("", "os._exit(0)", "import signal; os.kill(os.getpid(), signal.SIGKILL)"):
            run_python(f"{START}\n{ending}", str(ringfence_daemon.socket))
            eventually(
                lambda: ringfence_daemon.leftovers() == names,
                "the names of the session that left are gone",
            )
        assert client.echo(b"still here") == b"still here"


def test_leaving_while_a_thread_waits(ringfence_daemon: PrivateDaemon) -> None:
    script = f"""{START}
import signal, time
def work():
    print("waiting", flush=True)
    client.echo(b'x', timeout=None)
freeze_process(client.daemon.pid)
threading.Thread(target=work, daemon=True).start()
time.sleep(0.1)
"""
    try:
        result = run_python(script, str(ringfence_daemon.socket))
    finally:
        ringfence_daemon.thaw()
    assert (result.returncode, result.stdout, result.stderr) == (0, "waiting\n", "")


def test_sigterm_ends_a_waiting_process(ringfence_daemon: PrivateDaemon) -> None:
    script = f"""{START}
import signal
freeze_process(client.daemon.pid)
print("waiting", flush=True)
client.echo(b'x', timeout=None)
"""
    command = [sys.executable, "-c", script, str(ringfence_daemon.socket)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"waiting\n"
            process.terminate()
            assert process.wait(30) == -signal.SIGTERM
        finally:
            process.kill()
            ringfence_daemon.thaw()


def test_a_signal_handler_of_python_runs_during_a_call(ringfence_daemon: PrivateDaemon) -> None:
    """An exception of any handler, not only Ctrl-C's, leaves the call."""

    class Alarm(Exception):
        pass

    def ring(_number: int, _frame: object) -> None:
        raise Alarm

    with ringfence_daemon.connect() as client:
        client.ping()
        ringfence_daemon.freeze()
        before = signal.signal(signal.SIGUSR1, ring)
        try:
            signal_soon()
            with pytest.raises(Alarm):
                client.echo(b"x", timeout=60)
        finally:
            signal.signal(signal.SIGUSR1, before)
            ringfence_daemon.thaw()
        assert client.echo(b"after") == b"after"


def test_a_handler_that_returns_does_not_end_the_call(ringfence_daemon: PrivateDaemon) -> None:
    rung: list[int] = []

    def ring(number: int, _frame: object) -> None:
        rung.append(number)
        ringfence_daemon.thaw()

    with ringfence_daemon.connect() as client:
        client.ping()
        ringfence_daemon.freeze()
        before = signal.signal(signal.SIGUSR1, ring)
        try:
            signal_soon()
            assert client.echo(b"x", timeout=60) == b"x"
        finally:
            signal.signal(signal.SIGUSR1, before)
            ringfence_daemon.thaw()
    assert rung == [signal.SIGUSR1]
    assert os.getpid() != ringfence_daemon.pid


CLOSE_IN_HANDLER = """
import os, signal, sys, threading
import ringfence as rf
from ringfence._private import freeze_process
target, call, who = sys.argv[1:]
client = rf.connect(target)
method = client.engine("vectors").count
pending = client.submit("system.ping")
pending.result()
freeze_process(client.daemon.pid)
if call.startswith("pending"):
    pending = client.submit("system.ping")
signal.signal(signal.SIGUSR1, lambda *_: client.close())
ended = []

def wait():
    try:
        eval(call)
    except rf.RingfenceError as error:
        ended.append("closed: connect again" in str(error))

if who == "same":
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1)).start()
    wait()
else:
    waiter = threading.Thread(target=wait)
    waiter.start()
    waiter.join(0.1)
    os.kill(os.getpid(), signal.SIGUSR1)
    waiter.join(30)
print(ended, flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("who", ["same", "other"])
@pytest.mark.parametrize(
    "call",
    [
        "client.echo(b'x', timeout=60)",
        "client.echo(bytes(1 << 20), timeout=60)",
        "client.echo_many([b'x'] * 5000, timeout=60)",
        "pending.result(timeout=60)",
        "method(collection='nowhere', timeout=60)",
    ],
    ids=["echo", "echo large", "echo_many", "result", "method"],
)
def test_close_in_a_signal_handler(ringfence_daemon: PrivateDaemon, call: str, who: str) -> None:
    """It ends the wait, be it this thread's or another's."""
    try:
        result = run_python(CLOSE_IN_HANDLER, str(ringfence_daemon.socket), call, who)
    finally:
        ringfence_daemon.thaw()
    assert (result.returncode, result.stdout, result.stderr) == (0, "[True]\n", "")
