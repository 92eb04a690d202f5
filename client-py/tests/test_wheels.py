"""Built wheels, used as a user uses them: each in a fresh environment, far from the sources.

`make test-wheels` runs this for every interpreter that wheels were built for, `make test` for its
own. TEST_WHEELS names the folder of the wheels; without it there is nothing to test.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import ringfence as rf
from conftest import eventually
from documents import ROOT, Shell, commands, write_tests
from interpreters import interpreters
from test_connect import default_is_free, gone
from test_docs import run_pytest

WHEELS = Path(os.environ.get("TEST_WHEELS") or "/nonexistent").absolute()
PINS = ROOT / "client-py" / "requirements-test.txt"
MEGABYTE = 1 << 20
# The newest symbols that manylinux_2_34 allows (PEP 600: those of glibc 2.34 and GCC 11).
MANYLINUX = re.compile(r"manylinux_2_(\d+)_x86_64\.whl$")
GLIBCXX_OF_2_34 = 29
FIRST_ANSWER_SECONDS = 10.0


def wheels() -> dict[str, tuple[Path, Path]]:
    """The wheels of `ringfence` and of `ringfence-inproc`, for each version of Python."""
    found: dict[str, tuple[Path, Path]] = {}
    for path in sorted(WHEELS.glob("ringfence-*.whl")):
        tag = path.name.split("-")[2]
        (inproc,) = WHEELS.glob(f"ringfence_inproc-*-{tag}-*.whl")
        found[f"3.{tag.removeprefix('cp3')}"] = (path, inproc)
    return found


VERSIONS = list(wheels())
OWN = "{}.{}".format(*sys.version_info)
pytestmark = [
    pytest.mark.wheels,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not VERSIONS, reason="needs built wheels: make test-wheels"),
]


@pytest.fixture(scope="module", params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    """A version of Python that has wheels."""
    found: str = request.param
    return found


@dataclass(frozen=True)
class Environment:
    """A virtual environment in a folder of its own, and the shell of a user who activated it."""

    folder: Path
    python: Path
    fresh: frozenset[str]

    @property
    def bin(self) -> Path:
        return self.python.parent

    def run(self, *command: str | Path, **variables: str) -> str:
        """Runs a command; gives what it prints. Its standard error is ours, so that it is shown."""
        result = subprocess.run(
            list(map(str, command)),
            cwd=self.folder,
            env=self.variables() | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            timeout=200,
        )
        assert result.returncode == 0, (command, result.stdout)
        return result.stdout

    def pip(self, *arguments: str | Path) -> str:
        return self.run(self.python, "-m", "pip", *arguments)

    def install(self) -> None:
        """Installs both packages, from the wheels alone."""
        self.pip("install", "--no-index", "--find-links", WHEELS, "ringfence[inproc]")

    def variables(self) -> dict[str, str]:
        """Nothing of the test's own surroundings, and a runtime folder of its own."""
        kept = {k: os.environ[k] for k in ("HOME", "LANG") if k in os.environ}
        path = f"{self.bin}:/usr/bin:/bin"
        own = {"PATH": path, "XDG_RUNTIME_DIR": str(self.folder), "PIP_CONSTRAINT": str(PINS)}
        return kept | own | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}


@pytest.fixture(scope="module")
def environment(version: str) -> Iterator[Environment]:
    """A fresh environment of that Python with both packages installed."""
    # Removed at once: with all of the demo in it, it is large. Its path is short for the socket.
    with tempfile.TemporaryDirectory(prefix="rf-") as name:
        folder = Path(name)
        make_environment(interpreters()[version], folder / "env")
        made = Environment(folder, folder / "env/bin/python", frozenset(files(folder / "env")))
        made.install()
        yield made


def make_environment(python: str, folder: Path) -> None:
    """An empty environment with pip, also by a Python that came without it (Debian's)."""
    if brings_pip(python):
        subprocess.run([python, "-m", "venv", folder], check=True)
        return
    subprocess.run([python, "-m", "venv", "--without-pip", folder], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin/python")]
    subprocess.run([*pip, "install", "--quiet", "pip"], check=True)


def brings_pip(python: str) -> bool:
    command = [python, "-c", "import ensurepip"]
    return subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0


@pytest.fixture
def nobody() -> None:
    """Waits until no daemon of this user runs as `default`: these tests start one."""
    deadline = time.monotonic() + 60
    while not default_is_free():
        if time.monotonic() > deadline:
            pytest.skip("a daemon of this user runs as `default`; this test would meet it")
        time.sleep(0.05)


def files(folder: Path) -> set[str]:
    """All files of an environment but pip's own, which compiles itself as it goes."""
    paths = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    return {path for path in paths if "/site-packages/pip" not in path}


def test_what_is_in_a_wheel(version: str) -> None:
    package, inproc = map(zipfile.ZipFile, wheels()[version])
    names = {re.sub(r"-0\.\d+\.\d+", "", info.filename): info for info in package.infolist()}
    for program in ("ringfenced", "ringfence"):
        assert names[f"ringfence.data/scripts/{program}"].external_attr >> 16 & 0o111 == 0o111
    for name in ("licenses/LICENSE-MIT", "licenses/LICENSE-APACHE"):
        assert f"ringfence.dist-info/{name}" in names
    assert {"ringfence/py.typed", "ringfence/_core.pyi"} <= set(names)
    (core,) = (info for info in package.infolist() if "_core.cpython" in info.filename)
    assert core.file_size < 5 * MEGABYTE
    (other,) = (info for info in inproc.infolist() if "_inproc.cpython" in info.filename)
    # The engines are what needs C++, and panics name their source files.
    for trace in (b"libstdc++.so.6", b"daemon/core/src"):
        assert trace not in package.read(core)
        assert trace in inproc.read(other), "the control"


def test_both_packages_are_one_version(version: str) -> None:
    package, inproc = wheels()[version]
    number = package.name.split("-")[1]
    assert inproc.name.split("-")[1] == number == rf.__version__
    told = zipfile.ZipFile(package).read(f"ringfence-{number}.dist-info/METADATA").decode()
    assert f"Requires-Dist: ringfence-inproc=={number} ; extra == 'inproc'" in told


def test_the_platform_tag_holds_for_the_programs_too(version: str) -> None:
    """maturin looks at the extension alone."""
    for path in wheels()[version]:
        tag = MANYLINUX.search(path.name)
        if tag is None:
            pytest.skip(f"no promise to keep: {path.name}")
        files = zipfile.ZipFile(path)
        for info in files.infolist():
            data = files.read(info)
            if not data.startswith(b"\x7fELF"):
                continue
            newest = max(int(minor) for minor in re.findall(rb"\0GLIBC_2\.(\d+)", data))
            assert newest <= int(tag[1]), f"{info.filename} needs glibc 2.{newest}"
            cpp = [int(minor) for minor in re.findall(rb"\0GLIBCXX_3\.4\.(\d+)", data)]
            assert max(cpp, default=0) <= GLIBCXX_OF_2_34, info.filename


def test_it_imports_from_where_it_was_installed(environment: Environment, version: str) -> None:
    script = "import sys, ringfence; print('%d.%d' % sys.version_info[:2], ringfence.__file__)"
    number, path = environment.run(environment.python, "-c", script).split()
    assert number == version
    assert Path(path).is_relative_to(environment.folder)


def test_the_programs_run(environment: Environment) -> None:
    for program in ("ringfenced", "ringfence"):
        path = environment.bin / program
        assert path.read_bytes().startswith(b"\x7fELF")
        assert environment.run(path, "--version").startswith(f"{program} {rf.__version__}")
    told = environment.run(environment.python, "-m", "ringfence", "version")
    assert told.startswith(f"ringfence {rf.__version__} ")
    assert f"({environment.bin / 'ringfenced'})" in told


STAY = """
import os, subprocess, ringfence as rf
with rf.connect() as client:
    assert client.echo(b"hello") == b"hello"
    assert client.daemon.autostarted
    pid = client.daemon.pid
    ping = subprocess.run(["ringfence", "ping"], stdout=subprocess.PIPE, text=True, check=True)
    assert ping.stdout.startswith(f"default answers (pid {pid}, "), ping.stdout
    print(pid, os.readlink(f"/proc/{pid}/exe"))
"""


def test_a_daemon_is_found_beside_the_interpreter(environment: Environment, nobody: None) -> None:
    pid, program = environment.run(environment.python, "-c", STAY).split()
    assert Path(program) == (environment.bin / "ringfenced").resolve()
    eventually(lambda: gone(int(pid)), "the private daemon leaves after its last client")
    assert not list(environment.folder.rglob("*.sock"))


def test_the_core_in_process(environment: Environment) -> None:
    script = "import ringfence; print(ringfence.connect('inproc:').echo(b'hello'))"
    assert environment.run(environment.python, "-c", script) == "b'hello'\n"


def test_the_demo_says_what_it_lacks(environment: Environment) -> None:
    told = environment.run(environment.python, "-m", "ringfence", "demo")
    assert "client.echo(b'hello') came back as b'hello'" in told
    assert "pip install 'ringfence[demo]'" in told
    assert "Left behind in /dev/shm: nothing." in told


def test_uninstalling_leaves_no_file(environment: Environment) -> None:
    environment.run(environment.python, "-m", "ringfence", "version")
    everything = files(environment.folder / "env")
    assert {"bin/ringfenced", "bin/ringfence"} <= everything - environment.fresh
    assert any("ringfence/__pycache__/" in path for path in everything)
    environment.pip("uninstall", "-y", "ringfence", "ringfence-inproc")
    left = files(environment.folder / "env") ^ environment.fresh
    environment.install()
    assert not left


def test_the_fixture_in_a_project_of_ones_own(environment: Environment, tmp_path: Path) -> None:
    environment.pip("install", "--quiet", "pytest")
    count = write_tests("docs/testing.md", tmp_path)
    result = run_pytest(str(environment.python), tmp_path)
    assert result.returncode == 0, result.stdout
    assert f"{count} passed" in result.stdout


@pytest.mark.parametrize("version", [OWN], indirect=True)
def test_the_demo_on_real_data(environment: Environment) -> None:
    """With the numpy and scikit-learn of this interpreter: installing them takes half a minute."""
    borrowed = {"PYTHONPATH": sysconfig.get_path("purelib")}
    told = environment.run(environment.python, "-m", "ringfence", "demo", **borrowed)
    for text in ("20,000 patches", "looking at", "times the same call in process"):
        assert text in told
    assert "Left behind in /dev/shm: nothing." in told


def test_the_transcript_of_getting_started_md(version: str, nobody: None) -> None:
    """Typed into one shell, as it stands."""
    if not brings_pip(interpreters()[version]):
        pytest.skip("this Python makes no environments with pip: install python3-venv")
    with tempfile.TemporaryDirectory(prefix="rf-") as name:
        folder = Path(name)
        (folder / "python").mkdir()
        (folder / "python" / "python3").symlink_to(interpreters()[version])
        work = folder / "work"
        work.mkdir()
        wheel = wheels()[version][0]
        (work / wheel.name).hardlink_to(wheel)
        transcript = type_all("docs/getting-started.md", work, folder / "python", folder)
    install = next(i for i, step in enumerate(transcript) if "pip install" in step[0])
    assert transcript[install + 1][2] == "b'hello'\n"
    took = transcript[install + 1][3] - transcript[install - 1][3]
    assert took < FIRST_ANSWER_SECONDS, f"{took:.1f} s from pip install to the first answer"


def type_all(
    document: str, work: Path, python: Path, runtime: Path
) -> list[tuple[str, str, str, float]]:
    """Types the commands of a document into a shell; gives what each one shows and prints, and
    when it was done. Fails at the first that prints something else."""
    env = {k: os.environ[k] for k in ("HOME", "LANG") if k in os.environ}
    env |= {"PATH": f"{python}:/usr/bin:/bin", "XDG_RUNTIME_DIR": str(runtime)}
    env |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_CONSTRAINT": str(PINS)}
    done: list[tuple[str, str, str, float]] = []
    with Shell(work, env | {"PIP_ROOT_USER_ACTION": "ignore"}) as shell:
        for command, shown in commands(document):
            printed = shell.type(command, shown)
            done.append((command, shown, printed, time.monotonic()))
    return done
