"""Make the virtual environments of the programs that vecio is measured against (tools/bench/peers.txt).

Only the standard library is used. fasttext and finalfusion are compiled on the spot: a C++ compiler is needed. The
versions are those of Python 3.11; with --newest the version numbers are ignored.

    python tools/bench/make_peers.py --dir bench-data
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

LIST = Path(__file__).with_name("peers.txt")
#: Installed before the rest, which is built with them instead of in an environment of its own.
BUILDERS = ("setuptools", "wheel", "pybind11", "cython", "numpy")


def read_list(path: Path) -> dict[str, list[str]]:
    """Return the requirements of each environment in `path`, in the order of the file."""
    environments: dict[str, list[str]] = {}
    name = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.partition("#")[0].strip()
        if text.startswith("-- "):
            name = text[3:].strip()
            environments[name] = []
        elif text:
            environments[name].append(text)
    return environments


def package(requirement: str) -> str:
    """Return the name of the package of a requirement, in small letters."""
    return re.split(r"[<>=!~; ]", requirement, maxsplit=1)[0].lower()


def make(folder: Path, requirements: list[str]) -> None:
    """Make the environment `folder` and install `requirements`; raises CalledProcessError where pip fails."""
    if not (folder / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", os.fspath(folder)], check=True)
    pip = [os.fspath(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    builders = [text for text in requirements if package(text) in BUILDERS]
    others = [text for text in requirements if package(text) not in BUILDERS]
    subprocess.run([*pip, *builders], check=True)
    subprocess.run([*pip, "--no-build-isolation", *builders, *others], check=True)


def main() -> None:
    """Read the arguments and make every environment of the list."""
    parser = argparse.ArgumentParser(description="Make the environments of the measured programs.")
    parser.add_argument("--dir", type=Path, default=Path("bench-data"), help="default bench-data")
    parser.add_argument("--newest", action="store_true", help="ignore the version numbers of the list")
    arguments = parser.parse_args()
    arguments.dir.mkdir(parents=True, exist_ok=True)
    for name, requirements in read_list(LIST).items():
        chosen = requirements
        if arguments.newest:
            chosen = ["numpy<2" if text.startswith("numpy==1.") else package(text) for text in requirements]
        print(f"{arguments.dir / name}: {' '.join(chosen)}", flush=True)
        make(arguments.dir / name, chosen)


if __name__ == "__main__":
    main()
