"""Every error that vecio raises on purpose, on one page.

Each error is both ours and the builtin that a caller would catch anyway. The operating system's own errors (a missing
file, no permission) are passed on as they are: `FileNotFoundError`, `PermissionError`, `OSError`.
"""

from __future__ import annotations

__all__ = [
    "FormatError",
    "TrainingError",
    "TruncatedError",
    "UnknownFormatError",
    "UnsupportedError",
    "VecioError",
    "WordError",
]


class VecioError(Exception):
    """Base of every error that vecio raises on purpose."""


class FormatError(VecioError, ValueError):
    """The bytes of a file contradict its format.

    Attributes: `path`, `offset` (byte in the file, or None), `expected` and `found` (or None).
    """

    def __init__(
        self,
        path: object,
        message: str,
        *,
        offset: int | None = None,
        expected: object = None,
        found: object = None,
    ) -> None:
        self.path = str(path)
        self.message = message
        self.offset = offset
        self.expected = expected
        self.found = found
        super().__init__(self._sentence())

    def _sentence(self) -> str:
        place = "" if self.offset is None else f"at byte {self.offset}: "
        text = f"{self.path}: {place}{self.message}"
        if self.expected is not None:
            text += f": expected {self.expected}"
        if self.found is not None:
            text += f"{',' if self.expected is not None else ':'} found {self.found}"
        return text

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.path, self.message, self.offset, self.expected, self.found)


def _rebuild(
    kind: type[FormatError], path: str, message: str, offset: int | None, expected: object, found: object
) -> FormatError:
    return kind(path, message, offset=offset, expected=expected, found=found)


class TruncatedError(FormatError):
    """The file ends before something that its format says must follow."""


class UnknownFormatError(VecioError, ValueError):
    """No format accepted the file; the text says what was tried and why each declined."""


class UnsupportedError(VecioError, NotImplementedError):
    """The file or the request is understood, and this version of vecio cannot serve it."""


class WordError(VecioError, KeyError):
    """A word (or row) has no vector in this model."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class TrainingError(VecioError):
    """A training run cannot start or go on."""
