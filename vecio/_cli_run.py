"""What stands around the commands of `cli.py`: plug-ins, and the one place where errors become a line and an exit code.

Other packages add commands through the entry-point group `vecio.commands`: an entry names a function with typer's
annotations, or a `typer.Typer`. Its module is imported only when the command is run. An error that is neither in the
command line nor one that users can cause keeps its traceback: it is a bug.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import typer
import typer.core
import typer.main

from . import _progress

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

#: Where other packages register their commands.
ENTRY_POINTS = "vecio.commands"

#: Exit codes: the request failed; a signal, to which its number is added, as shells count it.
FAILED, SIGNALLED = 1, 128


class _Stopped(Exception):
    """Carries what ended a command past typer, which has its own ideas about OSError and Ctrl-C."""


class Commands(typer.core.TyperGroup):
    """The commands of an app, and those that other packages register."""

    def list_commands(self, ctx: Any) -> list[str]:
        own = super().list_commands(ctx)
        return own + sorted(name for name in _entry_points() if name not in own)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command; a plug-in's without its code, for the list of commands."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        entry = _entry_points().get(cmd_name)
        return None if entry is None else typer.core.TyperCommand(cmd_name, help=_first_line(entry))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that is to be run; a plug-in is imported here."""
        name, command, rest = super().resolve_command(ctx, args)
        if name is not None and super().get_command(ctx, name) is None and name in _entry_points():
            command = _load(_entry_points()[name])
        return name, command, rest

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (OSError, EOFError, KeyboardInterrupt) as error:
            raise _Stopped from error


def _entry_points() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points

    return {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}


def _first_line(entry: EntryPoint) -> str:
    """Return the first line of the help of a plug-in, read from its source: nothing of it is imported or run."""
    import ast

    module, _, name = entry.value.partition(":")
    try:
        place = _source(module.strip())
        if place is None:
            return "(not installed)"
        with open(place, "rb") as file:
            tree = ast.parse(file.read())
    except (ImportError, OSError, SyntaxError, ValueError):
        return "(cannot be read)"
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == name.strip()]
    text = ast.get_docstring(functions[0] if functions else tree) or ""
    return text.strip().split("\n\n")[0].replace("\n", " ")


def _source(module: str) -> str | None:
    """Return the file of a module without importing the packages it lies in, or None."""
    from importlib.machinery import PathFinder
    from importlib.util import find_spec

    parts = module.split(".")
    spec = find_spec(parts[0])
    for i in range(1, len(parts)):
        if spec is None or spec.submodule_search_locations is None:
            return None
        spec = PathFinder.find_spec(".".join(parts[: i + 1]), list(spec.submodule_search_locations))
    return None if spec is None else spec.origin


def _load(entry: EntryPoint) -> Any:
    """Return the command that an entry point names."""
    from .errors import VecioError

    try:
        target = entry.load()
    except ImportError as error:
        raise VecioError(f"the command {entry.name!r} cannot be loaded: {error}") from error
    if not isinstance(target, typer.Typer):
        function, target = target, new_app()
        target.command(entry.name)(function)
    return typer.main.get_command(target)


def new_app(**settings: Any) -> typer.Typer:
    """Return an app without rich: plain help, and half the time to start."""
    return typer.Typer(
        rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False, **settings
    )


def run(app: typer.Typer, arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code: what the command returns, or that of its error."""
    try:
        with _warnings_on_one_line(), _signals():
            code = typer.main.get_command(app).main(list(arguments), "vecio", standalone_mode=False)
            _flush()
    except (Exception, KeyboardInterrupt) as error:
        return _report(error.__cause__ if isinstance(error, _Stopped) else error)
    return code if isinstance(code, int) else 0


def _report(error: BaseException | None) -> int:
    """Print an error that users can cause as one line and return its exit code; raise any other again."""
    from ._cli_io import silence_stdout
    from .errors import VecioError

    prefix = "vecio"
    if isinstance(error, BrokenPipeError):
        silence_stdout()
        return 0
    if isinstance(error, (KeyboardInterrupt, typer.Abort)):
        sentence, code = (
            "stopped",
            SIGNALLED + (_progress.stopped[-1] if _progress.stopped else signal.SIGINT),
        )
    elif callable(getattr(error, "format_message", None)):
        prefix, sentence, code = _usage(error)
    elif isinstance(error, OSError):
        place = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
        sentence, code = f"{place}{error.strerror or error}", FAILED
    elif isinstance(error, VecioError):
        sentence, code = str(error) or type(error).__name__, FAILED
    elif isinstance(error, MemoryError):
        sentence, code = "there is not enough memory for this", FAILED
    else:
        assert error is not None
        raise error
    with contextlib.suppress(OSError):
        _flush()
    say(f"{prefix}: {sentence}")
    return code


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def _usage(error: Any) -> tuple[str, str, int]:
    """Return prefix, sentence and exit code of a wrong command line."""
    context = getattr(error, "ctx", None)
    name = context.command_path if context is not None else "vecio"
    return name, f"{error.format_message()} (see: {name} --help)", int(getattr(error, "exit_code", 2))


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """Let SIGTERM end a command as Ctrl-C does, with everything half-written removed; note both (see `_progress`)."""

    def stop(number: int, _: object) -> None:
        _progress.stopped.append(number)
        raise KeyboardInterrupt

    _progress.stopped.clear()
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield
        return
    usual: dict[signal.Signals, Any] = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
    }
    ours = [number for number, handler in usual.items() if signal.getsignal(number) == handler]
    for number in ours:  # what the caller handles or ignores stays so
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, usual[number])


@contextlib.contextmanager
def _warnings_on_one_line() -> Iterator[None]:
    """Print warnings of the library as one line on standard error instead of a file name and a source line."""
    import warnings

    def show(message: Any, category: Any, *_: Any, **__: Any) -> None:
        warn(str(message))

    before, warnings.showwarning = warnings.showwarning, show
    try:
        yield
    finally:
        warnings.showwarning = before


def warn(sentence: str) -> None:
    """Print a warning as one line on standard error."""
    say(f"vecio: warning: {sentence}")


def say(sentence: str) -> None:
    """Print one line on standard error."""
    from ._cli_io import one_line

    sys.stderr.write(f"{one_line(sentence)}\n")
