"""One line on standard error that says how far a long task is, how fast it goes and how long it will still take.

On a terminal it is rewritten in place, at most ten times a second, and wiped out at the end: what stays is the result.
Elsewhere (a log) it is written every two seconds and once at the end, a line each. It takes the (done, total) callbacks
that the library offers; the library itself never prints.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TextIO

#: Seconds between two drawings: on a terminal, and in a log.
TERMINAL_PERIOD, LOG_PERIOD = 0.1, 2.0

#: Characters of the bar.
WIDTH = 24


#: The signals that came: an exception raised in a callback of other code (a compiler's, say) may be swallowed there.
stopped: list[int] = []


class Progress:
    """A progress line; call it with (done, total), where a total of 0 means "not known".

    `shown` None draws only if the stream is a terminal. Used as a context manager, so that the line ends in any case.
    """

    def __init__(
        self, task: str, unit: str = "", *, shown: bool | None = None, stream: TextIO | None = None
    ) -> None:
        self._task = task
        self._unit = unit
        self._stream = sys.stderr if stream is None else stream
        self._terminal = bool(getattr(self._stream, "isatty", bool)())
        self._shown = self._terminal if shown is None else shown
        self._period = TERMINAL_PERIOD if self._terminal else LOG_PERIOD
        self._began = self._drawn = time.monotonic()
        self._last: tuple[int, int] | None = None  # noted, not drawn yet
        self._length = 0

    def __call__(self, done: int, total: int = 0) -> None:
        """Note how far the task is; draw it if the last drawing is old enough. Ends the task where a signal said so."""
        if stopped:
            raise KeyboardInterrupt
        if not self._shown:
            return
        self._last = (done, total)
        now = time.monotonic()
        if now - self._drawn >= self._period:
            self._draw(now)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wipe the line out; in a log, write the last state."""
        if self._terminal and self._length:
            self._write("\r" + " " * self._length + "\r")
        elif not self._terminal and self._last is not None:
            self._draw(time.monotonic())

    def _draw(self, now: float) -> None:
        assert self._last is not None
        text = line(self._task, self._unit, *self._last, now - self._began)
        self._write("\r" + text.ljust(self._length) if self._terminal else text + "\n")
        self._length = max(self._length, len(text))
        self._drawn, self._last = now, None

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def line(task: str, unit: str, done: int, total: int, seconds: float) -> str:
    """Return the progress line, without a line end."""
    rate = done / seconds if seconds > 0 else 0.0
    speed = f"{amount(rate, unit)}/s"
    if total <= 0:
        return f"{task}  {amount(done, unit)}  {speed}"
    share = min(done / total, 1.0)
    bar = ("#" * int(share * WIDTH)).ljust(WIDTH, "-")
    left = f"{duration((total - done) / rate)} left" if 0 < done < total else f"{duration(seconds)}"
    return f"{task}  [{bar}] {share:4.0%}  {amount(done, unit)}  {speed}  {left}"


def amount(number: float, unit: str) -> str:
    """Return a number of units with three digits and a decimal prefix: `1.23 GB`, `45.6 k words`."""
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= factor:
            return f"{number / factor:.3g} {prefix}{unit if len(unit) == 1 else ' ' + unit}".rstrip()
    return f"{number:.3g} {unit}".rstrip() if number < 10 else f"{number:.0f} {unit}".rstrip()


def duration(seconds: float) -> str:
    """Return a time for a person: `0.4 s`, `12 s`, `3 min 05 s`, `2 h 07 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
