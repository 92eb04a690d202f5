"""Every fenced block of the documents that the project grew from: the usage snippets run over
``ringfence.compat`` with nothing but their imports changed, and docs/seeds.md tells of each.

``seeds/mycelium.json`` has for each block its place, its first line and a digest, so that none is left
out and a snippet here is known to be the document's.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from documents import ROOT
from ringfence import topology
from test_compat import package  # noqa: F401  (a fixture)

SEEDS = Path(__file__).parent / "seeds"
BLOCKS: list[dict[str, Any]] = json.loads((SEEDS / "mycelium.json").read_text())
SNIPPETS = {path.stem: path for path in sorted((SEEDS / "mycelium").iterdir())}

SERVICES = ["event-processor", "ml-pipeline", "ml-service", "python-ml-model", "worker"]
TOPOLOGY = f'[[nodes]]\nname = "main"\nservices = {json.dumps(SERVICES)}\n'

# What the snippets take for granted: messages, and a way to see what arrives.
PRELUDE = """
import os, queue, signal, sys, threading, types
from typing import Annotated
from ringfence.compat.mycelium_native import Runtime
from ringfence.messages import F64, U64, Message, Wire, message

Floats = Annotated[list[float], Wire("Vec<f64>(8)")]
Bytes = Annotated[bytes, Wire("bytes(64)")]
Word = Annotated[str, Wire("String(16)")]

@message(type_id=2401)
class MarketData(Message):
    price: F64

@message(type_id=2402)
class ProcessedData(Message):
    result: F64

@message(type_id=2403)
class PredictionRequest(Message):
    id: U64
    features: Floats

@message(type_id=2404)
class PredictionResponse(Message):
    request_id: U64
    prediction: F64

@message(type_id=2405)
class Features(Message):
    symbol: Word
    features: Floats

@message(type_id=2406)
class Prediction(Message):
    symbol: Word
    score: F64

@message(type_id=2407)
class Input(Message):
    data: Bytes

@message(type_id=2408)
class Result(Message):
    data: Bytes

other = Runtime()

def arriving(cls):
    inbox = queue.Queue()
    other.subscribe(cls, inbox.put)
    return inbox

def get(inbox):
    return inbox.get(timeout=20)
"""

RUN = """
try:
    exec(compile(open(sys.argv[1]).read(), sys.argv[1], "exec"), globals())
except KeyboardInterrupt:
    print("interrupted")
"""


class Case(NamedTuple):
    """What stands around a snippet, and what all of it prints."""

    before: str = ""
    after: str = ""
    prints: str = ""


TRADE = """
from mycelium_protocol.messages import TradeSignal
trades = arriving(TradeSignal)
"""

CASES = {
    "02": Case(after="assert runtime.closed"),
    "03": Case(TRADE, 'assert get(trades) == TradeSignal("BTC", "buy") and runtime.closed'),
    "08": Case(
        """
def process(msg):
    return 2 * msg.price

def drive():
    while True:
        other.publish(MarketData(21.0))
        try:
            print(results.get(timeout=0.05).result)
            break
        except queue.Empty:
            pass
    os.kill(os.getpid(), signal.SIGINT)

results = arriving(ProcessedData)
threading.Thread(target=drive, daemon=True).start()
""",
        "runtime.close()",
        "42.0\ninterrupted\n",
    ),
    "09": Case(
        "model = types.SimpleNamespace(predict=sum)\nanswers = arriving(PredictionResponse)",
        "other.publish(PredictionRequest(7, [1.0, 2.5]))\nprint(get(answers))",
        "PredictionResponse(request_id=7, prediction=3.5)\n",
    ),
    "10": Case(
        """
import contextlib
torch = sys.modules["torch"] = types.ModuleType("torch")
torch.no_grad = contextlib.nullcontext
torch.load = lambda path: lambda features: types.SimpleNamespace(item=lambda: sum(features))
predictions = arriving(Prediction)
""",
        'other.publish(Features("BTC", [0.5, 0.25]))\nprint(get(predictions))',
        "Prediction(symbol='BTC', score=0.75)\n",
    ),
    "13": Case(
        """
runtime = Runtime()
results = arriving(Result)

def expensive_computation(msg):
    return msg.data[::-1]
""",
        """
runtime.subscribe(Input, fast_handler)
other.publish(Input(b"abc"))
print(get(results).data)
slow_handler(Input(b"xyz"))
print(get(results).data)
executor.shutdown()
""",
        "b'cba'\nb'zyx'\n",
    ),
    "14": Case(
        """
runtime = Runtime()
results = arriving(Result)
sizes = []

def predict_batch(batch):
    sizes.append(len(batch))
    return [Result(msg.data) for msg in batch]

model = types.SimpleNamespace(predict_batch=predict_batch)
""",
        """
for number in range(250):
    other.publish(Input(str(number).encode()))
print([int(get(results).data) for _ in range(250)] == list(range(250)), max(sizes) <= 100)
""",
        "True True\n",
    ),
    "15": Case(
        "runtime = Runtime()\nresults = arriving(Result)\nprocess = lambda arr: 2 * arr",
        """
runtime.subscribe(Input, handle_array_data)
other.publish(Input(np.arange(4, dtype=np.float32).tobytes()))
print(np.frombuffer(get(results).data, dtype=np.float32))
""",
        "[0. 2. 4. 6.]\n",
    ),
    "16": Case("Runtime(schema_digest=bytes(32))", prints="Schema mismatch: schema digest mismatch: *"),
    "17": Case(prints="Topology error: Service unknown-service is on no node of the topology; *"),
    "18": Case(
        after="""
import time
threading.Timer(0, os.kill, (os.getpid(), signal.SIGTERM)).start()
while True:
    time.sleep(1)
""",
        prints="Shutting down...\n",
    ),
    "20": Case(
        TRADE + 'msg = TradeSignal("ETH", "sell")\n'
        "from ringfence.compat.mycelium_protocol import SCHEMA_DIGEST\n",
        "assert [get(trades) for _ in range(2)] == [msg, msg]",
    ),
}


def run(program: str, snippet: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a program in a folder with a topology and the package of generated classes."""
    (folder / "topology.toml").write_text(TOPOLOGY)
    return subprocess.run(
        [sys.executable, "-c", program, str(snippet)],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("number", CASES)
def test_snippet(number: str, package: Path) -> None:  # noqa: F811
    before, after, prints = CASES[number]
    result = run("\n".join((PRELUDE, before, RUN, after)), SNIPPETS[number], package)
    assert (result.returncode, result.stderr) == (0, "")
    assert re.fullmatch(re.escape(prints).replace(r"\*", ".*\n"), result.stdout), result.stdout


HYBRID = """
def LocalMetric(_):
    return MarketData(1.0)

def StrategyCommand(_):
    return ProcessedData(2.0)

commands = arriving(ProcessedData)
"""


def test_the_hybrid_snippet_runs_on_one_node_and_says_what_it_needs_for_two(
    package: Path,  # noqa: F811
) -> None:
    program = "\n".join((PRELUDE, HYBRID, RUN, "print(get(commands))"))
    near = run(program, SNIPPETS["06"], package)
    assert (near.returncode, near.stdout, near.stderr) == (0, "ProcessedData(result=2.0)\n", "")
    far = program.replace(RUN, f"open('topology.toml', 'w').write({SNIPPETS['05'].read_text()!r}){RUN}")
    refused = run(far, SNIPPETS["06"], package)
    assert refused.returncode == 1
    assert "rust-strategy by tcp 10.0.2.20:9092: that needs the bridge" in refused.stderr


def test_the_snippet_that_leaves_sockets(package: Path) -> None:  # noqa: F811
    """Its first half connects to a socket that nobody has here; its second half needs none."""
    prelude = """
from ringfence.compat.mycelium_protocol import SCHEMA_DIGEST
callback = print
Message = lambda _: MarketData(1.0)
Message.TYPE_ID, Message.from_bytes = MarketData.TYPE_ID, MarketData.from_bytes
"""
    first, second = SNIPPETS["19"].read_text().split("# After")
    nobody = "DaemonUnavailable: no daemon listens at /tmp/mycelium/worker.sock"
    for half, code, said in ((first, 1, nobody), (f"#{second}", 0, "")):
        file = package / "half.py"
        file.write_text(half)
        done = run("\n".join((PRELUDE, prelude, RUN)), file, package)
        assert done.returncode == code and said in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("number", "source", "ways"),
    [
        ("04", "rust-strategy", {"python-ml-model": "local", "rust-executor": "local"}),
        ("05", "python-ml-model", {"rust-strategy": "tcp 10.0.2.20:9092"}),
        ("07", "rust-collector", {"python-alerter": "local", "rust-aggregator": "local"}),
        (
            "12",
            "python-alerter",
            {
                "python-ml-model": "unix /tmp/mycelium/ml-node.sock",
                "rust-strategy": "tcp 10.0.2.20:9092",
                "python-alerter": "local",
            },
        ),
    ],
)
def test_topology(number: str, source: str, ways: dict[str, str]) -> None:
    known = topology.load(SNIPPETS[number])
    assert {to: str(known.route(source, to)) for to in ways} == ways
    assert source in known.services


def test_the_topology_that_is_none() -> None:
    """It shows all kinds of endpoints of one node, one below the other."""
    with pytest.raises(RuntimeError, match="line 13, column 10: duplicate key, in: endpoint.kind"):
        topology.load(SNIPPETS["11"])


def test_the_snippets_are_those_of_the_document() -> None:
    """But for the imports, which have `ringfence.compat.` before them."""
    for block in BLOCKS:
        snippet = SNIPPETS.get(f"{block['number']:02}")
        assert (snippet is None) == (block["language"] == "text")
        if snippet is not None:
            text = snippet.read_text().replace("from ringfence.compat.", "from ")
            assert hashlib.sha256(text.encode()).hexdigest() == block["sha256"], snippet


def rows(title: str) -> list[list[str]]:
    """The cells of the table under a title of docs/seeds.md."""
    text = (ROOT / "docs" / "seeds.md").read_text()
    part = re.split(r"^## ", text.split(f"\n## {title}\n")[1], flags=re.M)[0]
    lines = re.findall(r"^\| (\d.*) \|$", part, re.M)
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)] for line in lines]


def test_the_page_tells_of_every_block() -> None:
    """In order, with its place, its first line and a test that exists, or the reason why there is none."""
    told = rows("Mycelium")
    assert [row[:3] for row in told] == [
        [str(block["number"]), block["section"], f"`{block['first']}`" if block["first"] else "-"]
        for block in BLOCKS
    ]
    for row, block in zip(told, BLOCKS, strict=True):
        tests = re.findall(r"`(test_\w+)(?:\[(\d+)\])?`", row[3])
        assert tests or row[3].startswith("none: "), row
        for name, number in tests:
            assert name in globals()
            assert not number or f"{block['number']:02}" == number
            assert name != "test_snippet" or number in CASES
