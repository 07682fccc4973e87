"""Write tools/constraints.txt: the newest versions that fit together, as pip resolves them today. Installs nothing.

    python3 tools/pin.py python3.10 python3.11 python3.13     one pin each, with a marker where they differ

The trainers' torch is not resolved but set (TORCH), and only for the Pythons of TORCH_PYTHONS: a later version, or the
same one for another Python, would bring several gigabytes of CUDA libraries to machines that have no GPU.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from _venv import CONSTRAINTS, ROOT, environment, python_of

TORCH = "torch==2.13.0"
TORCH_PYTHONS = ((3, 11),)

HEADER = """\
# Exact versions of all that vecio's environments install, for tools/test.py, tools/try.py and any `pip install -c`.
# Made by tools/pin.py for Python {pythons}; do not edit by hand.
"""

Version = tuple[int, int]


def resolve(interpreter: str) -> tuple[Version, dict[str, str]]:
    """Return the Python version of `interpreter` and {package: version} for the core and all extras."""
    probe = "import sys; print(*sys.version_info[:2])"
    words = subprocess.run(
        [interpreter, "-c", probe], check=True, capture_output=True, text=True
    ).stdout.split()
    version = (int(words[0]), int(words[1]))
    extras, more = ("dev,bench,judges", [])
    if version in TORCH_PYTHONS:
        extras, more = ("dev,bench,judges,train,heavy", [TORCH])
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([interpreter, "-m", "venv", folder], check=True, env=environment())
        report = Path(folder) / "report.json"
        pip = [str(python_of(Path(folder))), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        wanted = ["--dry-run", "--report", str(report), f"{ROOT}[{extras}]", *more]
        subprocess.run([*pip, *wanted], check=True, env=environment())
        installs = json.loads(report.read_text())["install"]
    found = {item["metadata"]["name"]: item["metadata"]["version"] for item in installs}
    pins = {re.sub(r"[-_.]+", "-", name).lower(): number.split("+")[0] for name, number in found.items()}
    return version, {name: number for name, number in pins.items() if name != "vecio"}


def lines(resolved: dict[Version, dict[str, str]]) -> list[str]:
    """Return one line for each package, more where its version depends on the Python."""
    pythons = sorted(resolved)
    result = []
    for name in sorted({name for pins in resolved.values() for name in pins}):
        runs: list[tuple[str, Version]] = []  # (pin, first Python that has it)
        for python in pythons:
            pin = resolved[python].get(name)
            if pin is not None and (not runs or runs[-1][0] != pin):
                runs.append((pin, python))
        for i, (pin, first) in enumerate(runs):
            marks = [f'python_version >= "{first[0]}.{first[1]}"'] if i > 0 else []
            if i + 1 < len(runs):
                after = runs[i + 1][1]
                marks.append(f'python_version < "{after[0]}.{after[1]}"')
            result.append(f"{name}=={pin}" + (f" ; {' and '.join(marks)}" if marks else ""))
    return result


def main(interpreters: list[str]) -> int:
    """Resolve for each interpreter (default: this one) and write the file."""
    resolved = dict(resolve(interpreter) for interpreter in interpreters or [sys.executable])
    pythons = ", ".join(f"{major}.{minor}" for major, minor in sorted(resolved))
    CONSTRAINTS.write_text(HEADER.format(pythons=pythons) + "\n".join(lines(resolved)) + "\n")
    print(f"wrote {CONSTRAINTS.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
