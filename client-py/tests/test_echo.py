"""The simplest calls: echo in every size and type, in batches, ping, timeouts."""

from __future__ import annotations

import array
import random
from collections.abc import Iterator

import numpy as np
import pytest

import ringfence as rf

# Around every border that payloads cross: slot, block, arena, leased reply, bulk segment.
SIZES = [0, 1, 7, 24, 215, 216, 217, 4095, 4096, 4097, 65535, 65536, 65537, 300_000, 5_000_000]


@pytest.mark.parametrize("size", SIZES)
def test_every_size_comes_back(client: rf.Client, size: int) -> None:
    data = random.Random(size).randbytes(size)
    answer = client.echo(data)
    assert type(answer) is bytes
    assert answer == data


@pytest.mark.parametrize(
    "data",
    [
        bytearray(b"abc"),
        memoryview(b"abcdef")[2:],
        memoryview(b""),
        array.array("d", [1.0, 2.0]),
        np.arange(5, dtype=np.int16),
        np.arange(12, dtype=np.float32).reshape(3, 4),
    ],
)
def test_anything_with_a_buffer_goes_in(client: rf.Client, data: memoryview) -> None:
    assert client.echo(data) == bytes(memoryview(data).cast("B") if len(data) else b"")


def test_what_is_not_contiguous_names_the_fix(client: rf.Client) -> None:
    with pytest.raises(TypeError, match=r"data is not contiguous.*numpy\.ascontiguousarray\(data\)"):
        client.echo(np.arange(10)[::2])
    with pytest.raises(TypeError, match="not contiguous"):
        client.echo(memoryview(b"abcdef")[::-1])


@pytest.mark.parametrize("data", ["text", 5, None, [1, 2]])
def test_what_has_no_buffer_is_a_type_error(client: rf.Client, data: object) -> None:
    with pytest.raises(TypeError, match=f"buffer protocol, not {type(data).__name__}"):
        client.echo(data)  # type: ignore[arg-type] # pyright: ignore


def test_many_come_back_in_order(client: rf.Client) -> None:
    items = [index.to_bytes(4, "little") for index in range(10_000)]
    assert client.echo_many(items) == items
    assert client.echo_many([]) == []


def test_many_of_any_size_and_from_any_iterable(client: rf.Client) -> None:
    generator = random.Random(7)
    items = [generator.randbytes(generator.choice((0, 24, 216, 1000, 20_000))) for _ in range(400)]

    def each() -> Iterator[bytearray]:
        yield from map(bytearray, items)

    assert client.echo_many(each()) == items


def test_many_stops_at_the_first_wrong_item(client: rf.Client) -> None:
    with pytest.raises(TypeError, match="item must be bytes"):
        client.echo_many([b"fine", 5])  # type: ignore[list-item] # pyright: ignore
    assert client.echo(b"still works") == b"still works"


def test_ping(client: rf.Client) -> None:
    client.ping()
    client.ping(timeout=5)


@pytest.mark.parametrize("timeout", [None, 10, 10.0, float("inf"), 1e300, ..., np.float64(3)])
def test_timeouts_are_seconds_or_none(client: rf.Client, timeout: float) -> None:
    assert client.echo(b"x", timeout=timeout) == b"x"


@pytest.mark.parametrize("timeout", [-1, float("nan"), -0.5])
def test_a_timeout_below_zero_is_refused(client: rf.Client, timeout: float) -> None:
    with pytest.raises(ValueError, match="give seconds from 0 up, or None to wait for ever"):
        client.echo(b"x", timeout=timeout)


def test_a_timeout_is_a_number(client: rf.Client) -> None:
    with pytest.raises(TypeError, match=r"timeout must be seconds or None \(for ever\), not str"):
        client.echo(b"x", timeout="soon")  # type: ignore[arg-type] # pyright: ignore


def test_stats_count_the_calls(client: rf.Client) -> None:
    stats = client.stats()
    assert stats.pid == client.daemon.pid
    assert stats.version == client.daemon.version
    assert stats._fields[0] == "uptime_ms"
