"""``mycelium_native`` by its names: ``from ringfence.compat.mycelium_native import Runtime``.

Message classes and ``SCHEMA_DIGEST``, which were ``mycelium_protocol``, are what ``ringfence codegen``
makes of the same ``contracts.yaml``.
"""

from __future__ import annotations

from .._runtime import Runtime, Subscription

__all__ = ["Runtime", "Subscription"]
