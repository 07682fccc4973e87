"""Models of the Hugging Face hub: "owner/name" is a folder, "owner/name/file" one file of it, "@revision" may follow.

Fetching and caching is huggingface_hub's business (extra `hub`); its settings (HF_HOME, HF_ENDPOINT, HF_TOKEN) count.
"""

from __future__ import annotations

import errno
import os

from .errors import VecioError

#: What is fetched of a repository when no file is named: everything but other frameworks' weights and pictures.
WANTED = (
    *("*.json", "*.safetensors", "*.txt", "*.vec", "*.bin", "*.ftz", "*.fifu", "*.floret", "*.kv", "*.model"),
    *("*.npy", "*.npz", "*.magnitude", "*.parquet", "*.arrow", "*.tsv", "*.tar", "vectors*", "key2row"),
    *("vocab/vectors*", "vocab/key2row"),  # a pipeline of spaCy
)
UNWANTED = ("pytorch_model*", "tf_model*", "onnx/*", "openvino/*", "flax_model*", "*.h5", "*.msgpack")
#: Extensions of files that are a model of their own.
VECTORS = (
    ".bin",
    ".ftz",
    ".vec",
    ".safetensors",
    ".fifu",
    ".floret",
    ".kv",
    ".model",
    ".magnitude",
    ".parquet",
    ".arrow",
)
#: What a named file may need beside it.
BESIDE = ("tokenizer.json", "config.json", "modules.json", "config_sentence_transformers.json")


def fetch(name: str) -> str:
    """Return the path of a repository's snapshot or of one of its files, fetched if it is not in the cache.

    name: owner/name[@revision][/file]. Raises VecioError where the extra is missing or the name is no name, and
    OSError (of which huggingface_hub's errors are) where the repository or file cannot be had.
    """
    parts = name.split("/", 2)
    if len(parts) < 2 or not all(parts) or ".." in name.split("/"):
        raise VecioError(f"hf://{name}: expected hf://owner/name or hf://owner/name/file")
    try:
        import huggingface_hub as hub
    except ImportError:
        raise VecioError("hf:// needs the package huggingface_hub: pip install 'vecio[hub]'") from None
    last, _, revision = parts[1].partition("@")
    repository = f"{parts[0]}/{last}"
    file = parts[2] if len(parts) == 3 else ""
    folder = f"{os.path.dirname(file)}/" if "/" in file else ""
    stem = os.path.splitext(file)[0]
    wanted = [file, f"{file}.*", f"{stem}.*", *(folder + name for name in BESIDE)] if file else list(WANTED)
    try:
        place = hub.snapshot_download(
            repository, revision=revision or None, allow_patterns=wanted, ignore_patterns=list(UNWANTED)
        )
    except OSError:
        raise
    except Exception as error:  # its own tree of errors, and those of its HTTP client
        raise VecioError(
            f"hf://{name}: {type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"
        ) from None
    path = os.path.join(place, *file.split("/"))
    if not os.path.exists(path):
        raise FileNotFoundError(errno.ENOENT, f"{os.strerror(errno.ENOENT)} in hf://{repository}", file)
    return path if file else _only_model(path)


def _only_model(folder: str) -> str:
    """Return the one file of vectors in a folder that is not itself a model, else the folder."""
    names = os.listdir(folder)
    found = [name for name in names if os.path.splitext(name)[1] in VECTORS]
    parts_of_models = {"tokenizer.json", "modules.json", "key2row", "0_StaticEmbedding", "vocab"}
    return os.path.join(folder, found[0]) if len(found) == 1 and not parts_of_models & set(names) else folder
