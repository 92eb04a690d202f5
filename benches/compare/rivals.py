"""Both halves of the rivals that are used from Python, each in its fastest documented mode.

`rivals.py CORE` is the near half of one rival: the driver `../python/bench.py` with other cases,
whose target is a directory. `rivals.py CORE NAME DIRECTORY` is the far half: it says that it is
ready and answers until it is killed. Whatever they leave in the directory or below its name in
/dev/shm, `src/place.rs` removes.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from multiprocessing.connection import Client, Listener
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).parent.parent / "python"))

import bench  # noqa: E402

PR_SET_PDEATHSIG = 1
# All but iceoryx2 take so long that reading a clock for each call goes unnoticed.
EACH = 1

Echo = Callable[[bytes], bytes]
Far = Callable[[str], None]


class Words(ctypes.Structure):
    """24 bytes, as iceoryx2 for Python carries them."""

    _fields_ = [("words", ctypes.c_uint64 * 3)]


def ready() -> None:
    """The harness waits for this line."""
    print("ready", flush=True)


def socket_in(directory: str) -> str:
    """Where both halves of a rival on a Unix socket meet."""
    return f"{directory}/echo.sock"


# --- iceoryx2: both sides poll; send_copy is one crossing into Rust where a loan is three.


def iceoryx2_service(directory: str) -> tuple[Any, Any]:
    """A node whose files have this run's name, and the service, as its benchmarks set it up."""
    import iceoryx2 as iox2

    iox2.set_log_level(iox2.LogLevel.Error)
    config = iox2.config.default()
    config.global_cfg.root_path = iox2.Path.new(directory)
    config.global_cfg.prefix = iox2.FileName.new(f"{Path(directory).name}.")
    node = iox2.NodeBuilder.new().config(config).create(iox2.ServiceType.Ipc)
    service = node.service_builder(iox2.ServiceName.new("echo")).request_response(Words, Words)
    service = service.max_servers(1).max_clients(1).max_response_buffer_size(1)
    return node, service.open_or_create()


def iceoryx2_far(directory: str) -> None:
    _node, service = iceoryx2_service(directory)
    receive = service.server_builder().create().receive
    ready()
    while True:
        request = receive()
        if request is not None:
            request.send_copy(request.payload().contents)
            request.delete()


def iceoryx2_near(request: dict[str, Any]) -> bench.Timer:
    node, service = iceoryx2_service(request["target"])
    client = service.client_builder().create()

    def call(payload: Words, _keep: Any = node) -> Any:
        receive = client.send_copy(payload).receive
        response = receive()
        while response is None:
            response = receive()
        return response.payload().contents

    return bench.echo_timer(call, pack=Words.from_buffer_copy)


# --- multiprocessing: what Pipe() returns is such a Connection over a Unix socket, too.


def pipe_far(poll: bool) -> Far:
    def serve(directory: str) -> None:
        with Listener(socket_in(directory), "AF_UNIX") as listener:
            ready()
            connection = listener.accept()
        while True:
            while poll and not connection.poll():
                pass
            connection.send_bytes(connection.recv_bytes())

    return serve


def pipe_near(poll: bool) -> Callable[[dict[str, Any]], bench.Timer]:
    def setup(request: dict[str, Any]) -> bench.Timer:
        connection = Client(socket_in(request["target"]), "AF_UNIX")

        def call(payload: bytes) -> bytes:
            connection.send_bytes(payload)
            while poll and not connection.poll():
                pass
            return connection.recv_bytes()

        return bench.echo_timer(call, EACH)

    return setup


# --- ZeroMQ: a thread of its own serves its sockets; polling would only keep it from the core.


def zmq_far(directory: str) -> None:
    import zmq

    socket = zmq.Context().socket(zmq.DEALER)
    socket.bind(f"ipc://{socket_in(directory)}")
    ready()
    while True:
        socket.send(socket.recv())


def zmq_near(request: dict[str, Any]) -> bench.Timer:
    import zmq

    socket = zmq.Context().socket(zmq.DEALER)
    socket.connect(f"ipc://{socket_in(request['target'])}")

    def call(payload: bytes) -> bytes:
        socket.send(payload)
        return socket.recv()

    return bench.echo_timer(call, EACH)


# --- gRPC: bytes as they are; its guide names an open stream where calls are too slow.


def grpc_far(directory: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    import grpc

    def unary(request: bytes, _context: Any) -> bytes:
        return request

    def stream(requests: Iterator[bytes], _context: Any) -> Iterator[bytes]:
        yield from requests

    handlers = {
        "unary": grpc.unary_unary_rpc_method_handler(unary),
        "stream": grpc.stream_stream_rpc_method_handler(stream),
    }
    server = grpc.server(ThreadPoolExecutor(max_workers=1))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("echo", handlers)])
    server.add_insecure_port(f"unix:{socket_in(directory)}")
    server.start()
    ready()
    server.wait_for_termination()


def grpc_unary_near(request: dict[str, Any]) -> bench.Timer:
    import grpc

    channel = grpc.insecure_channel(f"unix:{socket_in(request['target'])}")
    return bench.echo_timer(channel.unary_unary("/echo/unary"), EACH)


def grpc_stream_near(request: dict[str, Any]) -> bench.Timer:
    import grpc

    channel = grpc.insecure_channel(f"unix:{socket_in(request['target'])}")
    requests: SimpleQueue[bytes] = SimpleQueue()
    responses = channel.stream_stream("/echo/stream")(iter(requests.get, None))

    def call(payload: bytes) -> bytes:
        requests.put(payload)
        return next(responses)

    return bench.echo_timer(call, EACH)


NEAR: dict[str, Callable[[dict[str, Any]], bench.Timer]] = {
    "iceoryx2-python": iceoryx2_near,
    "pipe-spin": pipe_near(poll=True),
    "pipe-block": pipe_near(poll=False),
    "pyzmq-ipc": zmq_near,
    "grpcio-unary": grpc_unary_near,
    "grpcio-stream": grpc_stream_near,
}
FAR: dict[str, Far] = {
    "iceoryx2-python": iceoryx2_far,
    "pipe-spin": pipe_far(poll=True),
    "pipe-block": pipe_far(poll=False),
    "pyzmq-ipc": zmq_far,
    "grpcio-unary": grpc_far,
    "grpcio-stream": grpc_far,
}


def main() -> NoReturn:
    """Is one half, pinned, for as long as the harness lives."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    match sys.argv[1:]:
        case [_core]:
            bench.SETUPS.update(NEAR)
            bench.main()
        case [core, name, directory]:
            os.sched_setaffinity(0, {int(core)})
            FAR[name](directory)
    # Threads of a rival would keep an interpreter that ends in order.
    os._exit(0)


if __name__ == "__main__":
    main()
