"""docs/config.schema.json: a schema, of this daemon, that tells right from wrong."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from ringfence._connect import find_daemon

DOCS = Path(__file__).resolve().parents[2] / "docs"
SCHEMA = json.loads((DOCS / "config.schema.json").read_text())


def ringfenced(*arguments: str) -> str:
    binary = find_daemon()
    assert binary is not None
    return subprocess.run(
        [binary, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout


def test_it_is_a_schema_and_the_daemons_own() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(ringfenced("--config-schema")) == SCHEMA


def test_what_the_daemon_prints_and_what_the_docs_show_is_valid() -> None:
    validator = Draft202012Validator(SCHEMA)
    validator.validate(tomllib.loads(ringfenced("--check-config")))
    examples = re.findall(r"```toml\n(.*?)```", (DOCS / "operations.md").read_text(), re.DOTALL)
    assert examples
    for example in examples:
        validator.validate(tomllib.loads(example))


@pytest.mark.parametrize(
    "wrong",
    [
        {"instnace": "a"},
        {"polling": {"spin": "sometimes"}},
        {"polling": {"spn": "never"}},
        {"lanes": {"slots": 100}},
        {"lanes": {"arena_bytes": 5000}},
        {"workers": {"threads": 0}},
        {"allow_any_uid": 1},
        {"allowed_uids": ["root"]},
        {"engines": {"enable": ["system", "system"]}},
        {"serving": {"grants": [{"names": "Pricing", "uids": [1000]}]}},
        {"serving": {"grants": [{"names": "pricing.*"}]}},
    ],
    ids=json.dumps,
)
def test_what_is_wrong_is_not(wrong: dict[str, Any]) -> None:
    assert not Draft202012Validator(SCHEMA).is_valid(wrong)
