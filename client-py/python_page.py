"""Writes docs/python.md from the sources of the package: ``.venv/bin/python client-py/python_page.py``.

The signatures and the first sentences are those of the code. ``tests/test_docs_reference.py``
compares the page with what this gives, and, by another way, with what the package has at run time.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "python" / "ringfence"
PAGE = HERE.parent / "docs" / "python.md"

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

HEAD = """\
# The Python packages, name by name

For whoever knows what they want and looks for its exact form. How things are used is in [tutorial.md](tutorial.md),
[vectors.md](vectors.md) and [asyncio.md](asyncio.md); what the exceptions mean is in [errors.md](errors.md).

`client-py/python_page.py` writes this page from the code; the tests compare the two. `help(ringfence.Client)` says more.

Types that the signatures name:

- `Timeout`: seconds; `None` is for ever; `...`, the default, what the catalogue says of the method.
- `Metric`: `"l2"`, `"cosine"` or `"dot"`. `Spin`: `"adaptive"`, `"always"` or `"never"`. `Outcome`: `"not_started"` or `"unknown"`.
- `Ids`: an array, a sequence or a range of whole numbers, or one. `Floats`: an array, a sequence or a memoryview of numbers, of one or two
  dimensions.
- `Buffer`: anything with the buffer protocol; `_Array`: a numpy array.
"""

MODULES = {
    "ringfence": (
        "__init__.py",
        "Blocking calls, from any thread.",
    ),
    "ringfence.aio": ("aio.py", "The same for asyncio: see [asyncio.md](asyncio.md)."),
    "ringfence.messages": (
        "messages.py",
        "Typed messages: see [messages.md](messages.md).",
    ),
    "ringfence.topology": (
        "topology.py",
        "Topologies: see [topology.md](topology.md).",
    ),
    "ringfence.testing": (
        "testing.py",
        "A daemon for tests: see [testing.md](testing.md).",
    ),
}

NOT_CODE = {
    "__version__": "The version of the package, a string.",
    "aio": "The client for asyncio, below.",
    "messages": "Typed messages, below.",
    "topology": "Topologies, below.",
    **{name: f"A field of this type: `Annotated[{'float' if name[0] == 'F' else 'int'}, Wire(...)]`."
       for name in ("F32", "F64", "I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64", "U256")},
}
"""Public names that no statement of the sources defines as a function or class."""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for module, (file, about) in MODULES.items():
        parts.append(f"## {module}\n\n{about}\n")
        for name in public(file):
            if name in NOT_CODE:
                parts.append(f"### {name}\n\n{NOT_CODE[name]}\n")
            else:
                parts.append(entry(name, SOURCES / imported_from(file, name)))
    return "\n".join(parts)


def public(file: str) -> list[str]:
    """The names in `__all__` of a module."""
    for node in parse(SOURCES / file).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names: list[str] = ast.literal_eval(node.value)
            return sorted(names, key=str.lower)
    raise LookupError(f"{file} has no __all__")


def imported_from(file: str, name: str) -> str:
    """The file that a module has a name from; itself if it does not import it."""
    for node in ast.walk(parse(SOURCES / file)):
        if isinstance(node, ast.ImportFrom) and name in [alias.name for alias in node.names]:
            return f"{node.module}.pyi" if node.module == "_core" else f"{node.module}.py"
    return file


def parse(file: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(file.read_text())


def entry(name: str, home: Path) -> str:
    """What the page says of one public name."""
    node = find(name, home)
    if isinstance(node, ast.ClassDef):
        bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
        error = bool(bases) and bases[-1].endswith(("Error", "Exception"))
        also = " and a ".join(f"`{base}`" for base in bases)
        title = f"*class*, a {also}. " if error else "*class*. "
        lines = [f"- {line}" for line in members(node, home)]
        text = f"### {name}\n\n{title}{first_sentence(node)}\n"
        return text + ("\n" + "\n".join(lines) + "\n" if lines else "")
    shown = re.sub(r"(?<==)_[A-Z_]+", lambda found: constant(found[0], home), signature(node))
    return f"### {name}\n\n`{shown}`\n\n{first_sentence(node)}\n"


def constant(name: str, home: Path) -> str:
    """The value of a constant of a module."""
    for node in parse(home).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return ast.unparse(node.value)
    raise LookupError(f"{home.name} does not define {name}")


def find(name: str, home: Path) -> Definition:
    """The definition of a name in a file."""
    for node in parse(home).body:
        if isinstance(node, Definition) and node.name == name:
            return node
    raise LookupError(f"{home.name} does not define {name}")


def members(node: ast.ClassDef, home: Path) -> Iterator[str]:
    """The public members of a class, those of its bases in the package after its own."""
    seen: set[str] = set()
    for owner in [node, *ancestors(node, home)]:
        for name, line in own_members(owner):
            if name not in seen:
                seen.add(name)
                yield line


def ancestors(node: ast.ClassDef, home: Path) -> Iterator[ast.ClassDef]:
    """The bases of a class whose members are its own API. An exception's are told once, at
    `RingfenceError`."""
    known = {
        "ClientMethods": "_client.py",
        "NativeClient": "_core.pyi",
        "EngineBase": "_engine.py",
        "MethodBase": "_engine.py",
    }
    for base in node.bases:
        name = ast.unparse(base).partition("[")[0]
        if name in known:
            found = find(name.replace("Native", ""), SOURCES / known[name])
            assert isinstance(found, ast.ClassDef)
            yield found


def own_members(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    """Name and line of each public member that a class itself defines."""
    for index, part in enumerate(node.body):
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef):
            if part.name.startswith("_"):
                continue
            kinds = {ast.unparse(decorator) for decorator in part.decorator_list}
            shown = signature(part, method=True)
            if "property" in kinds:
                returns = ast.unparse(part.returns) if part.returns else "Any"
                shown = f"{part.name}: {returns}"
            yield part.name, f"`{shown}` {first_sentence(part)}"
        elif isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            name, about = part.target.id, doc_after(node.body, index)
            if about and not name.startswith("_"):
                yield name, f"`{name}: {ast.unparse(part.annotation)}` {about}"
    yield from attributes(node)


def attributes(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    """What `__init__` sets, with the text below it."""
    for part in node.body:
        if not (isinstance(part, ast.FunctionDef) and part.name == "__init__"):
            continue
        types = {a.arg: ast.unparse(a.annotation) for a in part.args.args if a.annotation}
        for index, statement in enumerate(part.body):
            if not isinstance(statement, ast.Assign | ast.AnnAssign):
                continue
            target = statement.target if isinstance(statement, ast.AnnAssign) else statement.targets[0]
            if not isinstance(target, ast.Attribute) or target.attr.startswith("_"):
                continue
            kind = f": {types[target.attr]}" if target.attr in types else ""
            yield target.attr, f"`{target.attr}{kind}` {doc_after(part.body, index)}".rstrip()


def doc_after(body: list[ast.stmt], index: int) -> str:
    """The text that stands below a statement, if there is one."""
    after = body[index + 1] if index + 1 < len(body) else None
    if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
        return plain(str(after.value.value))
    return ""


def signature(node: Definition, method: bool = False) -> str:
    """`name(arguments) -> result`, without `self`."""
    assert not isinstance(node, ast.ClassDef)
    arguments = ast.unparse(node.args)
    if method:
        arguments = re.sub(r"^self(, /)?(, |$)", "", arguments)
    arguments = arguments.replace("float | None | EllipsisType", "Timeout")
    wait = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
    result = ast.unparse(node.returns) if node.returns else "None"
    return f"{wait}{node.name}({arguments}) -> {result}"


def first_sentence(node: Definition) -> str:
    """The first sentence of a documentation text."""
    return plain(ast.get_docstring(node) or "")


def plain(text: str) -> str:
    """The first sentence, in Markdown instead of reStructuredText."""
    paragraph = " ".join(text.strip().split("\n\n")[0].split())
    sentence = re.split(r"(?<=[.!?])\s+(?=[A-Z`])", paragraph)[0]
    sentence = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", sentence).replace("``", "`")
    return sentence if sentence.endswith((".", "?", "!")) else f"{sentence.rstrip(':')}."


if __name__ == "__main__":
    PAGE.write_text(page())
    print(PAGE)
