"""See what vecio does, with one command: install the core alone and run its main job on text that Python brings along.

    python3 tools/try.py            train, save, convert, open mapped, embed words nobody saw, draw a map
    python3 tools/try.py --help     arguments go to `vecio demo` as they are

The first run makes the environment .venv (half a minute, network); later ones re-use it and need no network.
"""

from __future__ import annotations

import subprocess
import sys

import _venv


def main(arguments: list[str]) -> int:
    """Run `vecio demo` in an environment of its own, return its exit status."""
    python = _venv.ensure()
    vecio = python.with_name("vecio.exe" if python.suffix else "vecio")
    return subprocess.run([str(vecio), "demo", *arguments], env=_venv.environment(), check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
