"""An engine of one's own: started by `connect(daemon=...)`, called by the catalogue."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import ringfence as rf
from conftest import eventually, run_python
from ringfence.testing import private_daemon
from test_connect import gone

BUILDS = Path(__file__).resolve().parents[2] / "target"


@pytest.fixture(scope="module")
def greeterd() -> Path:
    """The example daemon of the crate `ringfenced`, which `cargo test` builds."""
    for build in ("release", "debug"):
        path = BUILDS / build / "examples" / "greeterd"
        if os.access(path, os.X_OK):
            return path
    pytest.skip("not built: cargo build -p ringfenced --example greeterd")


@pytest.fixture(scope="module")
def greeter(greeterd: Path) -> Iterator[rf.Engine]:
    with private_daemon(greeterd) as daemon, daemon.connect() as client:
        yield client.engine("greeter")


def test_it_greets(greeter: rf.Engine) -> None:
    greeting = greeter.hello(name="Ada", times=3)
    assert repr(greeting) == "GreeterHello(letters=15, text='Ada! Ada! Ada! ')"
    assert greeting == (15, "Ada! Ada! Ada! ")
    assert greeter.hello(name="𝄞ë", times=0) == (0, "")


def test_its_mistakes_are_named(greeter: rf.Engine) -> None:
    with pytest.raises(OverflowError) as overflow:
        greeter.hello(name="Ada", times=5_000_000_000)
    assert str(overflow.value) == (
        "greeter.hello(): `times` is 5000000000, u32 takes 0 to 4294967295"
    )
    with pytest.raises(TypeError, match=r"greeter\.hello\(\): `name` takes str, not bytes"):
        greeter.hello(name=b"Ada", times=3)
    with pytest.raises(TypeError, match=r"has no field `tims`; it takes times: u32, name: str"):
        greeter.hello(name="Ada", tims=3)
    with pytest.raises(ValueError, match="times = 1001: at most 1000") as remote:
        greeter.hello(name="Ada", times=1001)
    assert isinstance(remote.value, rf.RemoteError)
    assert remote.value.code is rf.ErrorCode.INVALID_ARGUMENT


SCRIPT = """
import sys, ringfence as rf
for client in [rf.connect(*sys.argv[2:], daemon=sys.argv[1]) for _ in range(2)]:
    text = client.engine("greeter").hello(name="Ada", times=1).text
    print(text, client.daemon.instance, client.daemon.autostarted, client.daemon.pid)
"""


@pytest.mark.parametrize("named", [[], ["my-greeter"]])
def test_it_is_started_once_and_leaves(greeterd: Path, named: list[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="rf-") as folder:
        result = run_python(SCRIPT, str(greeterd), *named, XDG_RUNTIME_DIR=folder)
        assert result.returncode == 0, result.stderr
        first, second = (line.split() for line in result.stdout.splitlines())
        assert first[0] == second[0] == "Ada!"
        assert first[1] == second[1] and first[3] == second[3]
        assert first[1] == "my-greeter" if named else first[1].startswith("greeterd-")
        assert (first[2], second[2]) == ("True", "False")
        eventually(lambda: gone(int(first[3])), "it leaves after its last client")
