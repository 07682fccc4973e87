"""Check everything: style, types, rules of import, tests. What CI runs, and what a person runs before handing in.

    python3 tools/test.py                       all of it
    python3 tools/test.py tests/test_house.py   the checks, and these tests only
    python3 tools/test.py -k pickle -x          arguments go to pytest as they are
    python3 tools/test.py --judges              with the libraries that judge what vecio writes (fasttext, gensim ...)
    python3 tools/test.py --heavy               and with those that take long to install (spaCy, sentence-transformers)

The first run makes the environment .venv (a minute or two, network); later ones re-use it and need no network.
Every check runs even if one before it fails; the exit status is 0 only if all are well.
"""

from __future__ import annotations

import subprocess
import sys
import time

import _venv

#: import-linter cannot be run with `python -m`, and its script has another name on each system.
LINT_IMPORTS = "from importlinter.cli import lint_imports_command as run; run()"


def checks(python: str, arguments: list[str]) -> list[tuple[str, list[str]]]:
    """Return what is run, in order: (name, command)."""
    module = [python, "-m"]
    return [
        ("ruff check", [*module, "ruff", "check", "--quiet", "--output-format", "concise"]),
        ("ruff format", [*module, "ruff", "format", "--check", "--quiet", "--output-format", "concise"]),
        ("mypy", [*module, "mypy"]),
        ("import-linter", [python, "-c", LINT_IMPORTS, "--no-logo"]),
        ("pytest", [*module, "pytest", "-n", "2", "--dist", "loadfile", *arguments]),
    ]


def main(arguments: list[str]) -> int:
    """Run the checks, print a summary, return the exit status."""
    python = str(_venv.ensure("dev"))
    missing = []
    for switch, extra in (("--judges", "judges"), ("--heavy", "heavy")):
        if switch in arguments or "--heavy" in arguments:
            missing += _venv.add_each(extra)
    arguments = [argument for argument in arguments if argument not in ("--judges", "--heavy")]
    results = []
    for name, command in checks(python, arguments):
        print(f"\n== {name}", flush=True)
        begin = time.monotonic()
        status = subprocess.run(command, cwd=_venv.ROOT, env=_venv.environment(), check=False).returncode
        results.append((name, status, time.monotonic() - begin))
    print("\n== summary")
    for name, status, seconds in results:
        print(f"{name:14} {'ok' if status == 0 else f'FAILED ({status})':12} {seconds:6.1f} s")
    if missing:
        print(f"judges that would not install, whose tests were skipped: {', '.join(missing)}")
    failed = sum(status != 0 for _, status, _ in results)
    print("all is well" if not failed else f"{failed} of {len(results)} checks failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
