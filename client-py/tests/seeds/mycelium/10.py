import torch
from ringfence.compat.mycelium_native import Runtime

runtime = Runtime(topology_path="topology.toml", service_name="ml-pipeline")

# Load model
model = torch.load("model.pt")

def handle_features(msg):
    # Run inference
    with torch.no_grad():
        output = model(msg.features)

    # Publish prediction
    runtime.publish(Prediction(
        symbol=msg.symbol,
        score=output.item()
    ))

runtime.subscribe(Features, handle_features)
