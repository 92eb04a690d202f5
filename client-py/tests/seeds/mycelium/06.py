# Python FFI service can now route to remote Rust services
runtime = Runtime(
    topology_path="topology.toml",
    service_name="python-ml-model"
)

# Publishes locally (FFI)
runtime.publish(LocalMetric(...))

# Routes to remote service (TCP)
runtime.publish(StrategyCommand(...))
