"""The environment that tools/test.py and tools/try.py run in: made once, made anew when what it is made of changes.

Only the standard library is used, because this is what installs everything else. It is no general tool: it knows this
project's pyproject.toml and tools/constraints.txt, and nothing but pip.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "tools" / "constraints.txt"
FOLDER = ".venv"
STAMP = "vecio-stamp"


def key() -> str:
    """Return what the environment depends on, as one hash: its definition, the interpreter, and where it lies."""
    digest = hashlib.sha256()
    for path in (ROOT / "pyproject.toml", CONSTRAINTS, Path(__file__)):
        digest.update(path.read_bytes())
    digest.update(repr((sys.version, os.path.realpath(sys.executable), str(ROOT))).encode())
    return digest.hexdigest()


def python_of(folder: Path) -> Path:
    """Return the interpreter of the environment in `folder`."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def environment() -> dict[str, str]:
    """Return the variables for a program of the environment: the caller's, less what would mix two Pythons."""
    mixing = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
    return {name: value for name, value in os.environ.items() if name not in mixing}


def ensure(extra: str = "") -> Path:
    """Return the interpreter of the project's environment, with vecio (and one of its extras) installed editable.

    An environment that is current and has the extra is used as it is, without the network. One that lacks only the
    extra is added to; any other is made anew, under tools/constraints.txt. Raises SystemExit with one line where
    that fails.
    """
    if sys.version_info < (3, 10):  # noqa: UP036 (pip would say it later and worse)
        found = f"{sys.version.split()[0]} ({sys.executable})"
        raise SystemExit(f"error: vecio needs Python 3.10 or newer; this is {found}")
    folder = ROOT / FOLDER
    python, stamp, wanted = python_of(folder), folder / STAMP, key()
    made, *extras = (stamp.read_text().split() if stamp.is_file() and python.exists() else []) or [""]
    begin = time.monotonic()
    # The build backend is pinned like the rest: an isolated build would fetch the newest.
    pip = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "-c", str(CONSTRAINTS)]
    if made != wanted:
        if folder.exists() and not stamp.is_file():
            raise SystemExit(f"error: {folder} is there, but not made by this tool: move it away")
        print(f"Making the environment {FOLDER} (once; it is kept) ...", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        stamp.touch()  # ours from now on, though not finished
        venv = [sys.executable, "-m", "venv", str(folder)]
        _run(venv, "no virtual environment could be made (is Python's venv installed?)")
        _run([*pip, "hatchling", "editables"], "pip could not install the build backend")
        extras = []
    elif (extra or "core") in extras:
        return python
    project = f"{ROOT}[{extra}]" if extra else str(ROOT)
    print(f"Installing vecio{f' with what its {extra} extra names' if extra else ''} ...", flush=True)
    _run([*pip, "--no-build-isolation", "--editable", project], "pip could not install the project")
    stamp.write_text(" ".join([wanted, *sorted({*extras, "core", extra} - {""})]))
    print(f"Installed in {time.monotonic() - begin:.0f} s.", flush=True)
    return python


def add_each(extra: str) -> list[str]:
    """Install what an extra names into the environment, one by one; return the requirements that would not install.

    For packages that the tests can do without, such as other programs that must be compiled here. Those that are there
    take no time, and those that failed are tried again.
    """
    python, stamp = python_of(ROOT / FOLDER), ROOT / FOLDER / STAMP
    made, *extras = stamp.read_text().split()
    if extra in extras:
        return []
    pip = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "-c", str(CONSTRAINTS)]
    failed = []
    for requirement in requirements(extra):
        print(f"Installing {requirement} ...", flush=True)
        if subprocess.run([*pip, requirement], cwd=ROOT, env=environment(), check=False).returncode != 0:
            failed.append(requirement)
    if not failed:
        stamp.write_text(" ".join([made, *sorted({*extras, extra})]))
    return failed


def requirements(extra: str) -> list[str]:
    """Return what an extra of pyproject.toml names, found by pattern: Python 3.10 cannot read TOML."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(rf"^{extra} = \[(.*?)\]\n", text, re.MULTILINE | re.DOTALL)
    if found is None:
        raise SystemExit(f"error: pyproject.toml has no extra {extra!r}")
    return re.findall(r'"([^"]+)"', found[1])


def _run(command: list[str], failure: str) -> None:
    """Run a step of the installation; raise SystemExit with `failure` and the command if it fails."""
    if subprocess.run(command, cwd=ROOT, env=environment(), check=False).returncode != 0:
        raise SystemExit(f"error: {failure}: {' '.join(command)}")
