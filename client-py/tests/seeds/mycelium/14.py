import queue
import threading

batch_queue = queue.Queue(maxsize=1000)

def batch_worker():
    while True:
        batch = []
        try:
            # Collect up to 100 messages
            for _ in range(100):
                batch.append(batch_queue.get(timeout=0.01))
        except queue.Empty:
            pass

        if batch:
            results = model.predict_batch(batch)
            for result in results:
                runtime.publish(result)

threading.Thread(target=batch_worker, daemon=True).start()

def handle_input(msg):
    batch_queue.put(msg)

runtime.subscribe(Input, handle_input)
