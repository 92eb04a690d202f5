"""Where to connect, and what to start if nobody answers there."""

from __future__ import annotations

import os
import sys

from ._client import Client
from ._errors import DaemonUnavailable

# `typing` and `pathlib` themselves would be half of the import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from ._daemon import Daemon
    from ._types import Spin, Timeout

INPROC = "inproc:"
AUTOSTARTED = 7
"""Where a native client's description says whether it started its daemon."""


def connect(
    target: str | os.PathLike[str] | None = None,
    *,
    autostart: bool = True,
    timeout: Timeout = ...,
    spin: Spin = "adaptive",
    name: str | None = None,
    daemon: str | os.PathLike[str] | None = None,
) -> Client:
    """Connects to a daemon and gives the client, which also is a context manager.

    ``target`` is the name of an instance, the path of a control socket (anything with a ``/``), or
    ``"inproc:"``, which runs the same core inside this process. Without one: ``RINGFENCE_TARGET``,
    then the user's own daemon, then the system's; and if there is none of these a private daemon is
    started, shared by all programs of this user and gone two seconds after its last client.
    ``autostart=False`` or ``RINGFENCE_AUTOSTART=0`` forbid that.

    ``timeout``: seconds that connecting may take (default 2, or 10 if a daemon is started). A call
    waits as long for a daemon that is restarting, if its own time allows.
    ``spin``: how calls wait, ``"adaptive"``, ``"always"`` or ``"never"``.
    ``name``: what the daemon calls this client in its logs and in ``ringfence top``.
    ``daemon``: the program of a daemon with engines of your own, which is started unless it runs
    already: as the instance that ``target`` names, or under a name of its own.
    """
    if target is None:
        target = os.environ.get("RINGFENCE_TARGET") or None
    text = None if target is None else os.fspath(target)
    if text is not None and text.startswith(INPROC):
        if daemon is not None:
            raise ValueError(
                f"daemon={os.fspath(daemon)!r} would be started, but {INPROC!r} runs in this "
                "process: leave one of them out"
            )
        return _inproc(timeout, spin, name)
    own, private = own_or_private(text, autostart, daemon)
    try:
        client = Client(
            text,
            autostart=private,
            daemon=own,
            timeout=timeout,
            spin=spin,
            name=name,
        )
    except DaemonUnavailable as error:
        if text is None and autostart and private is None:
            error.add_note(why_not_started())
        raise
    if client._info()[AUTOSTARTED]:
        log_start(client.daemon, own or private)
    return client


def own_or_private(
    target: str | None, autostart: bool, daemon: str | os.PathLike[str] | None
) -> tuple[Path | None, Path | None]:
    """What may be started: a user's own daemon, or a private one if nothing was named."""
    allowed = autostart and os.environ.get("RINGFENCE_AUTOSTART") != "0"
    own = None if daemon is None else _own_daemon(daemon)
    private = find_daemon() if allowed and target is None and own is None else None
    return own if allowed else None, private


def find_daemon() -> Path | None:
    """The binary ``ringfenced``: ``RINGFENCE_BIN``, else where this package was installed, else
    the ``PATH``, else the build folder of the source tree."""
    from pathlib import Path

    named = os.environ.get("RINGFENCE_BIN")
    if named:
        return Path(named)
    return next((path for path in _candidates() if os.access(path, os.X_OK)), None)


def _candidates() -> list[Path]:
    import sysconfig
    from pathlib import Path

    folders = [Path(sysconfig.get_path("scripts")), Path(sys.prefix, "bin")]
    folders.append(Path(sysconfig.get_path("scripts", scheme="posix_user")))
    # `pip install --target`: the package and `bin` lie side by side.
    folders.append(Path(__file__).parent.parent / "bin")
    folders += [Path(part) for part in os.environ.get("PATH", "").split(os.pathsep) if part]
    source = Path(__file__).resolve().parents[3]
    if (source / "Cargo.toml").is_file():
        folders += [source / "target" / "release", source / "target" / "debug"]
    return [folder / "ringfenced" for folder in folders]


def _own_daemon(daemon: str | os.PathLike[str]) -> Path:
    from pathlib import Path

    path = Path(daemon).absolute()
    if not os.access(path, os.X_OK):
        raise FileNotFoundError(f"{path} is no program that could be started as a daemon")
    return path


def why_not_started() -> str:
    """Why no private daemon took the place of the one that was not found."""
    if os.environ.get("RINGFENCE_AUTOSTART") == "0":
        return "RINGFENCE_AUTOSTART=0 forbids starting a private daemon."
    return (
        "No private daemon was started because the program `ringfenced` was not found beside this "
        "Python, on the PATH or in a source tree; RINGFENCE_BIN can name it."
    )


def log_start(daemon: Daemon, binary: Path | None) -> None:
    """Tells the log that a daemon was started."""
    import logging

    logging.getLogger("ringfence").info(
        "started a private daemon: %s, instance %s, pid %d; it leaves after its last client",
        binary,
        daemon.instance,
        daemon.pid,
    )


def _inproc(timeout: Timeout, spin: Spin, name: str | None) -> Client:
    try:
        import ringfence_inproc
    except ImportError as error:
        raise ImportError(
            'the target "inproc:" runs the core inside this process, which is a package of its '
            f"own: pip install ringfence[inproc] ({error})",
            name="ringfence_inproc",
        ) from error
    return ringfence_inproc.connect(timeout=timeout, spin=spin, name=name)
