"""`ringfence stubs`: what it writes passes strict checkers and is true of ``client.engine(..)``."""

from __future__ import annotations

import ast
import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import ringfence as rf
from ringfence._engine import result_type
from ringfence.testing import PrivateDaemon, private_daemon
from test_own_engine import greeterd  # noqa: F401  (a fixture)

ROOT = Path(__file__).resolve().parents[2]
AWKWARD = ROOT / "client-rs" / "cli" / "src" / "stubs" / "python" / "awkward.pyi"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def command() -> Path:
    """The command line, which `make build` builds."""
    for build in ("release", "debug"):
        path = ROOT / "target" / build / "ringfence"
        if os.access(path, os.X_OK):
            return path
    pytest.skip("not built: cargo build -p ringfence-cli")


@pytest.fixture(scope="module")
def stubs(
    command: Path,
    daemon: PrivateDaemon,
    greeterd: Path,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A folder with the stubs of two engines, named as their heads say."""
    folder = tmp_path_factory.mktemp("stubs")
    with private_daemon(greeterd) as own:
        for engine, socket in (("vectors", daemon.socket), ("greeter", own.socket)):
            text = subprocess.run(
                [command, "stubs", engine, "--target", str(socket)],
                capture_output=True,
                text=True,
                check=True,
                timeout=60,
            ).stdout
            assert f"from {engine}_engine import {engine.capitalize()}" in text
            (folder / f"{engine}_engine.pyi").write_text(text)
    return folder


@pytest.fixture(scope="module")
def vectors(daemon: PrivateDaemon) -> Iterator[rf.Engine]:
    with daemon.connect() as client:
        yield client.engine("vectors")


def check(checker: str, folder: Path, *files: Path) -> str:
    """What the checker finds in the files; it sees the stubs in the folder."""
    more = {"mypy": ["--strict", "--no-error-summary"], "pyright": ["--pythonpath", sys.executable]}
    (folder / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    result = subprocess.run(
        [sys.executable, "-m", checker, *more[checker], *map(str, files)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert result.returncode in (0, 1), result.stderr
    return "" if result.returncode == 0 else result.stdout


PROGRAM = """\
from __future__ import annotations

import array
from typing import TYPE_CHECKING, cast

import numpy as np
import ringfence as rf
from numpy.typing import NDArray

if TYPE_CHECKING:
    from greeter_engine import Greeter, GreeterHello
    from vectors_engine import Vectors


def greet(client: rf.Client) -> GreeterHello:
    greeter = cast("Greeter", client.engine("greeter"))
    letters, text = greeter.hello(name="Ada", times=3)
    assert len(text) == letters
    greeter["hello"].submit(name="Ada", times=np.uint8(1)).result()
    return greeter.hello(name=greeter.name, times=np.uint8(1), timeout=0.5)


def search(client: rf.Client) -> NDArray[np.uint64]:
    vectors = cast("Vectors", client.engine("vectors"))
    vectors.create(
        name="x", dim=2, metric=0, exist_ok=True, connectivity=0, ef_add=0, ef_search=0, timeout=None
    )
    rows = array.array("f", [0.0, 1.0])
    added: int = vectors.add(upsert=True, collection="x", ids=[1], rows=rows).added
    number: int = vectors.count(collection="x").count
    query = np.zeros(2, np.float32)
    hits = vectors.search(k=added + number, ef=0, exact=True, collection="x", query=query)
    found: bytes = vectors.get(collection="x", ids=hits.ids).found
    assert found
    return hits.ids
"""

WRONG = [
    ('times="3"', 'incompatible type "str"'),
    ("times=1.5", 'incompatible type "float"'),
    ('times=3, tims="x"', 'Unexpected keyword argument "tims"'),
    ("", 'Missing named argument "times"'),
    ('times=3).leters  #', 'has no attribute "leters"'),
]


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_a_right_program_passes(stubs: Path, checker: str) -> None:
    program = stubs / f"right_{checker}.py"
    program.write_text(PROGRAM)
    files = [program, *stubs.glob("*.pyi")]
    assert check(checker, stubs, *files) == ""


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_names_that_python_does_not_like_pass(checker: str, tmp_path: Path) -> None:
    stub = tmp_path / "named_engine.pyi"
    stub.write_text(AWKWARD.read_text())
    assert check(checker, tmp_path, stub) == ""


def test_wrong_programs_fail(stubs: Path) -> None:
    head = PROGRAM[: PROGRAM.index("def greet")]
    calls = "".join(f'    _ = greeter.hello(name="Ada", {more})\n' for more, _ in WRONG)
    program = stubs / "wrong.py"
    program.write_text(
        f'{head}\ndef wrong(greeter: Greeter, vectors: Vectors) -> None:\n{calls}'
        '    greeter.hello("Ada", 3)\n    greeter.bye()\n'
        '    vectors.delete(collection="x", ids=["1"])\n'
        '    vectors.count(collection=b"x")\n'
    )
    found = check("mypy", stubs, program)
    for _, message in WRONG:
        assert message in found, found
    assert "Too many positional arguments" in found
    assert '"Greeter" has no attribute "bye"' in found
    assert found.count('incompatible type "bytes"; expected "str"') == 1
    assert 'List item 0 has incompatible type "str"' in found


def classes(stub: Path) -> dict[str, ast.ClassDef]:
    body = ast.parse(stub.read_text()).body
    return {node.name: node for node in body if isinstance(node, ast.ClassDef)}


def functions(node: ast.ClassDef) -> dict[str, ast.FunctionDef]:
    return {one.name: one for one in node.body if isinstance(one, ast.FunctionDef)}


def test_it_has_the_methods_and_fields_that_the_client_has(
    stubs: Path, vectors: rf.Engine
) -> None:
    found = classes(stubs / "vectors_engine.pyi")
    methods = functions(found["Vectors"])
    assert list(methods) == ["__getitem__", *vectors.names]
    for name in vectors.names:
        method = vectors[name]
        arguments = methods[name].args
        assert [one.arg for one in arguments.args] == ["self"]
        assert [one.arg for one in arguments.kwonlyargs] == [*inspect.signature(method).parameters]
        assert ast.get_docstring(methods[name])
        returns = methods[name].returns
        assert returns is not None
        if method.reply:
            fields = [n.target for n in found[ast.unparse(returns)].body if isinstance(n, ast.AnnAssign)]
            assert [ast.unparse(field) for field in fields] == [*method.reply]
        else:
            assert ast.unparse(returns) == "None"


def test_what_comes_back_is_what_it_says(stubs: Path, vectors: rf.Engine) -> None:
    found = classes(stubs / "vectors_engine.pyi")
    vectors.create(
        name="stubs", dim=2, metric=0, exist_ok=True, connectivity=0, ef_add=0, ef_search=0
    )
    try:
        rows = [[0.0, 1.0], [1.0, 0.0]]
        flat = [number for row in rows for number in row]
        replies = [
            vectors.add(upsert=True, collection="stubs", ids=np.array([1, 2], np.uint64), rows=flat),
            vectors.get(collection="stubs", ids=[1, np.uint16(7)]),
            vectors.search(k=np.int8(1), ef=0, exact=True, collection="stubs", query=(0, np.float32(1))),
            vectors.count(collection="stubs"),
            vectors.list(),
            vectors.stats(collection="stubs"),
        ]
    finally:
        vectors.drop(collection="stubs")
    for reply in replies:
        said = found[type(reply).__name__]
        for node, value in zip(
            [node for node in said.body if isinstance(node, ast.AnnAssign)], reply, strict=True
        ):
            if isinstance(value, np.ndarray):
                assert ast.unparse(node.annotation) == f"_NDArray[_np.{value.dtype.name}]"
            else:
                # Where a field is called like a type, the stub names the type by its module.
                said_type = ast.unparse(node.annotation).removeprefix("_builtins.")
                assert said_type == type(value).__name__


def test_awkward_names_are_renamed_as_the_client_renames_them() -> None:
    found = classes(AWKWARD)
    for method, names in (
        ("list", ["count", "index"]),
        ("int", ["int", "str"]),
        ("a_b", ["class", "_x", "index", "x"]),
    ):
        made = result_type("named", method, names)
        said = found[made.__name__]
        fields = [ast.unparse(n.target) for n in said.body if isinstance(n, ast.AnnAssign)]
        properties = [name for name in functions(said) if name != "_asdict"]
        assert tuple(properties or fields) == made._fields  # type: ignore[attr-defined]
