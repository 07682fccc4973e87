"""What all tests share: where the large files are, and how the libraries under the tests are set up.

Nothing of vecio is imported here, so that a test of what an import brings with it starts clean.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent


def _numba_cache() -> Path:
    """Return a folder for compiled kernels that outlives the run: in the environment, never beside the sources."""
    if sys.prefix != sys.base_prefix and os.access(sys.prefix, os.W_OK):
        return Path(sys.prefix) / "cache" / "numba"
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return Path(tempfile.gettempdir()) / f"vecio-numba-{user}"


# Before anything imports numba; the commands that tests start inherit it.
os.environ.setdefault("NUMBA_CACHE_DIR", str(_numba_cache()))

# The first call of a kernel compiles it, so no example has a deadline; a CI run is repeatable.
settings.register_profile("vecio", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("vecio")


# A run that was started in the background of a shell ignores Ctrl-C, and so would every command that tests start.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _data() -> Path | None:
    """Return the folder of large files (models, corpora, evaluation sets), or None: VECIO_DATA, else ../shared/data."""
    named = os.environ.get("VECIO_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of large files; the test is skipped where there is none."""
    folder = _data()
    if folder is None:
        pytest.skip("needs the large files: set VECIO_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def golden_folder(data_folder: Path) -> Path:
    """The reference programs' files and answers (tests/data holds the small ones); skipped where there are none."""
    folder = data_folder.parent / "formats" / "golden"
    if not folder.is_dir():
        pytest.skip("needs the reference files: formats/golden beside the folder of VECIO_DATA")
    return folder
