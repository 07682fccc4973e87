"""The environment that tools/test.py and tools/try.py run in: made once, made anew when what it is made of changes.

Only the standard library is used, because this is what installs everything else. It is no general tool: it knows this
project's pyproject.toml and tools/constraints.txt, and nothing but pip.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "tools" / "constraints.txt"
STAMP = "vecio-stamp"


def key(extras: str) -> str:
    """Return what an environment depends on, as one hash: its definition, the interpreter, and where it lies."""
    digest = hashlib.sha256()
    for path in (ROOT / "pyproject.toml", CONSTRAINTS, Path(__file__)):
        digest.update(path.read_bytes())
    digest.update(repr((extras, sys.version, os.path.realpath(sys.executable), str(ROOT))).encode())
    return digest.hexdigest()


def python_of(folder: Path) -> Path:
    """Return the interpreter of the environment in `folder`."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def environment() -> dict[str, str]:
    """Return the variables for a program of the environment: the caller's, less what would mix two Pythons."""
    mixing = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
    return {name: value for name, value in os.environ.items() if name not in mixing}


def ensure(name: str, extras: str = "") -> Path:
    """Return the interpreter of the project's environment `name`, with vecio[extras] installed editable.

    An environment that is current is used as it is, without the network. Otherwise it is made anew under
    tools/constraints.txt. Raises SystemExit with one line where that fails.
    """
    if sys.version_info < (3, 10):  # noqa: UP036 (pip would say it later and worse)
        raise SystemExit(
            f"vecio needs Python 3.10 or newer; this is {sys.version.split()[0]} ({sys.executable})"
        )
    folder = ROOT / name
    python, stamp, wanted = python_of(folder), folder / STAMP, key(extras)
    if python.exists() and stamp.is_file() and stamp.read_text() == wanted:
        return python
    print(f"Making the environment {name} (once; it is kept) ...", flush=True)
    begin = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    _run(
        [sys.executable, "-m", "venv", str(folder)],
        "no virtual environment could be made (is venv installed?)",
    )
    # The build backend first and pinned: an isolated build would fetch an unpinned one.
    pip = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "-c", str(CONSTRAINTS)]
    _run([*pip, "hatchling", "editables"], "pip could not install the build backend")
    project = f"{ROOT}[{extras}]" if extras else str(ROOT)
    _run([*pip, "--no-build-isolation", "--editable", project], "pip could not install the project")
    stamp.write_text(wanted)
    print(f"Made in {time.monotonic() - begin:.0f} s.", flush=True)
    return python


def _run(command: list[str], failure: str) -> None:
    """Run a step of the installation; raise SystemExit with `failure` and the command if it fails."""
    if subprocess.run(command, cwd=ROOT, env=environment(), check=False).returncode != 0:
        raise SystemExit(f"error: {failure}: {' '.join(command)}")
