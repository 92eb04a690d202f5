"""The units in systemd/: valid, hardened, and plain and template in step.

Nothing here talks to a running systemd (booted/ does); `systemd-analyze` reads the files offline, in a root directory
of its own where the daemon's binary is a stub.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).resolve().parents[2] / "systemd"
SERVICES = ("ringfence.service", "ringfence@.service")
SOCKETS = ("ringfence.socket", "ringfence@.socket")
# The promise of the README: 1.0 or better. `--threshold` counts in tenths.
WORST_EXPOSURE_TENTHS = 10

needs_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def directives(unit: str) -> list[str]:
    """The lines that mean something, continuation lines joined."""
    text = (UNITS / unit).read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith(("#", ";"))]


def values(unit: str, key: str) -> list[str]:
    return [line.split("=", 1)[1] for line in directives(unit) if line.startswith(f"{key}=")]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root directory with the units as a package would install them."""
    installed = tmp_path / "usr/lib/systemd/system"
    installed.mkdir(parents=True)
    for unit in (*SERVICES, *SOCKETS):
        shutil.copy(UNITS / unit, installed)
    # Targets come from systemd's own package; the units only name them.
    for target in ("sysinit", "basic", "shutdown", "sockets", "multi-user"):
        (installed / f"{target}.target").write_text(f"[Unit]\nDescription={target}\n")
    for program in ("usr/bin/ringfenced", "bin/rm"):
        binary = tmp_path / program
        binary.parent.mkdir(parents=True)
        binary.write_text("#!/bin/sh\n")
        binary.chmod(0o755)
    return tmp_path


def analyze(root: Path, verb: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", verb, "--no-pager", f"--root={root}", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("unit", SOCKETS)
def test_as_many_wait_as_at_a_socket_of_the_daemons_own(unit: str) -> None:
    limits = (UNITS.parent / "protocol/src/limits.rs").read_text()
    own = re.search(r"CONNECTS_WAITING: u32 = (\d+);", limits)
    assert own and values(unit, "Backlog") == [own[1]]


@needs_analyze
@pytest.mark.parametrize("unit", [*SERVICES, *SOCKETS])
def test_verify_has_nothing_to_say(root: Path, unit: str) -> None:
    result = analyze(root, "verify", "--man=no", unit)
    assert (result.returncode, result.stdout) == (0, "")


@needs_analyze
def test_verify_would_have_said_it(root: Path) -> None:
    """The control of the test above: an unknown key and a missing binary are reported."""
    service = root / "usr/lib/systemd/system/ringfence.service"
    service.write_text(service.read_text().replace("[Service]", "[Service]\nNoSuchKey=1"))
    assert "NoSuchKey" in analyze(root, "verify", "--man=no", "ringfence.service").stdout
    (root / "usr/bin/ringfenced").unlink()
    missing = analyze(root, "verify", "--man=no", "ringfence@.service")
    assert missing.returncode != 0 and "ringfenced" in missing.stdout


@needs_analyze
@pytest.mark.parametrize("unit", SERVICES)
def test_exposure_is_low(root: Path, unit: str) -> None:
    threshold = f"--threshold={WORST_EXPOSURE_TENTHS}"
    result = analyze(root, "security", "--offline=true", threshold, unit)
    assert result.returncode == 0, result.stdout
    score = re.search(r"Overall exposure level for \S+: ([0-9.]+)", result.stdout)
    assert score and float(score[1]) * 10 <= WORST_EXPOSURE_TENTHS, result.stdout


@pytest.mark.parametrize(("plain", "template"), [SERVICES, SOCKETS])
def test_plain_unit_is_the_template_for_default(plain: str, template: str) -> None:
    instantiated = [
        line.replace("ringfence@%i.", "ringfence.").replace("%i", "default")
        for line in directives(template)
    ]
    assert directives(plain) == instantiated


@pytest.mark.parametrize(("service", "socket"), list(zip(SERVICES, SOCKETS)))
def test_daemon_and_socket_agree_on_the_path(service: str, socket: str) -> None:
    [command] = values(service, "ExecStart")
    words = command.split()
    instance = words[words.index("--instance") + 1]
    runtime_dir = words[words.index("--runtime-dir") + 1]
    assert values(socket, "ListenSequentialPacket") == [f"{runtime_dir}/{instance}/control.sock"]
    assert values(service, "RuntimeDirectory") == [f"ringfence/{instance}"]
    [removal] = values(socket, "ExecStopPost")
    assert removal.endswith(f" {runtime_dir}/{instance}"), "the socket takes its folder along"
    assert runtime_dir == "/run/ringfence"
    state_dir = words[words.index("--state-dir") + 1]
    assert values(service, "StateDirectory") == [f"ringfence/{instance}"]
    assert (state_dir, values(service, "StateDirectoryMode")) == ("/var/lib/ringfence", ["0700"])


@pytest.mark.parametrize("service", SERVICES)
def test_hardening_spares_what_the_daemon_lives_on(service: str) -> None:
    """Settings that score better and would break it: segments have names, clients have uids."""
    assert values(service, "RemoveIPC") == ["no"]
    assert values(service, "PrivateUsers") == ["no"]
    assert not values(service, "DynamicUser")
    assert not any("/dev/shm" in line for line in directives(service))


@pytest.mark.skipif(
    shutil.which("systemd-sysusers") is None, reason="systemd-sysusers is not installed"
)
def test_sysusers_creates_the_user_of_the_units(tmp_path: Path) -> None:
    result = subprocess.run(
        ["systemd-sysusers", "--dry-run", f"--root={tmp_path}", "--inline"]
        + directives("ringfence.sysusers.conf"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stdout
    assert "user 'ringfence'" in result.stdout and "group 'ringfence'" in result.stdout
    assert {name for unit in SERVICES for name in values(unit, "User")} == {"ringfence"}
    assert {name for unit in SOCKETS for name in values(unit, "SocketGroup")} == {"ringfence"}
