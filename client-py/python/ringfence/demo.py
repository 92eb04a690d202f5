"""The tour that ``python -m ringfence demo`` gives: a private daemon, real data, answers that are
checked, and the time that a call takes next to one that never leaves the process.

It starts a daemon of its own under a name that nobody else uses, and leaves nothing behind.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from itertools import repeat
from typing import TYPE_CHECKING, Any

from ._connect import connect, find_daemon
from ._private import PrivateDaemon, private_daemon

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from ._client import Client

    Rows = NDArray[np.float32]

PATCH = 6
"""Pixels along the side of an image patch; three colours each make 108 numbers."""
QUERIES = 200
ROWS = 20_000
"""Of the patches the demo loads so many; building an index of all takes half a minute."""


def image_patches() -> Rows:
    """134 196 overlapping 6 x 6 colour patches of the two photographs in scikit-learn, as rows of
    108 numbers from 0 to 1."""
    import numpy as np
    import sklearn.datasets  # type: ignore[import-untyped]

    load: Callable[[], Any] = sklearn.datasets.load_sample_images  # type: ignore[unused-ignore]
    parts: list[Rows] = []
    for image in load().images:
        pixels: NDArray[np.uint8] = np.asarray(image, np.uint8)
        windows = np.lib.stride_tricks.sliding_window_view(pixels, (PATCH, PATCH, 3))[::2, ::2]
        rows = windows.reshape(-1, PATCH * PATCH * 3).astype(np.float32)
        parts.append(rows / np.float32(255))
    return np.concatenate(parts)


def run() -> int:
    """Gives the tour; the exit code is 0 if everything was as it should be."""
    binary = find_daemon()
    if binary is None:
        say("`ringfenced` was not found: `make build` builds it, RINGFENCE_BIN names it.")
        return 1
    say("Ringfence runs your Rust core once, and every process calls it as if it were linked in.")
    with private_daemon(binary, name="demo") as daemon:
        step(f"Started a daemon of our own: process {daemon.pid}, instance {daemon.instance}.")
        with daemon.connect(name="demo") as client:
            good = tour(client)
        good &= rust_tour(daemon)
        name = daemon.instance
    left = [entry for entry in os.listdir("/dev/shm") if f".{name}." in entry]
    step(f"Stopped the daemon. Left behind in /dev/shm: {', '.join(left) or 'nothing'}.")
    return 0 if good and not left else 1


def tour(client: Client) -> bool:
    """What one client does in the demo."""
    answer = client.echo(b"hello")
    step(f"client.echo(b'hello') came back as {answer!r}, over shared memory.")
    try:
        good = search_tour(client)
    except ImportError as error:
        step(
            f"No search on real data: {error}. It needs numpy, scikit-learn and pillow, which "
            "`pip install 'ringfence[demo]'` brings."
        )
        good = True
    good &= bus_tour(client)
    catalogue_tour(client)
    latency_tour(client)
    return good and answer == b"hello"


def search_tour(client: Client) -> bool:
    """Nearest neighbours of image patches, checked against numpy."""
    import numpy as np

    patches = image_patches()
    chosen = np.random.default_rng(1).permutation(len(patches))
    rows, queries = patches[chosen[:ROWS]], patches[chosen[ROWS : ROWS + QUERIES]]
    docs = client.vectors.create("patches", dim=rows.shape[1])
    start = time.perf_counter()
    docs.add(np.arange(len(rows), dtype=np.uint64), rows)
    took = time.perf_counter() - start
    step(
        f"Loaded {len(rows):,} patches of two photographs ({rows.shape[1]} numbers each) into the "
        f"daemon and indexed them in {took:.1f} s."
    )
    start = time.perf_counter()
    found = [docs.search(query, k=10) for query in queries]
    each = (time.perf_counter() - start) / len(queries)
    true = exact_neighbours(rows, queries, 10)
    recall = statistics.fmean(
        len(set(hits.ids.tolist()) & set(ids.tolist())) / 10
        for hits, ids in zip(found, true, strict=True)
    )
    seen = statistics.fmean(hits.visited for hits in found) / len(rows)
    step(
        f"Searched {len(queries)} other patches: {each * 1e6:.0f} us each; of the true 10 nearest "
        f"(by numpy, brute force) {recall:.1%} were found, looking at {seen:.1%} of the rows."
    )
    exact = docs.search_batch(queries, k=10, exact=True)
    wide = rows.astype(np.float64)[true] - queries[:, None]
    off = float(np.abs(exact.distances - (wide**2).sum(axis=2)).max())
    step(f"Asked for exact answers, no distance of the daemon is more than {off:.0e} off numpy's.")
    return recall >= 0.9 and off < 1e-4


def exact_neighbours(rows: Rows, queries: Rows, k: int) -> NDArray[np.int64]:
    """The `k` nearest rows of each query by brute force in double precision."""
    import numpy as np

    wide, asked = rows.astype(np.float64), queries.astype(np.float64)
    squares = (wide**2).sum(axis=1)
    nearest: list[NDArray[np.int64]] = []
    for query in asked:
        distances = squares - 2 * (wide @ query)
        few = np.argpartition(distances, k)[:k]
        nearest.append(few[np.argsort(distances[few])])
    return np.array(nearest, np.int64)


LISTENER = """
import sys
import ringfence
client = ringfence.connect(sys.argv[1])
with client.find_topic("demo.ticks").subscribe("oldest") as subscription:
    print("ready", flush=True)
    total = sum(int(subscription.recv().data) for _ in range(int(sys.argv[2])))
print(total)
"""


def bus_tour(client: Client) -> bool:
    """A topic that this process publishes to and two others read, one of which is killed."""
    count = 1000
    ticks = client.topic("demo.ticks", slots=1024, payload_bytes=64)
    command = [sys.executable, "-c", LISTENER, str(client.daemon.socket), str(count)]
    listeners = [
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        for listener in listeners:
            assert listener.stdout is not None
            listener.stdout.readline()
        step("Two other processes have subscribed to a topic. Now one of them is killed with -9.")
        listeners[0].kill()
        with ticks.subscribe() as own:
            start = time.perf_counter()
            for n in range(count):
                ticks.publish(str(n).encode())
            each = (time.perf_counter() - start) / count
            here = sum(int(message.data) for message in own.recv_batch(count, timeout=10))
        there, _ = listeners[1].communicate(timeout=30)
    finally:
        for listener in listeners:
            listener.kill()
            listener.communicate()
    good = here == int(there) == sum(range(count))
    step(
        f"Published {count:,} messages, {each * 1e6:.1f} us each with its place in the order. The other "
        f"process and this one received {'the same, all of them' if good else 'something else'}."
    )
    return good


def catalogue_tour(client: Client) -> None:
    """The engines, as the daemon itself describes them."""
    engines = {name: len(client.engine(name).names) for name in client.engines()}
    counts = ", ".join(f"{name} ({count} methods)" for name, count in engines.items())
    step(f"The daemon's catalogue has {counts}; an engine of yours would be called the same way.")


def latency_tour(client: Client) -> None:
    """What a call costs, next to the same call in this process and to a plain function call."""
    data = b"x" * 24
    calls: dict[str, Callable[[bytes], object]] = {"daemon": client.echo, "python": identity}
    try:
        calls["in process"] = connect("inproc:").echo
    except ImportError:
        pass
    took = medians(calls, data)
    text = f"client.echo of 24 bytes through the daemon takes {took['daemon']:.0f} ns"
    if "in process" in took:
        ratio = took["daemon"] / took["in process"]
        text += f", {ratio:.1f} times the same call in process ({took['in process']:.0f} ns)"
    step(f"{text}. A call of an empty Python function takes {took['python']:.0f} ns.")


def identity(data: bytes) -> bytes:
    """The cheapest function there is."""
    return data


def medians(calls: dict[str, Callable[[bytes], object]], data: bytes) -> dict[str, float]:
    """Nanoseconds a call: the median of many single ones, less what it takes to read the clock. The
    calls take turns, so that whatever else the machine does meets all of them."""
    rounds, length = 40, 500
    took: dict[str, list[int]] = {name: [] for name in calls}
    clock, empty = time.perf_counter_ns, list[int]()
    for _ in range(rounds):
        for name, call in calls.items():
            single = took[name].append
            for _ in repeat(None, length):
                start = clock()
                call(data)
                single(clock() - start)
        for _ in repeat(None, length):
            start = clock()
            empty.append(clock() - start)
    reading = statistics.median(empty)
    return {name: max(statistics.median(times) - reading, 1) for name, times in took.items()}


def rust_tour(daemon: PrivateDaemon) -> bool:
    """The Rust client's own tour against the same daemon, where the source tree has it."""
    program = daemon.binary.parent / "examples" / "tour"
    if not os.access(program, os.X_OK):
        return True
    result = subprocess.run(
        [program],
        env=os.environ | {"RINGFENCE_TARGET": str(daemon.socket)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    step("The same daemon, called from a program in Rust:")
    for line in (result.stdout + result.stderr).splitlines():
        print(f"      {line}")
    return result.returncode == 0


def say(text: str) -> None:
    """One paragraph of the tour."""
    print(text, flush=True)


def step(text: str) -> None:
    """One step of the tour."""
    say(f"  - {text}")


if __name__ == "__main__":
    sys.exit(run())
