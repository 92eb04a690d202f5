"""A daemon of one's own for tests: :func:`private_daemon`, and the pytest fixture
``ringfence_daemon``, which every project gets that has ringfence and pytest installed::

    def test_greeting(ringfence_daemon):
        with ringfence_daemon.connect() as client:
            assert client.echo(b"hello") == b"hello"

The daemon has an instance name that nobody else uses, is stopped by its process id, and must leave
nothing in /dev/shm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._private import PrivateDaemon, private_daemon

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PrivateDaemon", "private_daemon"]

try:
    import pytest
except ImportError:
    pass
else:

    @pytest.fixture
    def ringfence_daemon() -> Iterator[PrivateDaemon]:
        """A ringfence daemon for this test alone."""
        with private_daemon() as daemon:
            yield daemon
