"""The smallest program: find a daemon (or start a private one), and call it."""

import ringfence as rf

with rf.connect() as client:
    print(client.echo(b"hello"))
    print(f"answered by process {client.daemon.pid}, version {client.daemon.version}")
