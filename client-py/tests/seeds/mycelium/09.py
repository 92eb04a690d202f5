import queue
import threading

runtime = Runtime(topology_path="topology.toml", service_name="ml-service")

# Response queue
responses = queue.Queue()

def handle_request(req):
    # Process ML request
    prediction = model.predict(req.features)
    response = PredictionResponse(request_id=req.id, prediction=prediction)
    runtime.publish(response)

runtime.subscribe(PredictionRequest, handle_request)
