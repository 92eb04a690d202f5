"""What docs/ shows is what runs. The transcript of docs/getting-started.md is run in
test_wheels.py, by which it is also what an installed wheel does; what the reference pages say is
compared in test_docs_reference.py."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import ringfence as rf
from conftest import eventually, run_python
from documents import (
    ROOT,
    Shell,
    all_blocks,
    blocks,
    commands,
    commands_of,
    file_name,
    matches,
    script,
    write_tests,
)
from ringfence.testing import PrivateDaemon, private_daemon
from test_processes import get, gunicorn

DOCS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md"))
BUILDS = [ROOT / "target" / build for build in ("release", "debug")]


def test_the_examples_of_testing_md(tmp_path: Path) -> None:
    count = write_tests("docs/testing.md", tmp_path)
    result = run_pytest(sys.executable, tmp_path)
    assert result.returncode == 0, result.stdout
    assert f"{count} passed" in result.stdout and count >= 8


def test_the_examples_of_processes_md(tmp_path: Path) -> None:
    count = write_tests("docs/processes.md", tmp_path)
    result = run_pytest(sys.executable, tmp_path)
    assert result.returncode == 0, result.stdout
    assert f"{count} passed" in result.stdout and count >= 4


def test_the_web_app_of_processes_md(daemon: PrivateDaemon) -> None:
    [app] = blocks("docs/processes.md", "python pages.py")
    [command] = blocks("docs/processes.md", "sh")
    with gunicorn(str(daemon.socket), app, command.split()) as (_, web):
        assert get(web) == b"hello from the daemon"


@pytest.mark.parametrize(
    "page",
    [
        "docs/asyncio.md",
        "docs/runtime.md",
        "docs/serving.md",
        "docs/topics.md",
        "docs/vectors.md",
    ],
)
def test_the_examples_of_a_page_are_one_program(page: str, tmp_path: Path) -> None:
    state = ["--state-dir", str(tmp_path)]
    with private_daemon(example("testd"), state, name="docs") as daemon:
        result = run_python(script(page), RINGFENCE_TARGET=str(daemon.socket))
    assert (result.returncode, result.stderr) == (0, "")


def test_the_examples_of_own_engine_md(tmp_path: Path) -> None:
    page, shown = "docs/own-engine.md", "target/release/examples/primesd"
    program = example("primesd")
    with private_daemon(program, name="docs") as daemon:
        text = script(page).replace(shown, str(program))
        result = run_python(text, RINGFENCE_TARGET=str(daemon.socket))
    assert (result.returncode, result.stderr) == (0, "")
    tests = [block for block in blocks(page, "python") if "def test_" in block]
    (tmp_path / "test_example.py").write_text("\n".join(tests).replace(shown, str(program)))
    assert tests and run_pytest(sys.executable, tmp_path).returncode == 0


def test_the_commands_of_configuration_md(tmp_path: Path) -> None:
    settings = {k: v for k, v in surroundings(tmp_path).items() if k != "RINGFENCE_RUNTIME_DIR"}
    with Shell(tmp_path, settings) as shell:
        for command, shown in commands("docs/configuration.md"):
            shell.type(command, shown)


def test_the_commands_of_torture_md(tmp_path: Path) -> None:
    with Shell(tmp_path, surroundings(tmp_path)) as shell:
        for command, shown in commands("docs/torture.md"):
            shell.type(command, shown)


def test_messages_md_is_typed_and_run(tmp_path: Path) -> None:
    """Its contract is saved, its commands are typed, its Python is one program; its Rust is the
    example `messages`, with the file that the page's command makes."""
    page, example_of = "docs/messages.md", ROOT / "client-rs" / "examples" / "messages"
    [contract] = blocks(page, "yaml")
    save(tmp_path, contract)
    assert contract == (example_of / "contracts.yaml").read_text()
    with Shell(tmp_path, surroundings(tmp_path)) as shell:
        for command, shown in commands(page):
            shell.type(command, shown)
    assert (tmp_path / "messages.rs").read_text() == (example_of / "messages.rs").read_text()
    (tmp_path / "program.py").write_text(script(page))
    result = run_python(f"import runpy; runpy.run_path({str(tmp_path / 'program.py')!r})",
                        PYTHONPATH=str(tmp_path))  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")
    assert f"``{result.stdout.strip()}``" in (ROOT / page).read_text()


def test_topology_md_is_typed_and_run() -> None:
    """Its files are saved, its commands are typed, the rest of its Python is one program."""
    page = "docs/topology.md"
    with tempfile.TemporaryDirectory(prefix="rf-") as name:
        work = Path(name)
        for block in blocks(page, "toml") + blocks(page, "python"):
            if file_name(block):
                save(work, block)
        with Shell(work, surroundings(work)) as shell:
            for command, shown in commands(page):
                shell.type(command, shown)
        result = run_python(f"import os; os.chdir({name!r})\n{script(page)}")
        assert (result.returncode, result.stderr) == (0, "")
        sockets = work / "ringfence"
        eventually(lambda: not list(sockets.glob("*/control.sock")), "its daemon leaves")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_tutorial_is_typed_as_it_stands() -> None:
    """Its files are saved and its commands typed in their order. Only the name `tutorial` is
    another one, so that nobody else's daemon has it."""
    if shutil.which("cargo") is None:
        pytest.skip("the last part needs cargo")
    page = "docs/tutorial.md"
    instance = f"tutorial-{secrets.token_hex(4)}"
    with tempfile.TemporaryDirectory(prefix="rf-") as name:
        work = Path(name)
        with Shell(work, surroundings(work)) as shell:
            for language, block in all_blocks(page):
                block = block.replace("tutorial", instance)
                if language == "console":
                    for command, shown in commands_of([block]):
                        shell.type(command, shown)
                else:
                    save(work, block)
        sockets = work / "ringfence"
        eventually(lambda: not list(sockets.glob("*/control.sock")), "all daemons leave")
        assert not [entry for entry in os.listdir("/dev/shm") if instance in entry]


def surroundings(work: Path) -> dict[str, str]:
    """The environment of somebody who has just installed everything, with folders of their own."""
    program = rf.find_daemon()
    assert program is not None
    kept = ("HOME", "LANG", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN")
    env = {name: os.environ[name] for name in kept if name in os.environ}
    cargo = Path(shutil.which("cargo") or "cargo").parent
    folders = [Path(sys.executable).parent, ROOT / "target/release", ROOT / "target/debug", cargo]
    env["PATH"] = ":".join([*map(str, folders), "/usr/bin", "/bin"])
    # Root's daemons would be in /run: here everybody has a folder of their own.
    runtime = {"XDG_RUNTIME_DIR": str(work), "RINGFENCE_RUNTIME_DIR": str(work / "ringfence")}
    return env | runtime | {"RINGFENCE_BIN": str(program), "CARGO_NET_OFFLINE": "true"}


def save(work: Path, block: str) -> None:
    """What a reader does with a block that names a file."""
    name = file_name(block)
    assert name is not None, block
    (work / name).write_text(block.replace("/path/to/ringfence", str(ROOT)))
    if name.endswith("Cargo.toml"):
        # The versions and the build folder of this workspace: no network, little to compile.
        project = (work / name).parent
        shutil.copy(ROOT / "Cargo.lock", project)
        (project / "target").symlink_to(ROOT / "target")


def example(name: str) -> Path:
    """An example of the crate `ringfenced`, which `make build` builds."""
    for build in BUILDS:
        if os.access(build / "examples" / name, os.X_OK):
            return build / "examples" / name
    pytest.skip(f"not built: cargo build -p ringfenced --example {name}")


def run_pytest(python: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs the tests of a folder as the project of a stranger would."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("RINGFENCE_", "PYTEST_"))}
    return subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."],
        cwd=folder,
        env=clean,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
    )


def test_the_transcript_is_read_as_it_is_typed() -> None:
    """The control of the test that runs it."""
    typed = dict(commands("docs/getting-started.md"))
    assert typed["python first.py\n"] == "[1] [0.00496...]\n"
    script = next(command for command in typed if command.startswith("cat > first.py"))
    assert "\n\nwith rf.connect() as client:\n    docs = " in script
    assert script.endswith("\nEOF\n")
    assert matches("a ... c\n", "a (b) c\n") and not matches("a ... c\n", "a\nc\n")


# --- what holds for every page ----------------------------------------------------------------------


@pytest.mark.parametrize("page", DOCS)
def test_every_link_leads_somewhere(page: str) -> None:
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.S | re.M)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        file = (ROOT / page).parent / name if name else ROOT / page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def anchors(file: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and others name them."""
    headings = re.findall(r"^#+ (.*)$", file.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_map_has_every_page_once() -> None:
    listed = re.findall(r"^- \[.*?\]\(([\w-]+\.md)\)", (ROOT / "docs/README.md").read_text(), re.M)
    pages = [Path(page).name for page in DOCS]
    assert sorted(["README.md", *listed]) == pages, "each page has one line in docs/README.md"


@pytest.mark.parametrize("page", DOCS)
def test_every_block_is_run_by_a_test(page: str) -> None:
    """By one that names the page."""
    if blocks(page, "python") or blocks(page, "console"):
        tests = (Path(__file__).parent).glob("test_*.py")
        assert any(f'"{page}"' in file.read_text() for file in tests), page


@pytest.mark.parametrize("page", DOCS)
def test_every_command_in_the_text_exists(page: str) -> None:
    text = (ROOT / page).read_text()
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([\w-]+)", text):
        assert re.search(rf"^{target}:", makefile, re.M), target
    for name in re.findall(r"`cargo run [^`]*--example (\w+)", text):
        assert list(ROOT.glob(f"*/examples/{name}.rs")) + list(ROOT.glob(f"*/*/examples/{name}.rs"))
    program = next(path / "ringfence" for path in BUILDS if (path / "ringfence").exists())
    known = subprocess.run([program, "--help"], capture_output=True, text=True, check=True).stdout
    for name in re.findall(r"`ringfence ([a-z]+)", text):
        assert re.search(rf"^  {name} ", known, re.M), name


def rust_sources() -> Iterator[str]:
    """The examples, and what documentation tests show, without the lines they hide."""
    folders = ("client-rs", "daemon", "protocol")
    for file in (file for folder in folders for file in (ROOT / folder).rglob("*.rs")):
        text = file.read_text()
        if "examples" in file.parts:
            yield text
        told = [found[1] for found in re.finditer(r"^ *//[/!] ?(.*)$", text, re.M)]
        yield "\n".join(line for line in told if not re.match(r"# |#$", line))


@pytest.mark.parametrize("page", DOCS)
def test_every_rust_block_is_part_of_a_file_that_runs(page: str) -> None:
    def plain(text: str) -> str:
        return "\n".join(line.strip() for line in text.strip().splitlines())

    sources = [plain(text) for text in rust_sources()]
    for block in blocks(page, "rust"):
        if file_name(block):
            _, _, block = block.partition("\n")
        assert any(plain(block) in source for source in sources), block
