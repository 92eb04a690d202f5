"""The Python half of the benchmarks: times calls on behalf of the harness, which starts it.

One request a line on standard input, one reply a line on standard output, both JSON:
{"setup": {"case": ..., "target": ..., "library": ...}} and {"run": {"case": ..., "samples": ...}},
answered by {"samples": {"calls": ..., "ns": [...]}}, {"skip": reason} or {"error": text}.
A sample is the time of `calls` calls in a loop, the loop included, the same for every case.
Ends with its input. It starts no daemon and decides nothing about what is good enough.
"""

from __future__ import annotations

import gc
import importlib.machinery
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import repeat
from time import perf_counter_ns
from typing import Any

PAYLOAD = b"x" * 24
# Reading the clock costs 40 ns here, a bare call 40 ns: over 100 calls that is 1 %.
CALLS = 100
CHECKED_CALLS = 1_000
# Of one echo_many.
MANY = 10_000
TIMED_IMPORT = (
    "from time import perf_counter_ns as now; start = now(); import ringfence; print(now() - start)"
)

Samples = dict[str, Any]
Timer = Callable[[int], Samples]


class Skip(Exception):
    """The case cannot run here; the text says why."""


def echo_timer(
    echo: Callable[[Any], Any], calls: int = CALLS, pack: Callable[[bytes], Any] = bytes
) -> Timer:
    """Checks an echo of what `pack` makes of 24 bytes, then returns what times it."""
    for number in range(CHECKED_CALLS):
        sent = number.to_bytes(24, "little")
        got = echo(pack(sent))
        if bytes(got) != sent:
            raise AssertionError(f"echo of {sent!r} answered {got!r}")

    def timer(samples: int) -> Samples:
        payload = pack(PAYLOAD)
        batches = []
        for _ in range(samples):
            start = perf_counter_ns()
            for _ in repeat(None, calls):
                echo(payload)
            batches.append(perf_counter_ns() - start)
        return {"calls": calls, "ns": batches}

    return timer


def import_ringfence() -> Any:
    """The package under test, or a reason to skip."""
    try:
        import ringfence
    except ImportError as error:
        raise Skip(f"{error}; pip install the ringfence wheel for --python") from error
    return ringfence


def setup_bare_echo(request: dict[str, Any]) -> Timer:
    """Loads the extension from where cargo put it."""
    loader = importlib.machinery.ExtensionFileLoader("pyo3_echo", request["library"])
    spec = importlib.util.spec_from_file_location("pyo3_echo", loader=loader)
    if spec is None:
        raise Skip(f"{request['library']} is no extension module")
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return echo_timer(module.echo)


def setup_inproc_echo(_request: dict[str, Any]) -> Timer:
    """The whole client, with the core in this process."""
    client = import_ringfence().connect("inproc:")
    return echo_timer(client.echo)


def setup_echo(request: dict[str, Any]) -> Timer:
    """The whole client, with the core in the daemon."""
    client = import_ringfence().connect(request["target"])
    return echo_timer(client.echo)


def setup_echo_many(request: dict[str, Any]) -> Timer:
    """Many calls in one crossing."""
    client = import_ringfence().connect(request["target"])
    sent = [number.to_bytes(24, "little") for number in range(MANY)]
    got = client.echo_many(sent)
    if got != sent:
        raise AssertionError("echo_many answered something else")
    payloads = [PAYLOAD] * MANY

    def timer(samples: int) -> Samples:
        batches = []
        for _ in range(samples):
            start = perf_counter_ns()
            answers = client.echo_many(payloads)
            batches.append(perf_counter_ns() - start)
            if answers.count(PAYLOAD) != MANY:
                raise AssertionError(f"{answers.count(PAYLOAD)} of {MANY} answers were right")
        return {"calls": MANY, "ns": batches}

    return timer


def setup_import(_request: dict[str, Any]) -> Timer:
    """A fresh interpreter a sample; only its import statement is timed."""
    import_ringfence()

    def timer(samples: int) -> Samples:
        command = [sys.executable, "-c", TIMED_IMPORT]
        runs = (subprocess.run(command, check=True, capture_output=True) for _ in range(samples))
        return {"calls": 1, "ns": [int(run.stdout) for run in runs]}

    return timer


SETUPS: dict[str, Callable[[dict[str, Any]], Timer]] = {
    "pyo3-bare-echo": setup_bare_echo,
    "python-inproc-echo": setup_inproc_echo,
    "python-echo": setup_echo,
    "python-echo-many": setup_echo_many,
    "python-import": setup_import,
}


def answer(line: str, timers: dict[str, Timer]) -> dict[str, Any]:
    """Does what one line asks for."""
    try:
        ((verb, request),) = json.loads(line).items()
        case = request["case"]
        if verb == "setup":
            timers[case] = SETUPS[case](request)
            return {"samples": {"calls": 1, "ns": []}}
        return {"samples": timers[case](request["samples"])}
    except Skip as reason:
        return {"skip": str(reason)}
    except Exception as error:  # Whatever it is, the harness has to print it.
        return {"error": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Serves the harness on the core named by the only argument."""
    os.sched_setaffinity(0, {int(sys.argv[1])})
    # A collection in a batch would be charged to one call in a hundred.
    gc.disable()
    timers: dict[str, Timer] = {}
    for line in sys.stdin:
        print(json.dumps(answer(line, timers)), flush=True)


if __name__ == "__main__":
    main()
