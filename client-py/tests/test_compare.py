"""The rivals' package is built by nobody but `make bench-rivals`: here its lock file, its pins and
what it says of them are held together, without a compiler or a package index."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from documents import ROOT

COMPARE = ROOT / "benches" / "compare"
# What it compiles of Ringfence, by folder.
OURS = ["protocol", "daemon", "daemon/core", "client-rs", "benches"]
REFRESH = "run: cargo metadata --manifest-path benches/compare/Cargo.toml >/dev/null"


def toml(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text())


def locked(path: Path) -> dict[str, set[str]]:
    """The versions of each package."""
    versions: dict[str, set[str]] = {}
    for package in toml(path)["package"]:
        versions.setdefault(package["name"], set()).add(package["version"])
    return versions


def pins(path: Path) -> dict[str, str]:
    """The packages of a requirements file, each pinned to the digit."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
    return dict(line.split("==") for line in lines)


def test_it_is_outside_the_workspace() -> None:
    assert "benches/compare" in toml(ROOT / "Cargo.toml")["workspace"]["exclude"]
    manifest = toml(COMPARE / "Cargo.toml")
    assert manifest["workspace"] == {} and manifest["package"]["publish"] is False
    assert "iceoryx2" not in locked(ROOT / "Cargo.lock")


def test_the_rival_in_rust_is_the_one_that_the_table_names() -> None:
    wanted = toml(COMPARE / "Cargo.toml")["dependencies"]["iceoryx2"]["version"]
    [version] = locked(COMPARE / "Cargo.lock")["iceoryx2"]
    assert wanted == f"={version}" and version.startswith("0.10.")
    source = (COMPARE / "src" / "iceoryx2.rs").read_text()
    assert set(re.findall(r"iceoryx2 (\d+\.\d+\.\d+)", source)) == {version}


def test_ringfence_is_compiled_as_it_is_everywhere_else() -> None:
    everywhere, here = toml(ROOT / "Cargo.toml"), toml(COMPARE / "Cargo.toml")
    assert everywhere["profile"]["release"] == here["profile"]["release"]


def test_ringfence_is_compiled_with_the_same_crates_too() -> None:
    ours, theirs = locked(ROOT / "Cargo.lock"), locked(COMPARE / "Cargo.lock")
    # Rivals may bring another version along, and then it stands beside ours.
    both = ours.keys() & theirs.keys()
    differ = {name: (ours[name], theirs[name]) for name in both if not ours[name] & theirs[name]}
    assert not differ, f"{differ}; take the root's lock file, and {REFRESH}"


def test_the_lock_file_knows_all_that_ringfence_needs() -> None:
    packages = {package["name"]: package for package in toml(COMPARE / "Cargo.lock")["package"]}
    for folder in OURS:
        manifest = toml(ROOT / folder / "Cargo.toml")
        known = packages[manifest["package"]["name"]]["dependencies"]
        # An optional one is only there if the benches switch it on.
        wanted = {name for name, how in manifest["dependencies"].items() if "optional" not in how}
        missing = wanted - {name.split()[0] for name in known}
        assert not missing, f"{folder}: {missing}; {REFRESH}"


def test_the_rivals_in_python_are_pinned_and_agree_with_the_tests_pins() -> None:
    rivals = pins(COMPARE / "requirements.txt")
    assert rivals.keys() >= {"iceoryx2", "pyzmq", "grpcio"}
    tests = (ROOT / "client-py" / "requirements-test.txt").read_text()
    ours = dict(re.findall(r"^([\w.-]+)==([\w.]+)$", tests, re.MULTILINE))
    both = rivals.keys() & ours.keys()
    assert both and {name: rivals[name] for name in both} == {name: ours[name] for name in both}
    [crate] = locked(COMPARE / "Cargo.lock")["iceoryx2"]
    assert rivals["iceoryx2"] == crate
    assert "$(COMPARE)/requirements.txt" in (ROOT / "Makefile").read_text()


def test_every_rival_in_python_has_two_halves() -> None:
    source = (COMPARE / "src" / "python.rs").read_text()
    cases = re.findall(r'case\(\s*(?:ICEORYX2|"([\w-]+)"),', source)
    names = {name or "iceoryx2-python" for name in cases}
    script = (COMPARE / "rivals.py").read_text()
    for half in ("NEAR", "FAR"):
        [table] = re.findall(rf"^{half}: .*?^}}", script, re.DOTALL | re.MULTILINE)
        assert set(re.findall(r'^    "([\w-]+)":', table, re.MULTILINE)) == names
