"""Where the models of the tests lie: the small ones in tests/data, published ones in the folder of large files.

That folder is VECIO_DATA, else ../shared/data beside the checkout; where there is none, only the small models are used.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

DATA = Path(__file__).resolve().parent / "data"
LARGE = Path(os.environ.get("VECIO_DATA") or DATA.parents[2] / "shared" / "data")
#: The JSON files with the real programs' answers, one a model (tests/data/README.md).
ANSWERS = sorted(p for kind in ("fasttext", "floret", "real") for p in (DATA / kind).glob("*.json"))


def model_of(answers: Path) -> Path | None:
    """Return the model that a JSON file belongs to, or None where it is not at hand."""
    golden = json.loads(answers.read_text("utf-8"))
    if "file" in golden:
        return answers.parent / str(golden["file"])
    path = LARGE / str(golden["path"])
    if not path.is_file():
        return None
    assert hashlib.sha256(path.read_bytes()).hexdigest() == golden["sha256"], f"{path} is another file"
    return path


def models() -> list[Path]:
    """Return all models that are at hand."""
    return [path for path in map(model_of, ANSWERS) if path is not None]
