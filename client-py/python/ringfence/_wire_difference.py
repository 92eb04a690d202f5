"""Where two contracts differ, by their canonical texts. The Rust crate says the same sentences."""

from __future__ import annotations

REGENERATE = "ringfence codegen contracts.yaml --lang LANG --out FILE"
"""What makes generated code anew."""


def difference(here: str, there: str) -> str | None:
    """Where two canonical texts differ first, as a sentence that says what to do; None if nowhere."""
    found = _difference(_split(here), _split(there))
    return f"{found}; make both from one contracts.yaml: {REGENERATE}" if found else None


def _split(text: str) -> tuple[str, dict[tuple[int, str], list[str]]]:
    head, messages = "", dict[tuple[int, str], list[str]]()
    lines: list[str] = []
    for line in text.splitlines()[1:]:
        if line.startswith(" "):
            lines.append(line[1:])
        elif line.startswith("message "):
            _, number, name, *_ = line.split(" ")
            lines = messages[int(number), name] = [line]
        else:
            head = line
    return head, messages


def _difference(
    here: tuple[str, dict[tuple[int, str], list[str]]],
    there: tuple[str, dict[tuple[int, str], list[str]]],
) -> str | None:
    names = {number: name for number, name in (*there[1], *here[1])}
    for number in sorted(names):
        one, other = (
            next((lines for key, lines in part[1].items() if key[0] == number), None)
            for part in (here, there)
        )
        if one is None or other is None:
            line, side = (one, "here") if one else (other, "there")
            return f"{names[number]}: `{(line or [''])[0]}` {side} only"
        found = _first(names[number], one, other)
        if found:
            return found
    return f"schema: `{here[0]}` here, `{there[0]}` there" if here[0] != there[0] else None


def _first(name: str, here: list[str], there: list[str]) -> str | None:
    """The first difference of two messages: fields say more than the size that follows from them."""
    if here[0].split(" ")[2] == there[0].split(" ")[2]:
        for index in range(1, max(len(here), len(there))):
            one, other = (part[index] if index < len(part) else "" for part in (here, there))
            if one == other:
                continue
            field, _, rest = (one or other).partition(" ")
            if not one or not other:
                return f"{name}.{field}: `{rest}` {'here' if one else 'there'} only"
            other_field, _, other_rest = other.partition(" ")
            shown = other_rest if other_field == field else other
            return f"{name}.{field}: `{rest}` here, `{shown}` there"
    return f"{name}: `{here[0]}` here, `{there[0]}` there" if here[0] != there[0] else None
