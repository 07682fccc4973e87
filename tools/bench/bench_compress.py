"""Size against quality on a real model: vecio's `size=` beside compress-fasttext, file for file.

    python tools/bench/bench_compress.py MODEL.bin [--peer PYTHON] [--unknown LIST ...] [--pairs FILE ...] [--json OUT]

For each of the peer's rungs (`prune_ft_freq` with different numbers of rows) vecio is told to make a file of at most
the same size. Judged by the mean cosine to the vectors of the model itself: over all words of the vocabulary, the same
weighted by their counts, and over unknown words from lists (one a line, `wrong->right` takes the left side; .gz or
not); and by the rank correlation with people's judgements (files of `word word score`). Every file of vecio's answers
all queries, and is saved again.

--peer: a Python that has compress-fasttext, gensim and scikit-learn (peers-compress in peers.txt). Without it vecio's
files are made for the sizes that are known (SIZES). A model of 17 M words of text: `fasttext skipgram -dim 100 -minn 3
-maxn 6 -bucket 2000000 -epoch 1`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

#: The peer's rungs: words, n-gram rows, and codes a row (0: float16).
RUNGS = (
    (81_500, 213_000, 0),
    (40_000, 65_000, 100),
    (20_000, 85_000, 100),
    (10_000, 50_000, 100),
    (20_000, 85_000, 50),
)
#: Sizes of their files for the model above, where the peer is not there.
SIZES = (62_403_660, 11_945_707, 11_779_630, 6_781_377, 6_528_830)
MOST = 3000


def lines(path: str) -> list[str]:
    opener: Any = gzip.open if path.endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8") as stream:
        return [line.rstrip("\n") for line in stream]


def unknown_words(paths: list[str], known: Callable[[str], bool]) -> list[str]:
    """Return up to MOST words of each list that the model does not know, the same each time."""
    found = []
    for path in paths:
        words = {line.split("->")[0].strip() for line in lines(path)}
        usable = sorted(w for w in words if w.isalpha() and len(w) > 2 and not known(w))
        order = np.random.default_rng(1).permutation(len(usable))[:MOST]
        found += [usable[i] for i in order]
    return found


def pairs_of(path: str) -> list[tuple[str, str, float]]:
    """Return the pairs of a file of judgements: two words and the first number behind them."""
    found = []
    for line in lines(path):
        fields = line.lower().replace(",", "\t").split()
        numbers = [f for f in fields[2:] if f.replace(".", "", 1).isdigit()]
        if len(fields) > 2 and numbers:
            found.append((fields[0], fields[1], float(numbers[0])))
    return found


def cosines(a: Any, b: Any) -> Any:
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    norms = np.sqrt((x * x).sum(1) * (y * y).sum(1))
    return np.where(norms > 0, (x * y).sum(1) / np.where(norms > 0, norms, 1), 0.0)


def spearman(a: Any, b: Any) -> float:
    def ranks(values: Any) -> Any:
        _, place, count = np.unique(values, return_inverse=True, return_counts=True)
        return (np.cumsum(count) - (count - 1) / 2)[place]

    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def judge(task: dict[str, Any], embed: Callable[[list[str]], Any]) -> dict[str, float]:
    """Return the figures of a file from its vectors."""
    reference = np.load(task["reference"])
    words, unknown, counts = task["words"], task["unknown"], np.array(task["counts"], np.float64)
    near = cosines(embed(words), reference[: len(words)])
    found = {"words": float(near.mean()), "weighted": float((near * counts).sum() / counts.sum())}
    if unknown:
        found["unknown"] = float(cosines(embed(unknown), reference[len(words) :]).mean())
    for path in task["pairs"]:
        pairs = pairs_of(path)
        scores = cosines(embed([p[0] for p in pairs]), embed([p[1] for p in pairs]))
        found[Path(path).stem] = spearman(scores, np.array([p[2] for p in pairs]))
    return found


# -- the peer, in its own Python -------------------------------------------------------------------------------------


def as_peer(task: dict[str, Any]) -> None:
    from importlib import import_module  # not there where vecio's types are checked

    prune_ft_freq = import_module("compress_fasttext.compress").prune_ft_freq
    load_facebook_vectors = import_module("gensim.models.fasttext").load_facebook_vectors

    model = load_facebook_vectors(task["model"])
    for words, grams, codes in task["rungs"]:
        began = time.process_time()
        small = prune_ft_freq(model, words, grams, fp16=True, pq=codes > 0, qdim=codes or 100)
        seconds = time.process_time() - began
        with tempfile.TemporaryDirectory() as folder:
            small.save(os.path.join(folder, "small"))
            size = sum(os.path.getsize(os.path.join(folder, name)) for name in os.listdir(folder))

        def embed(keys: list[str], small: Any = small) -> Any:
            out = np.zeros((len(keys), small.vector_size), np.float32)
            for i, key in enumerate(keys):
                out[i] = small.word_vec(key)
            return out

        name = f"{words:,} + {grams:,}, {f'{codes} codes' if codes else 'float16'}"
        print(json.dumps({"name": name, "size": size, "seconds": seconds, **judge(task, embed)}), flush=True)


# -- vecio -----------------------------------------------------------------------------------------------------------


def as_vecio(task: dict[str, Any], size: int, folder: str) -> dict[str, Any]:
    import vecio

    target = os.path.join(folder, "small.safetensors")
    began = time.process_time()
    report = vecio.convert(task["model"], target, size=size)
    seconds = time.process_time() - began
    with vecio.open(target) as small:
        assert os.path.getsize(target) <= size
        figures = judge(task, lambda keys: small.embed(keys, "zero"))
        some = task["words"][0]
        assert len(small.most_similar(some, topn=5)) == 5 and small.explain(task["words"][-1] + "x")
        assert small.encode([some + " and more"]).any() and small.words[0] == task["words"][0]
        assert small.metadata["quality"] == report.quality
        small.save(os.path.join(folder, "again.safetensors"))
        keys = task["words"][:1000] + task["unknown"][:1000]
        with vecio.open(os.path.join(folder, "again.safetensors")) as again:
            assert again.embed(keys, "zero").tobytes() == small.embed(keys, "zero").tobytes()
        assert small._grams is not None
        name = f"{len(small):,} {small.dtype} + {len(small._grams):,} {small._grams.dtype}"
    return {"name": name, "size": os.path.getsize(target), "seconds": seconds, **figures}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--peer")
    parser.add_argument("--unknown", nargs="*", default=[])
    parser.add_argument("--pairs", nargs="*", default=[])
    parser.add_argument("--json")
    parser.add_argument("--rungs", type=int, default=len(RUNGS))
    if sys.argv[1:2] == ["--as-peer"]:
        as_peer(json.loads(Path(sys.argv[2]).read_text()))
        return
    options = parser.parse_args()
    import vecio

    with tempfile.TemporaryDirectory() as folder, vecio.open(options.model) as e:
        words = list(e.words)
        unknown = unknown_words(options.unknown, lambda word: word in e)
        reference = os.path.join(folder, "reference.npy")
        np.save(reference, e.embed(words + unknown, "zero"))
        assert e.counts is not None
        task = {
            "model": os.path.abspath(options.model),
            "reference": reference,
            "words": words,
            "unknown": unknown,
            "counts": e.counts.tolist(),
            "pairs": [os.path.abspath(path) for path in options.pairs],
            "rungs": RUNGS[: options.rungs],
        }
        rows: list[dict[str, Any]] = []
        source = os.path.getsize(options.model)
        whole = judge(task, lambda keys: e.embed(keys, "zero"))
        rows.append({"program": "the model", "name": "", "size": source, "seconds": 0.0, **whole})
        peers: list[dict[str, Any]] = [{"size": size} for size in SIZES[: options.rungs]]
        if options.peer:
            spec = Path(folder) / "task.json"
            spec.write_text(json.dumps(task))
            made = subprocess.run(
                [options.peer, "-W", "ignore", __file__, "--as-peer", str(spec)],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
            peers = [json.loads(line) for line in made.stdout.splitlines()]
        for peer in peers:
            if "name" in peer:
                rows.append({"program": "compress-fasttext", **peer})
            rows.append({"program": "vecio", **as_vecio(task, peer["size"], folder)})
        figures = [key for key in rows[0] if key not in ("program", "name", "size", "seconds")]
        print(f"| program | rows | bytes | of the model | CPU s | {' | '.join(figures)} |")
        print("| --- " * (5 + len(figures)) + "|")
        for row in rows:
            values = " | ".join(f"{row[key]:.5f}" for key in figures)
            print(
                f"| {row['program']} | {row['name']} | {row['size']:,} | {row['size'] / source:.2%} | "
                f"{row['seconds']:.0f} | {values} |"
            )
        if options.json:
            Path(options.json).write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
