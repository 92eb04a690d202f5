"""What a client knows of its daemon, and what that says of itself. Imported at its first use."""

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


class Stats(NamedTuple):
    """The daemon as it sees itself; counts since its start. They lag by up to 100 ms."""

    uptime_ms: int
    """Milliseconds since the daemon started."""
    sessions: int
    """Sessions open now."""
    lanes: int
    """Lanes open now."""
    calls: int
    """Requests answered, errors included."""
    errors: int
    """Requests answered with an error."""
    faults: int
    """Sessions ended by a broken rule."""
    leased_bytes: int
    """Bytes of reply memory that this session's client still holds."""
    segment_bytes: int
    """Bytes of segments that this session owns."""
    pid: int
    """The daemon's process id."""
    version: str
    """The daemon's version."""
