"""The Ringfence core inside this process.

Not an API: ``ringfence.connect("inproc:")`` imports this package and is what users call.
"""
