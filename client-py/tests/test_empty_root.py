"""The programs need nothing but themselves: they run in a root directory that holds them, the C and
C++ libraries, and nothing else. No shell, no /proc, no /etc, no locale, no user database."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import ringfence as rf

PROGRAMS = ("ringfenced", "ringfence")
# What any Linux has that runs a C++ program. `libmvec` is a part of libm.
LIBRARIES = {
    "ld-linux-x86-64.so.2",
    "libc.so.6",
    "libgcc_s.so.1",
    "libm.so.6",
    "libmvec.so.1",
    "libstdc++.so.6",
}
# A file system and a user of one's own, which needs no right; and whoever is left at the end is
# killed.
APART = ["unshare", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child"]

# Runs outside the empty root but in its namespaces. `ringfence ping` goes in once the daemon serves.
SCRIPT = r"""
set -u
mount -t tmpfs none "$1/dev/shm" || exit 77
chroot "$1" /bin/ringfenced --instance alone --runtime-dir /run &
daemon=$!
until chroot "$1" /bin/ringfence ping --quiet --target /run/alone/control.sock 2>/dev/null; do
    kill -0 $daemon || exit 1
    sleep 0.02
done
chroot "$1" /bin/ringfence ping --target /run/alone/control.sock || exit 2
chroot "$1" /bin/ringfence call --target /run/alone/control.sock system.echo data=hello || exit 3
kill $daemon
wait $daemon || exit 4
echo "left: $(ls -A "$1/dev/shm" | grep -v '[.]lock$')"
"""


@pytest.fixture
def root() -> Iterator[Path]:
    """A root directory with the two programs and what their linker asks for."""
    daemon = rf.find_daemon()
    assert daemon is not None, "build the daemon first: make build"
    # Short, because the path of a socket may have 107 bytes only.
    with tempfile.TemporaryDirectory(prefix="rf-") as name:
        folder = Path(name)
        for part in ("bin", "dev/shm", "run"):
            (folder / part).mkdir(parents=True)
        for program in PROGRAMS:
            copy(daemon.with_name(program), folder / "bin" / program)
        for library in libraries(daemon) | libraries(daemon.with_name("ringfence")):
            copy(library, folder / library.relative_to("/"))
        yield folder


def libraries(program: Path) -> set[Path]:
    """What `ldd` says that the program loads, by the paths where it looks for them."""
    told = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return {Path(path) for path in re.findall(r"(/\S+) \(0x", told)}


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def test_they_load_only_what_every_linux_has(root: Path) -> None:
    loaded = {path.name for path in root.rglob("*") if ".so" in path.name}
    assert loaded <= LIBRARIES
    assert "libc.so.6" in loaded, "the control"


def test_they_run_in_an_empty_root(root: Path) -> None:
    if shutil.which("unshare") is None or subprocess.run([*APART, "true"]).returncode != 0:
        pytest.skip("this machine lets nobody have namespaces of their own (unshare)")
    result = subprocess.run(
        [*APART, "sh", "-c", SCRIPT, "sh", root],
        env={"PATH": os.environ["PATH"]},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    if result.returncode == 77:
        pytest.skip(f"this machine lets nobody mount a tmpfs of their own: {result.stdout}")
    assert result.returncode == 0, result.stdout
    assert re.search(r"^alone answers \(pid \d+, version", result.stdout, re.MULTILINE)
    assert "hello" in result.stdout
    assert result.stdout.endswith("left: \n"), result.stdout
