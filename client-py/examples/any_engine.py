"""Engines that this package has never heard of: packed and unpacked by the daemon's catalogue."""

import ringfence as rf

with rf.connect() as client:
    for name in client.engines():
        engine = client.engine(name)
        print(f"{name}: {engine.doc}")
        for method in engine.names:
            print(engine[method].help)

    # As a method of your own engine would be called: fields by name in, a named tuple out.
    system = client.engine("system")
    print(system.echo(data=b"by the catalogue").data)
    print("up for", system.stats().uptime_ms, "ms")
