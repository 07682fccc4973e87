"""What reader and writer of finalfusion files both know: the numbers that stand for chunks and types."""

from __future__ import annotations

NAME = "finalfusion"
MAGIC = b"FiFu"
VERSION = 0
#: Chunk ids.
SIMPLE, DENSE, BUCKETS, QUANTISED, METADATA, NORMS, FASTTEXT, EXPLICIT, FLORET = range(1, 10)
CHUNKS = {
    SIMPLE: "simple vocabulary",
    DENSE: "dense storage",
    BUCKETS: "bucket vocabulary",
    QUANTISED: "quantised storage",
    METADATA: "metadata",
    NORMS: "norms",
    FASTTEXT: "fastText vocabulary",
    EXPLICIT: "explicit vocabulary",
    FLORET: "floret vocabulary",
}
VOCABULARIES, STORAGES = (SIMPLE, BUCKETS, FASTTEXT, EXPLICIT, FLORET), (DENSE, QUANTISED)
#: Type numbers.
U8, F32 = 1, 10
#: Centroids that a code of one byte can name; the largest u32.
CENTROIDS, MOST = 256, 0xFFFFFFFF
