"""What a client knows about its daemon. Imported at its first use."""

from __future__ import annotations

from typing import NamedTuple


class Daemon(NamedTuple):
    """The daemon that a client is connected to."""

    instance: str | None
    """Its name among the daemons of its user; none in process."""
    socket: str | None
    """The path of its control socket; none in process."""
    session: int
    """The number of this client's session."""
    epoch: int
    """Another one after each restart."""
    pid: int
    """Its process id; this process's own for ``inproc:``."""
    version: str
    """Its version."""
    private: bool
    """Was it started for this user by a client, to leave with its last one?"""
    autostarted: bool
    """Was it this client that started it?"""
    inproc: bool
    """Is it no daemon at all, but the core in this process?"""
