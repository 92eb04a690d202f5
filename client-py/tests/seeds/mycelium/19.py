# Before: Out-of-process socket
from ringfence.compat.mycelium import UnixTransport, Publisher, Subscriber

transport = UnixTransport("/tmp/mycelium/worker.sock", SCHEMA_DIGEST)
transport.connect()
pub = transport.publisher(Message)
sub = transport.subscriber(Message)

# After: In-process FFI
from ringfence.compat.mycelium_native import Runtime

runtime = Runtime(
    topology_path="topology.toml",
    service_name="worker"
)
runtime.publish(Message(...))
runtime.subscribe(Message, callback)
