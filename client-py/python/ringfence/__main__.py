"""``python -m ringfence demo`` and ``python -m ringfence version``."""

from __future__ import annotations

import argparse
import subprocess
import sys

from . import __version__, find_daemon


def main() -> int:
    """Runs what the command line says; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m ringfence", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("demo", help="a tour on real data, with a daemon that is stopped at the end")
    commands.add_parser("version", help="the versions of this package and of the daemon it finds")
    if parser.parse_args().command == "demo":
        from .demo import run

        return run()
    return version()


def version() -> int:
    """Prints the versions; 1 if there is no daemon."""
    print(f"ringfence {__version__} (Python {sys.version.split()[0]})")
    binary = find_daemon()
    if binary is None:
        print("ringfenced not found; RINGFENCE_BIN can name it")
        return 1
    daemon = subprocess.run(
        [binary, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    print(f"{daemon.stdout.strip() or daemon.stderr.strip()} ({binary})")
    return daemon.returncode


if __name__ == "__main__":
    sys.exit(main())
