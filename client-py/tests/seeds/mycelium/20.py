# Before: Bare FFI (local only)
runtime = Runtime(schema_digest=SCHEMA_DIGEST)
runtime.publish(msg)  # Only local bus

# After: Topology-aware FFI (local + remote)
runtime = Runtime(
    schema_digest=SCHEMA_DIGEST,
    topology_path="topology.toml",
    service_name="worker"
)
runtime.publish(msg)  # Auto-routes to correct endpoint
