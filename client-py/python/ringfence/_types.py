"""Types that more than one module of the package speaks of. Imported by type checkers only."""

from __future__ import annotations

from types import EllipsisType
from typing import Literal

Timeout = float | None | EllipsisType
"""Seconds; ``None`` is for ever; ``...``, the default, is what the catalogue says of the method."""

Spin = Literal["adaptive", "always", "never"]
"""How a client waits: spin, then yield, then sleep; or always spin; or sleep at once."""

Metric = Literal["l2", "cosine", "dot"]
"""How distance is measured, smaller is nearer: ``l2`` is the *squared* Euclidean distance,
``cosine`` is 1 - cos(a, b), ``dot`` is 1 - a.b."""

Policy = Literal["overwrite", "block", "reject"]
"""What happens to a publish when a subscription is slow."""

Outcome = Literal["not_started", "unknown"]
"""What is known about a call that got no answer."""
