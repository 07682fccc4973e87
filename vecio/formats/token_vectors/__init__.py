"""Vectors of tokens: model2vec's folders, sentence-transformers' StaticEmbedding, and their file alone.

Bytes: specs/model2vec.md, specs/sentence_transformers.md. They share tensors and tokenizer, and differ in the rule for
sentence vectors. What a folder is follows from the names in it and from its modules.json.
"""

from __future__ import annotations

from ..base import Format
from .reader import (
    detect_file,
    detect_model2vec,
    detect_sentence_transformers,
    read_file,
    read_model2vec,
    read_sentence_transformers,
)
from .writer import (
    fate_model2vec,
    fate_sentence_transformers,
    refuses,
    write_model2vec,
    write_sentence_transformers,
)

MODEL2VEC = Format(
    "model2vec",
    (),
    detect_model2vec,
    read_model2vec,
    write_model2vec,
    folder=True,
    fate=fate_model2vec,
    refuses=refuses,
    unique=True,
)
SENTENCE_TRANSFORMERS = Format(
    "sentence-transformers",
    (),
    detect_sentence_transformers,
    read_sentence_transformers,
    write_sentence_transformers,
    folder=True,
    fate=fate_sentence_transformers,
    refuses=refuses,
    unique=True,
)
#: A model.safetensors of either, named by its path.
FILE = Format("static-embedding", (".safetensors",), detect_file, read_file)
