# Bad: Long-running computation in callback
def slow_handler(msg):
    result = expensive_computation(msg)  # Holds GIL
    runtime.publish(Result(result))

# Good: Offload to thread pool
import concurrent.futures
executor = concurrent.futures.ThreadPoolExecutor(max_workers=4)

def fast_handler(msg):
    future = executor.submit(expensive_computation, msg)
    future.add_done_callback(lambda f: runtime.publish(Result(f.result())))
