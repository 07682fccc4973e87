"""Skip-gram with sub-words and negative sampling (SGNS), trained on the CPU.

The model (Mikolov et al. 2013, arXiv 1310.4546; Bojanowski et al. 2017, arXiv 1607.04606). A word w is made of the
rows R(w) of the input matrix Z: its own row and one row for each of its character n-grams. Its vector is their mean

    h_w = 1/|R(w)| · sum of z_r over r in R(w).

Each word c has a second vector u_c, its row of the output matrix. For every place of w in the text and every c at most
`window` places away (a reach drawn uniformly from 1 .. window for each place, so that near words count more), h_w is to
tell c from K words that were drawn at random, with the chance of word i proportional to count(i)^0.75:

    L = -log σ(u_c · h) - sum over k of log σ(-u_k · h),        σ(x) = 1 / (1 + e^-x).

The gradient. With σ'(x) = σ(x) σ(-x), the derivative of -log σ(x) is -σ(-x) = σ(x) - 1, and that of -log σ(-x) is σ(x).
So with y = 1 for the true word and y = 0 for a drawn one, for every output row

    dL/du = (σ(u · h) - y) h,        dL/dh = sum of (σ(u · h) - y) u.

The step is u -= rate · dL/du, and each z_r -= rate · dL/dh. (The chain rule would divide by |R(w)|; fastText's
`Model::update` does not for word models, and neither does this: a word of many n-grams would else learn slowly.)

Two economies against fastText's order of work, with the same expected gradient:

* h_w and the update of the rows R(w) are computed once for each place, not once for each pair: with about 20 n-grams a
  word that saves most of the memory traffic.
* The targets of one place share one draw of K negatives, each counted once for each target (HogBatch, Ji et al. 2016,
  arXiv 1611.06172). A target that was drawn itself is not pushed away from itself.

Frequent words are thinned: an occurrence of a word of relative frequency f stays with chance sqrt(t/f) + t/f.

Start: every row that some word reaches is uniform in ±1/D; the other n-gram rows stay zero, so that an n-gram no
word has adds nothing to an unknown word; the output matrix is zero.

What it is not: CBOW, hierarchical softmax, and fastText's exact order of random numbers.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

import vecio
from vecio import TrainingError
from vecio.subwords import Subwords

from . import schedule
from .corpus import Corpus

Array = npt.NDArray[Any]

_BLOCK = 8_192  # tokens that are trained with one rate and reported together
_DIVERGED = 100.0  # loss for each of the 1 + K words of a pair; a run starts at log 2 and falls
_TABLE = 1 << 20  # slots of the table that negatives are drawn from


@dataclass(frozen=True)
class SgnsConfig:
    """Settings of a run; the defaults are fastText's, save `power`, which is word2vec's.

    dim: D. window: reach at most. negatives: K. epochs: passes over the text. lr: rate at the start, falling to 0.
    minn, maxn: lengths of n-grams (maxn 0: none). bucket: B, rows for n-grams. sample: t, the threshold of thinning (0:
    none). seed: equal seeds give equal vectors, to the bit, with one thread. threads: more share the matrices without
    locks, faster and not reproducible.
    """

    dim: int = 100
    window: int = 5
    negatives: int = 5
    epochs: int = 5
    lr: float = 0.05
    minn: int = 3
    maxn: int = 6
    bucket: int = 2_000_000
    sample: float = 1e-4
    power: float = 0.75
    seed: int = 0
    threads: int = 1

    def check(self) -> None:
        """Raise TrainingError for the first setting that makes no sense."""
        for name in ("dim", "window", "negatives", "epochs", "threads"):
            if getattr(self, name) < 1:
                raise TrainingError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("minn", "maxn", "sample", "seed"):
            if getattr(self, name) < 0:
                raise TrainingError(f"{name} must not be negative, and is {getattr(self, name)}")
        if not 0 < self.lr < math.inf:
            raise TrainingError(f"lr must be a positive number, not {self.lr}")
        if self.minn > self.maxn > 0:
            raise TrainingError(f"minn must not be above maxn: {self.minn} > {self.maxn}")
        if self.maxn > 0 and self.bucket < 1:
            raise TrainingError(f"bucket must be at least 1 when words have n-grams, not {self.bucket}")


@dataclass(frozen=True)
class Progress:
    """How far a run is: tokens done of all, the recent mean loss of a pair, and the clock."""

    done: int
    total: int
    loss: float
    rate: float
    seconds: float

    @property
    def words_per_second(self) -> float:
        """Return the tokens read in a second, the thinned ones too."""
        return self.done / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float:
        """Return the time that the rest will take at this speed."""
        return (self.total - self.done) * self.seconds / self.done if self.done else math.inf


@dataclass
class SgnsModel:
    """A trained model. inputs float32 (V+B, D): word rows, then n-gram rows. outputs float32 (V, D).

    losses: mean loss of a pair, one number for each epoch. seconds: the training alone, without compilation.
    """

    corpus: Corpus
    config: SgnsConfig
    inputs: Array
    outputs: Array
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def embeddings(self, metadata: dict[str, str] | None = None) -> vecio.Embeddings:
        """Return the word vectors, able to embed unknown words, as `vecio.Embeddings` in memory."""
        nwords, config = len(self.corpus.words), self.config
        about = {"trainer": "sgns", **{name: str(value) for name, value in asdict(config).items()}}
        return vecio.Embeddings.from_arrays(
            self.corpus.words,
            self.inputs[:nwords],
            counts=self.corpus.counts,
            grams=self.inputs[nwords:] if config.maxn > 0 else None,
            minn=config.minn,
            maxn=config.maxn,
            accumulated=False,
            metadata={**about, **(metadata or {})},
        )


def train(
    corpus: Corpus, config: SgnsConfig | None = None, progress: Callable[[Progress], None] | None = None
) -> SgnsModel:
    """Train on the corpus; `progress` is called several times a second, from the calling thread.

    TrainingError: a setting makes no sense, the matrices do not fit into memory, or the loss is no longer a number.
    Cost: see `tools/bench`; the first call in a process compiles the kernel or loads it from numba's cache.
    """
    config = config or SgnsConfig()
    config.check()
    model, run = _prepare(corpus, config)
    started = time.perf_counter()
    total = config.epochs * len(corpus)
    done, recent = 0, deque[tuple[float, int]](maxlen=max(1, len(run.blocks)))
    for epoch in range(config.epochs):
        epoch_loss, epoch_pairs = 0.0, 0
        for tokens, loss, pairs in _epoch(model, run, epoch, total):
            done += tokens
            epoch_loss += loss
            epoch_pairs += pairs
            recent.append((loss, pairs))
            if not loss <= _DIVERGED * (1 + config.negatives) * max(pairs, 1):  # NaN too
                raise TrainingError(
                    f"the training diverged in epoch {epoch + 1}: try a smaller lr than {config.lr}"
                )
            if progress is not None:
                now = time.perf_counter() - started
                rate = schedule.linear(done, total, config.lr)
                progress(Progress(done, total, _mean(recent), rate, now))
        if epoch_pairs == 0 and config.sample == 0:
            raise TrainingError("no passage of the text holds two words: a word needs others around it")
        model.losses.append(epoch_loss / max(epoch_pairs, 1))
    model.seconds = time.perf_counter() - started
    return model


def input_rows(words: list[str], config: SgnsConfig) -> tuple[Array, Array]:
    """Return the input rows of all words, one after the other (int32), and where each begins (int64, V+1).

    A word's own row comes first, then V + r for each row r of its n-grams.
    """
    subwords = Subwords(config.minn, config.maxn, max(config.bucket, 1))
    nwords = len(words)
    lists = [
        [i, *(nwords + row for row in subwords.rows(word.encode("utf-8", "surrogateescape")))]
        for i, word in enumerate(words)
    ]
    starts = np.concatenate([[0], np.cumsum([len(rows) for rows in lists])]).astype(np.int64)
    return np.array([row for rows in lists for row in rows], np.int32), starts


def keep_chances(counts: Array, sample: float) -> Array:
    """Return the chance (float32, V) that an occurrence of a word is trained on: sqrt(t/f) + t/f, 1 at the most."""
    if sample == 0:
        return np.ones(len(counts), np.float32)
    ratio = sample * counts.sum() / counts
    return np.minimum(np.sqrt(ratio) + ratio, 1.0).astype(np.float32)


def negative_table(counts: Array, power: float, size: int = _TABLE) -> Array:
    """Return a table of words (int32), each as often as count^power asks; drawing a slot draws a negative."""
    borders = np.cumsum(counts.astype(np.float64) ** power)
    places = (np.arange(size) + 0.5) * (borders[-1] / size)
    return np.searchsorted(borders, places).astype(np.int32)


@dataclass(frozen=True)
class _Run:
    """What every block of one run needs, beside the matrices."""

    rows: Array
    row_starts: Array
    keep: Array
    table: Array
    blocks: list[tuple[int, int]]


def _prepare(corpus: Corpus, config: SgnsConfig) -> tuple[SgnsModel, _Run]:
    """Make the matrices with their start values, the tables, and compile the kernel on an empty range."""
    from .kernels_cpu import sgns as kernels

    nwords = len(corpus.words)
    if nwords + config.bucket >= 1 << 31:
        raise TrainingError(
            f"{nwords} words and {config.bucket} n-gram rows are more than 2^31 rows: lower bucket"
        )
    rows, row_starts = input_rows(corpus.words, config)
    reached = np.unique(rows)
    try:
        inputs = np.zeros((nwords + (config.bucket if config.maxn > 0 else 0), config.dim), np.float32)
        outputs = np.zeros((nwords, config.dim), np.float32)
        start_values = np.empty((len(reached), config.dim), np.float32)
    except (MemoryError, ValueError) as error:
        size = 4 * config.dim * (2 * nwords + config.bucket)
        raise TrainingError(f"no memory for matrices of {size / 1e9:.1f} GB: lower dim or bucket") from error
    kernels.fill_uniform(start_values.reshape(-1), 1.0 / config.dim, _random_state(config.seed))
    inputs[reached] = start_values
    model = SgnsModel(corpus, config, inputs, outputs)
    keep = keep_chances(corpus.counts, config.sample)
    run = _Run(rows, row_starts, keep, negative_table(corpus.counts, config.power), _blocks(corpus.starts))
    _train_block(model, run, 0, 0, 0.0, _random_state(config.seed))
    return model, run


def _blocks(starts: Array) -> list[tuple[int, int]]:
    """Cut the passages into ranges of about `_BLOCK` tokens, at least one passage each."""
    blocks, first = [], 0
    while first < len(starts) - 1:
        last = int(np.searchsorted(starts, starts[first] + _BLOCK, side="right")) - 1
        last = min(max(last, first + 1), len(starts) - 1)
        blocks.append((first, last))
        first = last
    return blocks


def _random_state(*key: int) -> Array:
    """Return a generator's state (uint64[1]) that depends on the key alone."""
    return np.random.SeedSequence(key).generate_state(1, np.uint64)


def _train_block(
    model: SgnsModel, run: _Run, first: int, last: int, rate: float, state: Array
) -> tuple[float, int]:
    from .kernels_cpu import sgns as kernels

    corpus, config = model.corpus, model.config
    loss, pairs = kernels.train_block(
        *(corpus.ids, corpus.starts, first, last, run.keep, run.table, run.row_starts, run.rows),
        *(model.inputs, model.outputs, np.float32(rate), config.window, config.negatives, state),
    )
    return float(loss), int(pairs)


def _epoch(model: SgnsModel, run: _Run, epoch: int, total: int) -> Iterator[tuple[int, float, int]]:
    """Train on every block once; yield (tokens, loss, pairs) of each, in order."""
    corpus, config = model.corpus, model.config
    before = epoch * len(corpus)

    def work(number: int) -> tuple[int, float, int]:
        first, last = run.blocks[number]
        begin, end = int(corpus.starts[first]), int(corpus.starts[last])
        rate = schedule.linear(before + begin, total, config.lr)
        loss, pairs = _train_block(model, run, first, last, rate, _random_state(config.seed, epoch, number))
        return end - begin, loss, pairs

    if config.threads == 1:
        yield from map(work, range(len(run.blocks)))
        return
    with ThreadPoolExecutor(config.threads) as pool:
        waiting = deque[Future[tuple[int, float, int]]]()
        for number in range(len(run.blocks)):
            waiting.append(pool.submit(work, number))
            if len(waiting) > 2 * config.threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _mean(parts: deque[tuple[float, int]]) -> float:
    return sum(loss for loss, _ in parts) / max(sum(pairs for _, pairs in parts), 1)
