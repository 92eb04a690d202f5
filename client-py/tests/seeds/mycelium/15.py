import numpy as np

def handle_array_data(msg):
    # Convert to NumPy array (zero-copy if possible)
    arr = np.frombuffer(msg.data, dtype=np.float32)

    # Process
    result = process(arr)

    # Publish
    runtime.publish(Result(data=result.tobytes()))
