"""How a program with an asyncio client ends: by Ctrl-C, without a close, in the middle of calls."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest
from conftest import run_python

import ringfence as rf
from ringfence.testing import PrivateDaemon


def test_ctrl_c_ends_a_loop_that_waits(trial_daemon: PrivateDaemon) -> None:
    async def main() -> None:
        async with rf.aio.connect(trial_daemon.socket) as client:
            trial = await client.engine("trial")
            asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGINT)
            await trial.nap(value=20_000)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())


ENDINGS = {
    "nothing": "",
    "client kept": "kept = client",
    "closed at exit": "import atexit; atexit.register(client.close)",
    "closed by a __del__": (
        "class Owner:\n"
        "    def __init__(self): self.client = client; self.own = self\n"
        "    def __del__(self): self.client.close()\n"
        "kept = Owner()"
    ),
    "closed in a loop that is gone": "client.close(); client.close()",
}


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS.keys())
def test_an_exit_without_close_is_quiet(daemon: PrivateDaemon, ending: str) -> None:
    result = run_python(
        f"""
import asyncio, sys
import ringfence as rf

async def main():
    client = await rf.aio.connect(sys.argv[1])
    print(await client.echo(b"bye"))
    return client

client = asyncio.run(main())
{ending}
""",
        str(daemon.socket),
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "b'bye'\n", "")


def test_an_exit_in_the_middle_of_calls(trial_daemon: PrivateDaemon) -> None:
    """sys.exit() in a task cancels the others, which give their calls up."""
    result = run_python(
        """
import asyncio, sys
import ringfence as rf

async def main():
    client = await rf.aio.connect(sys.argv[1])
    trial = await client.engine("trial")
    naps = [asyncio.create_task(trial.nap(value=60_000)) for _ in range(20)]
    await asyncio.sleep(0.05)
    sys.exit(3)

asyncio.run(main())
""",
        str(trial_daemon.socket),
    )
    assert (result.returncode, result.stdout, result.stderr) == (3, "", "")
