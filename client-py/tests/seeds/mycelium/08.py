from ringfence.compat.mycelium_native import Runtime

runtime = Runtime(
    topology_path="topology.toml",
    service_name="event-processor"
)

def handle_market_data(msg):
    # Process message
    result = process(msg)

    # Publish result back to bus
    runtime.publish(ProcessedData(result=result))

runtime.subscribe(MarketData, handle_market_data)

# Keep running
import time
while True:
    time.sleep(1)
