"""Users of a booted machine, each with a client in a process of their own."""

from __future__ import annotations

import select
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from machine import Machine

ANSWER_SECONDS = 60.0
# Evaluates line by line, so that one client object sees all that a test does meanwhile.
CLIENT = """
import sys
import ringfence as rf
for line in sys.stdin:
    try:
        print("=", repr(eval(line)), flush=True)
    except Exception as error:
        print(f"! {type(error).__name__}: {error}", flush=True)
"""


class Person:
    """A Python process of a user, which keeps what it made from one line to the next."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

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

    def attempt(self, expression: str) -> str:
        """Evaluates an expression: `= ` and its `repr`, or `! ` and the error."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        stdin.write(expression + "\n")
        stdin.flush()
        ready, _, _ = select.select([stdout], [], [], ANSWER_SECONDS)
        assert ready, f"no answer within {ANSWER_SECONDS} s: {expression}"
        line = stdout.readline()
        assert line, f"the process ended in: {expression}"
        return line.rstrip("\n")


@contextmanager
def person(machine: Machine, user: str, target: str | None = None) -> Iterator[Person]:
    """A user's process with `client`, connected to an instance or to what is found."""
    process = subprocess.Popen(
        machine.command([machine.python, "-c", CLIENT], user),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        bufsize=1,
    )
    someone = Person(process)
    try:
        someone.ask(f"(client := rf.connect({target!r}))")
        yield someone
    finally:
        end(process)


def end(process: subprocess.Popen[str]) -> None:
    """Ends it by the end of its input: a signal would reach the one that started it there only."""
    try:
        process.communicate(timeout=ANSWER_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
