"""The Python client of Ringfence. Under construction."""
