"""Models of the Hugging Face hub: "owner/name" is a folder, "owner/name/file" one file of it, "@revision" may follow.

Fetching and caching is huggingface_hub's business (extra `hub`); its settings (HF_HOME, HF_ENDPOINT, HF_TOKEN) count.
"""

from __future__ import annotations

from .errors import VecioError

#: What is fetched of a repository when no file is named: everything but other frameworks' weights and pictures.
WANTED = (
    "*.json",
    "*.safetensors",
    "*.txt",
    "*.vec",
    "*.bin",
    "*.ftz",
    "*.fifu",
    "*.floret",
    "vectors*",
    "key2row",
)
UNWANTED = ("pytorch_model*", "tf_model*", "onnx/*", "openvino/*", "flax_model*", "*.h5", "*.msgpack")


def fetch(name: str) -> str:
    """Return the path of a repository's snapshot or of one of its files, fetched if it is not in the cache.

    name: owner/name[@revision][/file]. Raises VecioError where the extra is missing or the name is no name, and
    OSError (of which huggingface_hub's errors are) where the repository or file cannot be had.
    """
    parts = name.split("/", 2)
    if len(parts) < 2 or not all(parts):
        raise VecioError(f"hf://{name}: expected hf://owner/name or hf://owner/name/file")
    try:
        import huggingface_hub as hub
    except ImportError:
        raise VecioError("hf:// needs the package huggingface_hub: pip install 'vecio[hub]'") from None
    last, _, revision = parts[1].partition("@")
    repository = f"{parts[0]}/{last}"
    try:
        if len(parts) == 3:
            return str(hub.hf_hub_download(repository, parts[2], revision=revision or None))
        return str(
            hub.snapshot_download(
                repository,
                revision=revision or None,
                allow_patterns=list(WANTED),
                ignore_patterns=list(UNWANTED),
            )
        )
    except OSError:
        raise
    except Exception as error:  # its own tree of errors, and those of its HTTP client
        raise VecioError(f"hf://{name}: {type(error).__name__}: {str(error).splitlines()[0][:200]}") from None
