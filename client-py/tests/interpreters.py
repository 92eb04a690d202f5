"""Which CPythons wheels are built for and tested with, one for each version that is found here.

Run as a program it prints them for the Makefile.
"""

from __future__ import annotations

import os
import subprocess
import sys

VERSIONS = ("3.13", "3.12", "3.11")


def interpreters() -> dict[str, str]:
    """The program of each version. This interpreter stands for its own version and comes first, while
    what the tests before have compiled for it is there."""
    own = "{}.{}".format(*sys.version_info)
    found = {version: find(version) for version in VERSIONS if version != own}
    return {own: sys.executable} | {version: path for version, path in found.items() if path}


def find(version: str) -> str | None:
    """`python3.X` on the PATH, else the latest one of pyenv, by the path where it really is."""
    script = "import sys; print('{}.{}'.format(*sys.version_info), sys.executable)"
    latest = _output("pyenv", "latest", version)
    # pyenv's own programs refuse versions that nobody chose.
    for chosen in (None, latest):
        answer = _output(f"python{version}", "-c", script, chosen=chosen)
        if answer and answer.split(" ", 1)[0] == version:
            return answer.split(" ", 1)[1]
    return None


def _output(*command: str, chosen: str | None = None) -> str | None:
    env = os.environ | ({"PYENV_VERSION": chosen} if chosen else {})
    try:
        result = subprocess.run(
            command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30
        )
    except OSError:
        return None
    return result.stdout.strip() if result.returncode == 0 else None


if __name__ == "__main__":
    print("\n".join(interpreters().values()))
