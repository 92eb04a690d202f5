"""Which service lives on which node, and which way a message goes: ``topology.toml``, read.

``ringfence.Runtime(topology_path=..., service_name=...)`` does this by itself.

>>> from ringfence import topology
>>> import pathlib, tempfile
>>> with tempfile.TemporaryDirectory() as folder:
...     file = pathlib.Path(folder, "topology.toml")
...     _ = file.write_text('nodes = [{name = "main", services = ["strategy", "model"]}]')
...     known = topology.load(file)
>>> known.services
('model', 'strategy')
>>> known.route("strategy", "model")
Route(kind='local', path=None, host=None, port=None)
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from ._core import Topology as _Native

if TYPE_CHECKING:
    from typing import Literal

__all__ = ["Node", "Route", "Topology", "load"]


class Node(NamedTuple):
    """Services that share a process or a daemon."""

    name: str
    """Its name."""
    endpoint: Literal["none", "shm", "unix", "tcp"]
    """How other processes reach it."""
    host: str | None
    """The machine, as others reach it; ``None`` is the one where the file was read."""
    port: int | None
    """The port at which that machine is reached."""
    services: tuple[str, ...]
    """What lives there, in the order of the file."""


class Route(NamedTuple):
    """How a message gets from one service to another."""

    kind: Literal["local", "shm", "unix", "tcp"]
    """Within the process, by the daemon of this machine, to a socket, or over TCP."""
    path: str | None
    """The socket, of ``unix``."""
    host: str | None
    """A name or an IP address, of ``tcp``."""
    port: int | None
    """Its port."""

    def __str__(self) -> str:
        if self.kind == "tcp":
            host = f"[{self.host}]" if ":" in (self.host or "") else self.host
            return f"tcp {host}:{self.port}"
        return f"unix {self.path}" if self.kind == "unix" else self.kind


class Topology:
    """A checked topology, as :func:`load` gives it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._native = _Native(path)
        self.path = os.fspath(path)
        """The file."""

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Its nodes in the order of the file."""
        return tuple(
            Node(name, endpoint, host, port, tuple(services))
            for name, endpoint, host, port, services in self._native.nodes()
        )

    @property
    def services(self) -> tuple[str, ...]:
        """The names of all services, sorted."""
        return tuple(sorted(service for node in self.nodes for service in node.services))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is taken but has no effect."""
        return tuple(self._native.warnings())

    def node_of(self, service: str) -> Node:
        """The node that a service lives on.

        :raises RuntimeError: there is no such service; the text has those there are."""
        name = self._native.node_of(service)
        return next(node for node in self.nodes if node.name == name)

    def route(self, from_service: str, to_service: str) -> Route:
        """The way from one service to another.

        :raises RuntimeError: there is no such service, or no way: the text says what to add."""
        kind, path, host, port = self._native.route(from_service, to_service)
        return Route(kind, None if path is None else os.fspath(path), host, port)

    def __repr__(self) -> str:
        return f"<ringfence.topology.Topology {self.path}, {len(self.services)} services>"


def load(path: str | os.PathLike[str]) -> Topology:
    """Reads a file and checks it.

    :raises RuntimeError: it cannot be read, or is wrong: the text has the line and what to write."""
    return Topology(path)
