"""A client in another process, which does one line after the other: another user's, a container's."""

from __future__ import annotations

import select
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

ANSWER_SECONDS = 60.0
# Evaluates line by line, so that one client object sees all that a test does meanwhile.
SCRIPT = """
import fcntl, os, signal, sys, threading, time
import numpy as np
import ringfence as rf
for line in sys.stdin:
    try:
        print("=", repr(eval(line)), flush=True)
    except Exception as error:
        print(f"! {type(error).__name__}: {error}", flush=True)
"""


class Peer:
    """A Python process that keeps what it made from one line to the next; `client` is its client."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def ask(self, expression: str) -> str:
        """Evaluates an expression there, and gives its `repr`."""
        answer = self.attempt(expression)
        assert answer.startswith("= "), f"{expression}: {answer}"
        return answer.removeprefix("= ")

    def fail(self, expression: str) -> str:
        """Evaluates an expression that must fail, and gives the error with its type."""
        answer = self.attempt(expression)
        assert answer.startswith("! "), f"{expression}: {answer}"
        return answer.removeprefix("! ")

    def tell(self, expression: str) -> None:
        """Has an expression evaluated, and waits for nothing."""
        assert self.process.stdin is not None
        self.process.stdin.write(expression + "\n")
        self.process.stdin.flush()

    def attempt(self, expression: str) -> str:
        """Evaluates an expression: `= ` and its `repr`, or `! ` and the error."""
        self.tell(expression)
        stdout = self.process.stdout
        assert stdout is not None
        ready, _, _ = select.select([stdout], [], [], ANSWER_SECONDS)
        assert ready, f"no answer within {ANSWER_SECONDS} s: {expression}"
        line = stdout.readline()
        assert line, f"the process ended in: {expression}"
        return line.rstrip("\n")


@contextmanager
def peer(command: Sequence[str], target: str | None = None) -> Iterator[Peer]:
    """Runs a Python program's command, connected to an instance, a path, or what is found."""
    process = subprocess.Popen(
        [*command, "-c", SCRIPT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        bufsize=1,
    )
    someone = Peer(process)
    try:
        someone.ask(f"(client := rf.connect({target!r}))")
        yield someone
    finally:
        _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """By the end of its input: a signal would end what started it in its namespaces, and not it."""
    try:
        process.communicate(timeout=ANSWER_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
