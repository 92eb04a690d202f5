"""Many calls in flight: submit them all, then take the answers in any order."""

import ringfence as rf

with rf.connect() as client:
    pendings = [client.submit("system.echo", data=f"call {n}".encode()) for n in range(20)]
    for pending in reversed(pendings):
        print(pending.result(timeout=1.0).data.decode())

    # The same for echoes alone, in one step.
    print(len(client.echo_many([b"x"] * 10_000)), "answers")
