"""Word vectors from any file, mapped where they lie; a vector for any word, known or unknown."""

from ._version import __version__ as __version__
from .embeddings import Embeddings
from .errors import (
    FormatError,
    TrainingError,
    TruncatedError,
    UnknownFormatError,
    UnsupportedError,
    VecioError,
    WordError,
)
from .formats import detect, formats, open
from .formats.convert import ConversionReport, convert
from .verify import VerifyReport, verify

__all__ = [
    "ConversionReport",
    "Embeddings",
    "FormatError",
    "TrainingError",
    "TruncatedError",
    "UnknownFormatError",
    "UnsupportedError",
    "VecioError",
    "VerifyReport",
    "WordError",
    "convert",
    "detect",
    "formats",
    "open",
    "verify",
]
