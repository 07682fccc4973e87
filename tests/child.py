"""Runs a function of a test module in a new Python process: for what may kill a process, or needs a clean one."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent
CODE = """
import importlib, json, sys
sys.path[:0] = sys.argv[1:3]
function = getattr(importlib.import_module(sys.argv[3]), sys.argv[4])
print("result of the child:" + json.dumps(function(*json.loads(sys.argv[5] if sys.argv[5:] else sys.stdin.read()))))
"""


def _values(args: tuple[Any, ...]) -> str:
    return json.dumps([str(a) if isinstance(a, Path) else a for a in args])


def _command(function: Callable[..., Any]) -> list[str]:
    names = [function.__module__, function.__name__]
    return [sys.executable, "-B", "-c", CODE, str(TESTS.parent), str(TESTS), *names]


@contextlib.contextmanager
def started(function: Callable[..., Any], *args: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Start `function(*args)` in a new process, which is killed at the end of the block."""
    with subprocess.Popen([*_command(function), _values(args)], stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def run(function: Callable[..., Any], *args: Any, env: dict[str, str] | None = None) -> Any:
    """Call `function(*args)` in a new process and return its result; arguments and result go as JSON.

    A function ends the test when it raises, is killed by a signal, or takes two minutes. env: variables to set; an
    empty value removes one.
    """
    variables = dict(os.environ) | (env or {})
    variables = {name: value for name, value in variables.items() if value}
    done = subprocess.run(
        _command(function),
        input=_values(args),  # which may be longer than an argument
        capture_output=True,
        text=True,
        errors="replace",
        timeout=110,
        env=variables,
        check=False,
    )
    marker = "result of the child:"
    if done.returncode != 0 or marker not in done.stdout:
        what = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
        raise AssertionError(
            f"{function.__name__}{args} ended with {what}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        )
    return json.loads(done.stdout.rsplit(marker, 1)[1])
