"""The reference pages of docs/ are complete and true: compared with the code, and with what the
programs say and do."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

import ringfence as rf
import ringfence.testing
from documents import ROOT
from ringfence.testing import private_daemon

DOCS = ROOT / "docs"
PAGE_SCRIPT = ROOT / "client-py" / "python_page.py"


# --- docs/python.md ---------------------------------------------------------------------------------


def section(text: str, title: str, level: int) -> str:
    """What stands below a heading."""
    mark = "#" * level
    found = re.search(rf"^{mark} {re.escape(title)}\n(.*?)(?=^#{{1,{level}}} |\Z)", text, re.S | re.M)
    assert found, f"no section {title!r}"
    return found[1]


def test_python_md_is_what_its_script_writes() -> None:
    spec = importlib.util.spec_from_file_location("python_page", PAGE_SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = (DOCS / "python.md").read_text()
    assert written == module.page(), "run .venv/bin/python client-py/python_page.py"


@pytest.mark.parametrize("name", ["ringfence", "ringfence.aio", "ringfence.messages", "ringfence.testing"])
def test_python_md_has_every_public_name(name: str) -> None:
    modules = (rf, rf.aio, rf.messages, ringfence.testing)
    [module] = (module for module in modules if module.__name__ == name)
    text = section((DOCS / "python.md").read_text(), name, 2)
    names: list[str] = module.__all__
    assert sorted(re.findall(r"^### (\w+)$", text, re.M)) == sorted(names)
    for public in names:
        value: object = getattr(module, public)
        about = section(text, public, 3)
        assert len(about.strip()) > 10, public
        if isinstance(value, type):
            told = re.findall(r"^- `(?:async )?(\w+)", about, re.M)
            missing = members(value) - set(told)
            assert not missing, f"{public}: {sorted(missing)}"
            assert len(told) == len(set(told)), f"{public}: told twice"


def members(cls: type) -> set[str]:
    """The public attributes of a class that are its own and not a built-in type's."""
    builtin = [base for base in cls.__mro__ if base.__module__ == "builtins"]
    if issubclass(cls, rf.RingfenceError) and cls is not rf.RingfenceError:
        builtin.append(rf.RingfenceError)  # told once, there
    if issubclass(cls, int):
        return set()  # ErrorCode: docs/errors.md has its members
    foreign = {name for base in builtin for name in vars(base)}
    own = {name for base in cls.__mro__ if base not in builtin for name in vars(base)}
    own |= set(getattr(cls, "_fields", ()))
    return {name for name in own - (foreign - set(getattr(cls, "_fields", ()))) if name[0] != "_"}


# --- docs/configuration.md --------------------------------------------------------------------------


class Setting(NamedTuple):
    """A setting as `ringfenced --help` and `--check-config` tell it."""

    env: str
    path: str
    accepted: str
    default: str


def ringfenced(*arguments: str, **environment: str) -> str:
    """What the daemon prints for these flags, in surroundings without settings."""
    program = rf.find_daemon()
    assert program is not None
    clean = {k: v for k, v in os.environ.items() if not k.startswith("RINGFENCE_")}
    result = subprocess.run(
        [program, *arguments], env=clean | environment, capture_output=True, text=True, timeout=30
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def defaults(text: str) -> dict[str, str]:
    """What `--check-config` prints, by section and key; "none" where nothing is set."""
    values: dict[str, str] = {}
    prefix = ""
    for line in text.splitlines():
        if heading := re.fullmatch(r"\[(\w+)\]", line):
            prefix = f"{heading[1]}."
        elif unset := re.fullmatch(r"# (\w+) is not set", line):
            values[prefix + unset[1]] = "none"
        elif setting := re.match(r"(\w+) = (.*)", line):
            values[prefix + setting[1]] = setting[2]
    return values


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> list[Setting]:
    nothing = tmp_path_factory.mktemp("config") / "empty.toml"
    nothing.touch()
    known = defaults(ringfenced("--config", str(nothing), "--check-config"))
    told = re.findall(
        r"^  (RINGFENCE_\w+) +(?:\[(\w+)\] )?(\w+): .*\n +(.*)$", ringfenced("--help"), re.M
    )
    found: list[Setting] = []
    for env, part, key, accepted in told:
        path = f"{part}.{key}" if part else key
        found.append(Setting(env, path, accepted, known[path]))
    assert len(found) == len(known) >= 30
    return found


def rows(text: str) -> list[list[str]]:
    """The cells of all table rows, without headings and rulers."""
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


# Their defaults depend on the machine and the user.
HOST_DEPENDENT = {
    "runtime_dir", "allowed_uids", "workers.threads", "workers.running_per_session", "state.dir"
}  # fmt: skip


def configuration() -> dict[str, list[str]]:
    """The rows of docs/configuration.md by section and key."""
    text = section((DOCS / "configuration.md").read_text(), "Settings", 2)
    found: dict[str, list[str]] = {}
    for heading in re.findall(r"^### (.*)$", text, re.M):
        prefix = "" if heading == "The top level" else f"{heading.strip('[]')}."
        for row in rows(section(text, heading, 3)):
            found[prefix + row[0].strip("`")] = row
    return found


def test_configuration_md_has_every_setting(settings: list[Setting]) -> None:
    told = configuration()
    assert list(told) == [setting.path for setting in settings]
    for setting in settings:
        _, env, _, default, accepted, why = told[setting.path]
        assert env == f"`{setting.env}`" and accepted == setting.accepted, setting
        if setting.path not in HOST_DEPENDENT:
            assert default.strip("`") == setting.default, setting
        assert len(why) > 10


def test_configuration_md_has_every_flag() -> None:
    """And says what each one sets: the daemon tells the origin of a value."""
    text = (DOCS / "configuration.md").read_text()
    flags = set(re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", ringfenced("--help"), re.M))
    setting = {row[2].strip("`"): path for path, row in configuration().items() if row[2] != "-"}
    others = {row[0].strip("`") for row in rows(section(text, "Flags without a setting", 2))}
    assert flags == set(setting) | others
    values = {"instance": "other", "polling.spin": "never", "engines.enable": "system",
              "log.format": "json", "log.level": "warn", "metrics.listen": "/tmp/m"}  # fmt: skip
    for flag, path in setting.items():
        value = values.get(path, "/tmp" if path.endswith("dir") else "7")
        checked = ringfenced("--check-config", flag, value)
        assert defaults(checked)[path].endswith(f"# flag {flag}"), checked


def test_configuration_md_has_every_variable_and_exit_code() -> None:
    text = (DOCS / "configuration.md").read_text()
    foreign = re.search(r"FOREIGN_ENV.*?\[(.*?)\]", source("daemon/src/config/settings.rs"), re.S)
    assert foreign
    for name in re.findall(r"RINGFENCE_\w+", foreign[1]):
        assert f"`{name}`" in text, name
    _, _, codes = ringfenced("--help").partition("Exit codes:")
    for code, meaning in re.findall(r"^  (\d+) +(.*)$", codes, re.M):
        assert f"| {code} | {meaning} |" in text


def test_the_file_in_configuration_md_is_accepted(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```toml\n(.*?)^```", (DOCS / "configuration.md").read_text(), re.S | re.M)
    file = tmp_path / "example.toml"
    file.write_text(example)
    checked = ringfenced("--config", str(file), "--check-config")
    assert 'socket_group = "ringfence"  # ' in checked


@pytest.mark.parametrize("end", [-2, -1], ids=["least", "most"])
def test_lanes_of_every_accepted_size_serve(
    settings: list[Setting], end: int, tmp_path: Path
) -> None:
    """What the page says is accepted is of use."""
    lanes = {s.path.removeprefix("lanes."): s for s in settings if s.path.startswith("lanes.")}
    values = {key: re.findall(r"\d+", setting.accepted)[end] for key, setting in lanes.items()}
    file = tmp_path / "lanes.toml"
    file.write_text("[lanes]\n" + "".join(f"{key} = {value}\n" for key, value in values.items()))
    with private_daemon(arguments=["--config", str(file)]) as daemon, daemon.connect() as client:
        payload = bytes(300_000)
        assert client.echo(payload) == payload and client.echo(b"small") == b"small"


# --- docs/limits.md ---------------------------------------------------------------------------------


def source(path: str) -> str:
    return (ROOT / path).read_text()


def evaluate(expression: str, known: dict[str, str]) -> str:
    """A constant of Rust as the page writes it."""
    text = re.sub(r"([\d.]+e)", r"\1", expression.replace("_", ""))
    if "..=" in text:
        least, most = text.split("..=")
        return f"{least} to {most}"
    if text == "u32::MAX as u64":
        return str(2**32 - 1)
    for name in sorted(known, key=len, reverse=True):
        text = re.sub(rf"\b{name.replace('_', '')}\b", known[name], text)
    text = text.replace("/", "//")
    assert re.fullmatch(r"[\d\s.e+\-*/<()]+", text), f"{expression!r} is not understood"
    return text if "e" in text else str(eval(text))


@pytest.mark.parametrize(
    ("title", "file"),
    [("The protocol", "protocol/src/limits.rs"), ("Vectors", "daemon/core/src/vectors/limits.rs")],
)
def test_limits_md_has_every_constant(title: str, file: str) -> None:
    told = {row[0].strip("`"): row[1] for row in rows(section((DOCS / "limits.md").read_text(), title, 2))}
    known: dict[str, str] = {}
    for name, expression in re.findall(r"const (\w+): [^=]+= ([^;]+);", source(file)):
        known[name] = evaluate(expression, known)
    # The fields of the engine's own settings.
    for fields in re.findall(r"Self \{ (memory_bytes.*?) \}", source(file)):
        for field, expression in re.findall(r"(\w+): ([^,]+)", fields):
            known[field] = evaluate(expression, {})
    assert told == known


def test_limits_md_has_every_number_that_can_be_set(settings: list[Setting]) -> None:
    told = {row[0].strip("`"): row[1:] for row in rows(section((DOCS / "limits.md").read_text(), "Settings", 2))}
    numbers = [s for s in settings if re.match(r"(a whole number|a power|a multiple)", s.accepted)]
    assert list(told) == [setting.path for setting in numbers]
    for setting in numbers:
        default, *bounds = told[setting.path]
        assert bounds == re.findall(r"\d+", setting.accepted)[-2:], setting
        if setting.path not in HOST_DEPENDENT:
            assert default == setting.default, setting


def test_limits_md_has_what_clients_wait() -> None:
    text = section((DOCS / "limits.md").read_text(), "Clients", 2)
    for path, name, shown in [
        ("client-rs/src/autostart.rs", r"PATIENCE: Duration = Duration::from_secs\((\d+)\)", "10"),
        ("client-rs/src/autostart.rs", r"EXIT_WHEN_IDLE_MS: u32 = (\d+)", "2000"),
        ("client-rs/src/options.rs", r"RESTART_GRACE: Duration = Duration::from_millis\((\d+)\)", "100"),
    ]:  # fmt: skip
        assert re.findall(name, source(path)) == [shown]
        assert f"| {shown.removesuffix('000')} |" in text
