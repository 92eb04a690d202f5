"""``mycelium_native`` by its names: ``from ringfence.compat.mycelium_native import Runtime``.

Message classes and ``SCHEMA_DIGEST`` are in :mod:`ringfence.compat.mycelium_protocol`.
"""

from __future__ import annotations

from .._runtime import Runtime, Subscription

__all__ = ["Runtime", "Subscription"]
