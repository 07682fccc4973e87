"""One line on standard error that says how far a training run is: share, words/s, loss and time left.

On a terminal it is rewritten in place and wiped out at the end; in a log a line is written every few seconds. The
trainers themselves never print: they call back with `sgns.Progress`.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TextIO

from .sgns import Progress

_TERMINAL_PERIOD, _LOG_PERIOD = 0.1, 5.0  # seconds between two lines
_BAR = 24


class ProgressLine:
    """Shows what a trainer reports; used as a context manager, so that the line ends in any case."""

    def __init__(self, task: str = "training", stream: TextIO | None = None) -> None:
        self._task = task
        self._stream = sys.stderr if stream is None else stream
        self._terminal = bool(getattr(self._stream, "isatty", bool)())
        self._next = 0.0 if self._terminal else time.monotonic() + _LOG_PERIOD
        self._length = 0

    def __call__(self, progress: Progress) -> None:
        """Show the state, if the last one is old enough."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (_TERMINAL_PERIOD if self._terminal else _LOG_PERIOD)
        text = f"{self._task}  {describe(progress)}"
        self._write("\r" + text.ljust(self._length) if self._terminal else text + "\n")
        self._length = max(self._length, len(text))

    def note(self, text: str) -> None:
        """Show a step that reports no progress of its own; on a terminal until the next line."""
        self._write("\r" + text.ljust(self._length) if self._terminal else text + "\n")
        self._length = max(self._length, len(text))

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._terminal and self._length:
            self._write("\r" + " " * self._length + "\r")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def describe(progress: Progress) -> str:
    """Return the state of a run as one line: `[######----]  58%  612 k words/s  loss 2.104  5 s left`."""
    share = progress.done / max(progress.total, 1)
    bar = ("#" * int(share * _BAR)).ljust(_BAR, "-")
    speed = f"{progress.words_per_second / 1000:,.0f} k words/s"
    return f"[{bar}] {share:4.0%}  {speed}  loss {progress.loss:.3f}  {progress.seconds_left:.0f} s left"
