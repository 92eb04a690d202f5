"""Topics between processes: publish, subscribe, policies, order, the end of either side."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

import ringfence as rf
from conftest import eventually
from ringfence.testing import PrivateDaemon

LONG = 20.0
"""What nothing here takes, unless it hangs."""


def name() -> str:
    """A topic of a test's own: the daemon is shared."""
    return f"t.{os.urandom(8).hex()}"


def test_what_is_published_is_received_in_order(client: rf.Client) -> None:
    topic = client.topic(name(), payload_bytes=64)
    with topic.subscribe() as subscription:
        places = [topic.publish(str(n).encode(), type_id=n) for n in range(50)]
        messages = [subscription.recv(timeout=LONG) for _ in range(50)]
    assert [m.data for m in messages] == [str(n).encode() for n in range(50)]
    assert [m.position for m in messages] == places == sorted(places)
    assert [m.type_id for m in messages] == list(range(50))
    assert all(m.missed == 0 and m.timestamp > 10**18 for m in messages)
    assert (subscription.counts.received, subscription.counts.missed) == (50, 0)


def test_ids_and_any_buffer(client: rf.Client) -> None:
    topic = client.topic(name())
    subscription = topic.subscribe()
    topic.publish(memoryview(bytearray(b"abc")), trace=2**127, correlation=2**64 + 1)
    message = subscription.recv(timeout=LONG)
    assert (message.data, message.trace, message.correlation) == (b"abc", 2**127, 2**64 + 1)
    with pytest.raises(TypeError, match="buffer protocol"):
        topic.publish("text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(OverflowError):
        topic.publish(b"", type_id=65536)


def test_where_to_start(client: rf.Client) -> None:
    topic = client.topic(name(), slots=8)
    places = [topic.publish(bytes([n])) for n in range(6)]
    assert topic.subscribe("oldest").recv(timeout=LONG).data == b"\x00"
    assert topic.subscribe(places[4]).recv(timeout=LONG).data == b"\x04"
    with pytest.raises(rf.CallTimeout, match="no message within 0"):
        topic.subscribe("newest").recv(timeout=0)
    with pytest.raises(ValueError, match="epoch"):
        topic.subscribe(rf.Position(1, 2))
    with pytest.raises(ValueError, match='"newest", "oldest" or a Position'):
        topic.subscribe("first")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="not int"):
        topic.subscribe(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_missed_messages_are_counted_exactly(client: rf.Client) -> None:
    topic = client.topic(name(), slots=8)
    subscription = topic.subscribe()
    for n in range(100):
        topic.publish(str(n).encode())
    first = subscription.recv(timeout=LONG)
    assert int(first.data) == first.missed > 0
    rest = subscription.recv_batch(100, timeout=0.01)
    assert [int(m.data) for m in rest] == list(range(first.missed + 1, 100))
    counts = subscription.counts
    assert counts.received + counts.missed == 100


def test_buffers_of_a_subscription(client: rf.Client) -> None:
    topic = client.topic(name(), slots=64)
    oldest, newest = topic.subscribe(drop_oldest=4), topic.subscribe(drop_newest=4)
    for n in range(10):
        topic.publish(bytes([n]))
    assert [m.data[0] for m in oldest.recv_batch(4, timeout=0.01)] == [6, 7, 8, 9]
    assert [m.data[0] for m in newest.recv_batch(4, timeout=0.01)] == [0, 1, 2, 3]
    assert (oldest.counts.dropped, newest.counts.dropped) == (6, 6)
    with pytest.raises(ValueError, match="one of the two"):
        topic.subscribe(drop_oldest=1, drop_newest=1)
    with pytest.raises(ValueError, match="65536"):
        topic.subscribe(drop_oldest=0)


def test_batches_end_with_their_time(client: rf.Client) -> None:
    topic = client.topic(name())
    subscription = topic.subscribe()
    assert subscription.recv_batch(100, timeout=0.01) == []
    for n in range(150):
        topic.publish(bytes([n]))
    assert len(subscription.recv_batch(max=100, timeout=0.01)) == 100
    assert len(subscription.recv_batch(max=100, timeout=0.01)) == 50


def test_iteration_ends_with_close(client: rf.Client) -> None:
    topic = client.topic(name())
    subscription = topic.subscribe()
    heard: list[bytes] = []
    done = threading.Event()

    def follow() -> None:
        for message in subscription:
            heard.append(message.data)
            done.set()

    thread = threading.Thread(target=follow)
    thread.start()
    topic.publish(b"one")
    assert done.wait(LONG)
    subscription.close()
    thread.join(LONG)
    assert not thread.is_alive()
    assert heard == [b"one"]
    with pytest.raises(rf.RingfenceError, match="closed"):
        subscription.recv(timeout=0)


def test_what_a_topic_is_and_what_it_refuses(client: rf.Client) -> None:
    called = name()
    topic = client.topic(called, slots=16, payload_bytes=64, policy="block", patience=0.25)
    found = client.find_topic(called)
    for same in (topic, found):
        assert (same.name, same.slots, same.payload_bytes) == (called, 16, 64)
        assert (same.policy, same.patience) == ("block", 0.25)
    with pytest.raises(ValueError, match="exists"):
        client.topic(called, slots=32)
    with pytest.raises(KeyError, match=called):
        client.find_topic("nobody.made.this")
    with pytest.raises(ValueError, match="power of two"):
        client.topic(name(), slots=3)
    with pytest.raises(ValueError, match='"overwrite", "block" or "reject"'):
        client.topic(name(), policy="drop")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="65 bytes"):
        topic.publish(bytes(65))
    with pytest.raises(RuntimeError, match="nobody has subscribed"):
        topic.publish(b"", must_be_heard=True)


def test_policies(client: rf.Client) -> None:
    reject = client.topic(name(), slots=4, policy="reject")
    subscription = reject.subscribe()
    for n in range(4):
        reject.publish(bytes([n]))
    with pytest.raises(rf.Backpressure, match="4 messages behind"):
        reject.publish(b"")
    assert subscription.recv(timeout=LONG).data == b"\x00"
    reject.publish(b"\x04")

    block = client.topic(name(), slots=4, policy="block", patience=LONG)
    reader = block.subscribe()
    publisher = threading.Thread(target=lambda: [block.publish(bytes([n])) for n in range(100)])
    publisher.start()
    assert [reader.recv(timeout=LONG).data[0] for _ in range(100)] == list(range(100))
    publisher.join(LONG)

    impatient = client.topic(name(), slots=4, policy="block", patience=0.02)
    laggard = impatient.subscribe()
    for n in range(10):
        impatient.publish(bytes([n]))
    with pytest.raises(RuntimeError, match="cut off"):
        while True:
            laggard.recv(timeout=LONG)


def test_many_at_once(client: rf.Client) -> None:
    topic = client.topic(name(), slots=4096)
    subscription = topic.subscribe()
    assert topic.publish_many(str(n).encode() for n in range(3000)) == 3000
    batch = subscription.recv_batch(3000, timeout=LONG)
    assert [int(m.data) for m in batch] == list(range(3000))
    with pytest.raises(ValueError, match="bytes"):
        topic.publish_many([b"short", bytes(100_000), b"short again"])
    assert [m.data for m in subscription.recv_batch(2, timeout=LONG)] == [b"short", b"short again"]


def test_a_listener_survives_its_callback(
    client: rf.Client, caplog: pytest.LogCaptureFixture
) -> None:
    topic = client.topic(name())
    heard: list[bytes] = []

    def hear(message: rf.Message) -> None:
        heard.append(bytes(message.data))
        if message.data == b"1":
            raise LookupError("of the callback")

    with rf.Listener(topic.subscribe(), hear) as listener:
        for n in range(3):
            topic.publish(str(n).encode())
        eventually(lambda: len(heard) == 3, "all were heard")
        assert listener.errors == 1
    topic.publish(b"after the end")
    assert heard == [b"0", b"1", b"2"]
    assert "of the callback" in caplog.text
    known, ended = threading.Event(), threading.Event()
    own: list[rf.Listener] = []

    def end_oneself(_: rf.Message) -> None:
        assert known.wait(LONG)
        own[0].close()
        ended.set()

    own.append(rf.Listener(topic.subscribe("oldest"), end_oneself))
    known.set()
    assert ended.wait(LONG), "a callback may close its own listener"
    with pytest.raises(TypeError, match="callable"):
        rf.Listener(topic.subscribe(), 3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


PEER = """
import sys
import ringfence as rf

client = rf.connect(sys.argv[1])
topic = client.find_topic(sys.argv[2])
subscription = topic.subscribe("oldest")
print("ready", flush=True)
for message in subscription:
    print(message.position.sequence, message.data.decode(), flush=True)
"""


def test_another_process_receives_and_its_death_harms_nobody(daemon: PrivateDaemon) -> None:
    called = name()
    with daemon.connect() as client:
        topic = client.topic(called, policy="reject", slots=64)
        peer = subprocess.Popen(
            [sys.executable, "-c", PEER, str(daemon.socket), called], stdout=subprocess.PIPE, text=True
        )
        assert peer.stdout is not None
        try:
            assert peer.stdout.readline() == "ready\n"
            for n in range(1000):
                topic.publish(str(n).encode(), timeout=LONG)
                assert peer.stdout.readline() == f"{n} {n}\n"
        finally:
            peer.send_signal(signal.SIGKILL)
            peer.wait()
            peer.stdout.close()
        eventually(lambda: topic.stats().subscriptions == 0, "the dead one is forgotten")
        for n in range(1000):
            topic.publish(b"nobody waits for the dead")


def test_long_messages_are_read_where_they_lie(daemon: PrivateDaemon) -> None:
    with daemon.connect() as client:
        topic = client.topic(name(), slots=16, blocks=4, block_bytes=1 << 20)
        assert (topic.blocks, topic.block_bytes) == (4, 1 << 20)
        subscription = topic.subscribe()
        sent = np.arange(100_000, dtype=np.float32)
        topic.publish(sent)
        data = subscription.recv(timeout=LONG).data
        assert isinstance(data, memoryview)
        assert data.readonly
        array = np.frombuffer(data, dtype=np.float32)
        assert (array == sent).all()
        assert in_mapping(array.ctypes.data, ".topic")
        # Short ones still are bytes, and go by it.
        for n in range(3):
            topic.publish(sent + n)
            assert (np.frombuffer(subscription.recv(timeout=LONG).data, np.float32)[0]) == n
        for n in range(20):
            topic.publish(sent + n)
        assert (array == sent).all(), "a block that is held is not used again"
        subscription.close()
        client.close()
        with daemon.connect() as other:
            again = other.find_topic(topic.name)
            for n in range(20):
                again.publish(sent + n)
        assert (array == sent).all(), "nor when its client is closed"


def test_held_blocks_run_out_with_a_clear_error(daemon: PrivateDaemon) -> None:
    with daemon.connect() as client:
        topic = client.topic(name(), slots=16, blocks=2, block_bytes=1 << 16)
        subscription = topic.subscribe()
        held = []
        for n in range(2):
            topic.publish(bytes([n]) * 60_000)
            held.append(subscription.recv(timeout=LONG).data)
        with pytest.raises(rf.Backpressure, match="hold all 2 blocks"):
            topic.publish(bytes(60_000))
        topic.publish(b"short ones go on")
        held.clear()
        topic.publish(bytes(60_000))


def in_mapping(address: int, kind: str) -> bool:
    with open("/proc/self/maps") as maps:
        for line in maps:
            start, end = (int(part, 16) for part in line.split()[0].split("-"))
            if start <= address < end:
                return kind in line
    return False


def test_asyncio(daemon: PrivateDaemon) -> None:
    async def main() -> None:
        async with rf.aio.connect(str(daemon.socket)) as client:
            topic = await client.topic(name(), slots=64)
            subscription = await topic.subscribe()
            with pytest.raises(rf.CallTimeout):
                await subscription.recv(timeout=0.01)
            # One that waits is woken by a publish of another process's client.
            waiting = asyncio.ensure_future(subscription.recv())
            await asyncio.sleep(0.05)
            assert not waiting.done()
            with daemon.connect() as other:
                found = await asyncio.to_thread(other.find_topic, topic.name)
                await asyncio.to_thread(found.publish, b"from a thread")
                assert (await waiting).data == b"from a thread"
            places = [await topic.publish(bytes([n]), type_id=n) for n in range(20)]
            got = [await subscription.recv() for _ in range(20)]
            assert [m.position for m in got] == places
            assert [m.type_id for m in got] == list(range(20))
            for n in range(100):
                await topic.publish(str(n).encode())
            first = await subscription.recv()
            assert int(first.data) == first.missed > 0
            with pytest.raises(KeyError):
                await client.find_topic("nobody.made.this")
            heard = []
            late = await topic.subscribe("oldest")
            async for message in late:
                heard.append(message)
                if len(heard) == 10:
                    late.close()
            assert len(heard) == 10
            # Two tasks, one message each.
            pair = await topic.subscribe()
            both = asyncio.gather(pair.recv(), pair.recv())
            await asyncio.sleep(0)
            await topic.publish(b"1")
            await topic.publish(b"2")
            assert sorted(m.data for m in await both) == [b"1", b"2"]
            cancelled = asyncio.ensure_future(pair.recv())
            await asyncio.sleep(0.01)
            cancelled.cancel()
            await topic.publish(b"3")
            assert (await pair.recv()).data == b"3"

    asyncio.run(main())


def test_a_forked_child_is_told_to_subscribe_anew(daemon: PrivateDaemon) -> None:
    with daemon.connect() as client:
        topic = client.topic(name())
        subscription = topic.subscribe()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                subscription.recv(timeout=0)
            except rf.ForkedSession:
                topic.publish(b"from the child")
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert subscription.recv(timeout=LONG).data == b"from the child"


def test_the_daemon_restarts(trial: PrivateDaemon) -> None:
    with trial.connect() as client:
        topic = client.topic("t", slots=8)
        subscription = topic.subscribe()
        before = topic.publish(b"before")
        trial.kill()
        trial.start()
        assert subscription.recv(timeout=LONG).position == before
        with pytest.raises(rf.DaemonRestarted):
            subscription.recv(timeout=LONG)
        after = topic.publish(b"after")
        assert after.epoch > before.epoch
        while True:
            try:
                message = subscription.recv(timeout=LONG)
                break
            except rf.DaemonRestarted:
                continue
        assert (message.data, message.position) == (b"after", after)


def test_a_task_that_only_listens_finds_the_next_daemon(trial: PrivateDaemon) -> None:
    async def main() -> None:
        async with rf.aio.connect(str(trial.socket)) as client:
            topic = await client.topic("t", slots=8)
            subscription = await topic.subscribe()
            await asyncio.to_thread(trial.kill)
            await asyncio.to_thread(trial.start)
            with pytest.raises(rf.DaemonRestarted):
                await subscription.recv(timeout=LONG)
            waiting = asyncio.ensure_future(subscription.recv(timeout=LONG))
            with await asyncio.to_thread(trial.connect) as other:
                found = await asyncio.to_thread(other.topic, "t", slots=8)
                await asyncio.to_thread(found.publish, b"after")
                assert (await waiting).data == b"after"

    asyncio.run(main())


def test_a_message_that_meets_a_cancel_is_not_lost(daemon: PrivateDaemon) -> None:
    async def main() -> None:
        async with rf.aio.connect(str(daemon.socket)) as client:
            topic = await client.topic(name(), slots=1024)
            subscription = await topic.subscribe()
            heard: list[int] = []

            async def hear(count: int) -> None:
                while len(heard) < count:
                    try:
                        # So short that many end in the moment in which a message comes.
                        heard.append(int((await subscription.recv(timeout=0.0005)).data))
                    except rf.CallTimeout:
                        await asyncio.sleep(0)

            hearing = asyncio.ensure_future(hear(300))
            for n in range(300):
                await topic.publish(str(n).encode())
                await asyncio.sleep(0.0005)
            await asyncio.wait_for(hearing, LONG)
            assert heard == list(range(300))

    asyncio.run(main())


def test_who_always_spins_notices_time_close_and_ctrl_c(daemon: PrivateDaemon) -> None:
    with daemon.connect(spin="always") as client:
        topic = client.topic(name())
        subscription = topic.subscribe()
        with pytest.raises(rf.CallTimeout):
            subscription.recv(timeout=0.02)
        closer = threading.Timer(0.05, subscription.close)
        closer.start()
        assert list(subscription) == []
        closer.join(LONG)
        assert topic.publish_many([b"x" * 150] * 1000) == 1000
