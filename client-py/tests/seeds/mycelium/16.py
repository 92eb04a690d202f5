from ringfence.compat.mycelium_native import Runtime
from ringfence.compat.mycelium_protocol import SCHEMA_DIGEST

try:
    runtime = Runtime(schema_digest=SCHEMA_DIGEST)
except ValueError as e:
    print(f"Schema mismatch: {e}")
    # Regenerate bindings with: cargo run -p mycelium-codegen
