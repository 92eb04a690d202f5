try:
    runtime = Runtime(
        topology_path="topology.toml",
        service_name="unknown-service"
    )
except RuntimeError as e:
    print(f"Topology error: {e}")
    # Service not found in topology
