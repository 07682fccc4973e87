"""From lines of text to labels, for many lines at a time: tokens, rows, their mean, dot products, the best k labels.

The plain twin is `classifier.Classifier`; both give the same bits. Every sum is rounded to float32 at each step, in the
order of fastText's loops (`src/model.cc`, `src/loss.cc`, `src/matrix.cc`); exp and log are the C library's, called one
at a time. Nothing is checked here and nothing raises: a line that cannot be served is reported by its number.

`model` is the tuple that `Classifier` makes, of few arrays, because each costs a single call 0.1 us:
    numbers     int64: V, longest word n-gram, L, loss, 1 when `weights` is transposed, entry of `</s>` (or -1), place
                of the prefix; from TREE on the left, then the right child of each of the L - 1 inner nodes of the tree
                (hs only); last the bytes that a label begins with
    vocabulary  blob, offsets, gap, table (see `vocabulary`)
    subwords    see `Subwords.kernel`
    words       storage of the V word rows (see `rows`)
    grams       storage of the n-gram rows
    weights     float32 (D, L), or (L, D): the output rows without their norms
    tables      float32: fastText's 513 values of the logistic function; then what the L dot products are multiplied
                with, or nothing
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from ._jit import jit
from .lookup import (
    CRC_MASK,
    FNV_START,
    bracket,
    crc_step,
    fnv_step,
    has_ngrams,
    is_end,
    own_row,
    probe,
    pruned_row,
    push_ascii,
    push_ngrams,
    rows_a_start,
)
from .rows import add_rows, prefetch

#: Losses by number, as `Classifier` passes them.
HS, NS, SOFTMAX, OVA = 1, 2, 3, 4
#: Where the tree begins in `numbers`, and the norms in `tables`.
TREE, NORMS = 7, 513

# Calls of the C library. They stay calls: the compiler must not put a vector library's exp in their place.
_expf = types.ExternalFunction("expf", types.float32(types.float32))
_exp = types.ExternalFunction("exp", types.float64(types.float64))
_log = types.ExternalFunction("log", types.float64(types.float64))

U = np.uint64
F = np.float32
_32 = U(32)
_HIGH, _MIX = U(0xFFFFFFFF00000000), U(116049371)
#: fastText's hash of `</s>`.
_END_HASH = U(3617362777)

#: Row numbers that are collected before they are added.
PENDING = 1024
#: Words whose rows are remembered at the most, and how many rows a word may have to be.
SLOTS, MEMO_ROWS = 16384, 64
#: See `subwords.MOST_NGRAMS`: a line with more n-grams than this is refused.
MOST_NGRAMS = 1 << 24
#: What a score must lie below the worst kept one, at least, for its logarithm not to be needed: more than what two
#: roundings to float32 (2 x 4.8e-7 for numbers up to 16) can bring together.
_MARGIN = 1.0 - 4e-6


@jit
def _is_separator(c: Any) -> bool:
    return c <= 32 and (c == 32 or c == 0 or 9 <= c <= 13)


@jit
def _is_label(text: Any, start: int, stop: int, numbers: Any) -> bool:
    """Say whether a token begins as labels do."""
    prefix = numbers[6]
    if stop - start < len(numbers) - prefix:
        return False
    for i in range(len(numbers) - prefix):
        if text[start + i] != numbers[prefix + i]:
            return False
    return True


@jit
def _too_many(length: int, subwords: Any) -> bool:
    """Say whether the bracketed word of `length` bytes may have more n-grams than `MOST_NGRAMS`."""
    return min(subwords[1], length) * length > MOST_NGRAMS


@jit
def scratch(model: Any, size: int, longest: int, k: int) -> Any:
    """Return working memory for `size` bytes of text, in lines of at most `longest` bytes, cut from few arrays.

    For `read_line`: ids, hashes (int64), word (uint8), hidden, float32 (1, D), where it leaves its result, memo and
    arena; they are empty for a single line, and where words have no n-grams: a memo is slower than the dictionary. For
    `rank`: values (L,), scores and kept (k + 1,), stack and waiting (L + 1,).
    """
    numbers, weights = model[0], model[5]
    dim = weights.shape[0] if numbers[4] else weights.shape[1]
    room = PENDING + MEMO_ROWS + rows_a_start(model[2], longest + 2)
    tokens = longest // 2 + 2 if numbers[1] > 1 else 1
    count = numbers[2] if numbers[4] else 0
    nodes = numbers[2] + 1 if numbers[3] == HS else 0
    slots = 0
    if size > longest and has_ngrams(model[2]):
        slots = 64
        while slots < SLOTS and slots * 16 < size:
            slots *= 2
    ints = np.empty(room + tokens + nodes + k + 1 + 1 + 8 * slots, np.int64)
    floats = np.empty(dim + count + nodes + k + 1, np.float32)
    a, b = room + tokens, dim + count
    c = a + nodes
    arena = ints[c + k + 1 :]
    arena[0] = 1
    return (
        ints[:room],
        ints[room:a],
        np.empty(longest + 2, np.uint8),
        floats[:dim].reshape(1, dim),
        np.zeros((slots, 4), np.int64),
        arena,
        floats[dim:b],
        floats[b + nodes :],
        ints[c : c + k + 1],
        ints[a:c],
        floats[b : b + nodes],
    )


@jit
def _scan(text: Any, place: int, stop: int, with_hash: bool) -> Any:
    """Read a token: return where it ends, its CRC-32, fastText's hash (if wanted), and the union of its bytes."""
    crc, fnv, high = CRC_MASK, FNV_START, U(0)
    if with_hash:
        while place < stop and not _is_separator(text[place]):
            crc, fnv = crc_step(crc, text[place]), fnv_step(fnv, text[place])
            high |= U(text[place])
            place += 1
    else:
        while place < stop and not _is_separator(text[place]):
            crc = crc_step(crc, text[place])
            high |= U(text[place])
            place += 1
    return place, crc ^ CRC_MASK, fnv, high


# Words come again within a few lines. The memo keeps the rows of those that were read last, so that neither the
# dictionary nor the n-grams are asked again: memo[slot] is the word's CRC-32 and length, where it stands in the text,
# where its rows begin in `arena`, and their number. arena[0] is the first free place.


@jit
def _is_remembered(memo: Any, slot: int, crc: Any, text: Any, begin: int, place: int) -> bool:
    if len(memo) == 0 or memo[slot, 0] != np.int64(crc << _32 | U(place - begin)):
        return False
    first = memo[slot, 1]
    for i in range(place - begin):
        if text[first + i] != text[begin + i]:
            return False
    return True


@jit
def _remember(
    memo: Any, arena: Any, slot: int, crc: Any, begin: int, place: int, ids: Any, first: int, n: int
) -> None:
    """Keep the rows `ids[first:n]` of the word `text[begin:place]`."""
    if n - first > MEMO_ROWS or len(memo) == 0:
        return
    free = arena[0]
    if free + n - first > len(arena):  # full: forget everything
        memo[:] = 0
        free = 1
    memo[slot, 0], memo[slot, 1] = np.int64(crc << _32 | U(place - begin)), begin
    memo[slot, 2], memo[slot, 3] = free, n - first
    for i in range(first, n):
        arena[free] = ids[i]
        free += 1
    arena[0] = free


@jit
def read_line(model: Any, text: Any, place: int, stop: int, newline: bool, work: Any, labels: Any) -> Any:
    """Read the line that begins at `place` and leave the mean of its rows in `work`.

    The line ends behind a newline or a token `</s>`, or at `stop`, where a newline is assumed if `newline`. Labels that
    the dictionary knows go to `labels` as far as there is room. Returns (where the next line begins, number of rows,
    number of labels); -1 rows: the line has too many n-grams.
    """
    numbers, subwords, words, grams = model[0], model[2], model[3], model[4]
    blob, offsets, gap, table = model[1]
    nwords, longest = numbers[0], numbers[1]
    ids, hashes, word, hidden, memo, arena = work[0], work[1], work[2], work[3], work[4], work[5]
    with_ngrams, fast = has_ngrams(subwords), subwords[3] == 0
    hidden[0] = F(0)
    n, added, tokens, found = 0, 0, 0, 0
    while True:
        while place < stop and text[place] != 10 and _is_separator(text[place]):
            place += 1
        begin = place
        place, crc, fnv, high = _scan(text, place, stop, longest > 1)
        if n >= PENDING:
            add_rows(hidden, 0, ids, 0, n, nwords, words, grams)
            added, n = added + n, 0
        slot = np.int64(crc) & (len(memo) - 1)
        if begin == place:
            if place == stop and not newline:
                break
            end, entry = True, numbers[5]
        elif _is_remembered(memo, slot, crc, text, begin, place):
            if longest > 1:
                hashes[tokens] = np.int64(fnv)
                tokens += 1
            start = memo[slot, 2]
            for i in range(start, start + memo[slot, 3]):
                ids[n] = arena[i]
                n += 1
            continue
        else:
            end = is_end(text, begin, place)
            entry = probe(text, begin, place, crc, blob, offsets, gap, table)
        if entry >= nwords:
            if found < len(labels):
                labels[found] = entry - nwords
                found += 1
        elif entry >= 0 or end or not _is_label(text, begin, place, numbers):
            if longest > 1:
                hashes[tokens] = np.int64(_END_HASH if end else fnv)
                tokens += 1
            first, before = n, added
            plain = entry >= 0 and subwords[1] <= 0  # a known word without n-grams, in floret's files, too
            own = entry if plain else own_row(entry, end, nwords, subwords)
            if own >= 0:
                ids[n] = own
                prefetch(words[0], own)
                n += 1
            if with_ngrams and not end and not plain:
                length, at = bracket(text, begin, place, word), 0
                if _too_many(length, subwords):
                    return place, -1, found
                while True:
                    if fast and high < 128:
                        n, at = push_ascii(word, length, at, subwords, nwords, ids, n, len(ids))
                    else:
                        n, at = push_ngrams(word, length, at, subwords, nwords, ids, n, len(ids))
                    if at >= length:
                        break
                    add_rows(hidden, 0, ids, 0, n, nwords, words, grams)
                    added, n = added + n, 0
                if added == before:
                    _remember(memo, arena, slot, crc, begin, place, ids, first, n)
        if end:
            if begin == place and place < stop:
                place += 1  # the newline itself
            break
    if tokens > 1:
        if tokens * min(longest, tokens) > MOST_NGRAMS:
            return place, -1, found
        bucket, pruned = U(subwords[2]), subwords[4]
        for i in range(tokens):
            h = _signed(hashes[i])
            for j in range(i + 1, min(tokens, i + longest)):
                h = h * _MIX + _signed(hashes[j])
                row = pruned_row(np.int64(h % bucket), pruned)
                if row >= 0:
                    if n >= PENDING:
                        add_rows(hidden, 0, ids, 0, n, nwords, words, grams)
                        added, n = added + n, 0
                    ids[n] = nwords + row
                    prefetch(grams[0], row)
                    n += 1
    add_rows(hidden, 0, ids, 0, n, nwords, words, grams)
    added += n
    if added > 0:
        hidden[0] *= F(1.0 / added)
    return place, added, found


@jit
def _signed(h: Any) -> Any:
    """Return a 32-bit hash read as a signed number and widened to 64 bits."""
    return U(h) | _HIGH if h >= 0x80000000 else U(h)


# -- dot products --------------------------------------------------------------------------------------------


@jit
def _dot_all(weights: Any, tables: Any, hidden: Any, out: Any) -> None:
    """Write the dot product of `hidden` with every output row to `out`; weights (D, L), each sum in the order of D."""
    dim, count = weights.shape
    for i in range(count):
        out[i] = F(0)
    j = 0
    while j + 4 <= dim:
        a, b, c, d = hidden[j], hidden[j + 1], hidden[j + 2], hidden[j + 3]
        w, x, y, z = weights[j], weights[j + 1], weights[j + 2], weights[j + 3]
        for i in range(count):
            total = out[i] + w[i] * a
            total += x[i] * b
            total += y[i] * c
            out[i] = total + z[i] * d
        j += 4
    while j < dim:
        a, w = hidden[j], weights[j]
        for i in range(count):
            out[i] += w[i] * a
        j += 1
    if len(tables) > NORMS:
        for i in range(count):
            out[i] *= tables[NORMS + i]


@jit
def _dot_row(weights: Any, tables: Any, hidden: Any, row: int) -> Any:
    """Return the dot product of `hidden` with one output row; weights (L, D)."""
    total = F(0)
    for j in range(weights.shape[1]):
        total += weights[row, j] * hidden[j]
    if len(tables) > NORMS:
        total *= tables[NORMS + row]
    return total


# -- the heap of the GNU C++ library: the worst kept score on top --------------------------------------------


@jit
def _sift_up(scores: Any, ids: Any, place: int, score: Any, label: int) -> None:
    while place > 0:
        parent = (place - 1) >> 1
        if not scores[parent] > score:
            break
        scores[place], ids[place] = scores[parent], ids[parent]
        place = parent
    scores[place], ids[place] = score, label


@jit
def _pop(scores: Any, ids: Any, size: int) -> None:
    """Move the worst of `size` items behind the others (`std::pop_heap`)."""
    last = size - 1
    score, label = scores[last], ids[last]
    scores[last], ids[last] = scores[0], ids[0]
    place, child = 0, 2
    while child < last:
        if scores[child] > scores[child - 1]:
            child -= 1
        scores[place], ids[place] = scores[child], ids[child]
        place = child
        child = 2 * place + 2
    if child == last:
        scores[place], ids[place] = scores[child - 1], ids[child - 1]
        place = child - 1
    _sift_up(scores, ids, place, score, label)


@jit
def _push(scores: Any, ids: Any, size: int, k: int, score: Any, label: int) -> int:
    """Add an item and drop the worst if there are more than `k`; return the new size."""
    _sift_up(scores, ids, size, score, label)
    if size < k:
        return size + 1
    _pop(scores, ids, size + 1)
    return size


@jit
def _sort(scores: Any, ids: Any, size: int) -> None:
    """Order the heap by falling score (`std::sort_heap`)."""
    for n in range(size, 1, -1):
        _pop(scores, ids, n)


# -- losses --------------------------------------------------------------------------------------------------


@jit
def log_score(p: Any) -> Any:
    """Return fastText's logarithm of a probability: f32(ln(p + 1e-5))."""
    return F(_log(np.float64(p) + 1e-5))


@jit
def _probabilities(model: Any, values: Any) -> bool:
    """Turn the dot products into probabilities, in place; return False when one of them is not a number."""
    loss, tables = model[0][3], model[6]
    count = len(values)
    for i in range(count):
        if np.isnan(values[i]):
            return False
    if loss == SOFTMAX:
        best = values[0]
        for i in range(1, count):
            best = max(best, values[i])
        total = F(0)
        for i in range(count):
            values[i] = F(_exp(np.float64(values[i] - best)))
            total += values[i]
        for i in range(count):
            values[i] /= total
    else:
        for i in range(count):
            x = values[i]
            if x < F(-8):
                values[i] = F(0)
            elif x > F(8):
                values[i] = F(1)
            else:
                values[i] = tables[np.int64((x + F(8)) * F(512) / F(8) / F(2))]
    return True


@jit
def _best(values: Any, k: int, threshold: Any, scores: Any, ids: Any) -> int:
    """Keep the best `k` of the probabilities as (score, label); return how many (`Loss::findKBest`)."""
    size, hopeless = 0, -1.0
    for i in range(len(values)):
        if values[i] < threshold:
            continue
        if size == k and np.float64(values[i]) + 1e-5 < hopeless:
            continue
        score = log_score(values[i])
        if size == k and score < scores[0]:
            continue
        size = _push(scores, ids, size, k, score, i)
        if size == k:
            hopeless = _exp(np.float64(scores[0])) * _MARGIN
    return size


@jit
def _best_in_tree(model: Any, work: Any, k: int, threshold: Any) -> int:
    """Walk the tree of hs depth first, left first, and keep the best `k` leaves (`HierarchicalSoftmaxLoss::dfs`).

    The dot products of the inner nodes are in `work`, or are made as they are needed. Returns how many leaves were
    kept, or -1 when a dot product is not a number.
    """
    numbers, hidden, values, scores, kept = model[0], work[3][0], work[6], work[7], work[8]
    stack, waiting = work[9], work[10]
    leaves = numbers[2]
    floor = log_score(threshold)
    size, depth = 0, 1
    stack[0], waiting[0] = 2 * leaves - 2, F(0)
    while depth > 0:
        depth -= 1
        node, score = stack[depth], waiting[depth]
        if score < floor or (size == k and score < scores[0]):
            continue
        if node < leaves:
            size = _push(scores, kept, size, k, score, node)
            continue
        row = node - leaves
        f = values[row] if len(values) > 0 else _dot_row(model[5], model[6], hidden, row)
        if np.isnan(f):
            return -1
        f = F(1) / (F(1) + _expf(-f))
        left = TREE + row
        stack[depth], waiting[depth] = numbers[left + leaves - 1], score + log_score(f)
        stack[depth + 1], waiting[depth + 1] = numbers[left], score + log_score(F(1) - f)
        depth += 2
    return size


@jit
def rank(model: Any, work: Any, rows: int, k: int, threshold: Any) -> int:
    """Leave the best labels of the line that was read, and their scores, in `work`, best first.

    Returns how many there are; -1 when a dot product is not a number, or when `rows` is -1.
    """
    if rows <= 0:
        return rows
    values, scores, kept = work[6], work[7], work[8]
    if len(values) > 0:
        _dot_all(model[5], model[6], work[3][0], values)
    if model[0][3] == HS:
        size = _best_in_tree(model, work, k, threshold)
    elif _probabilities(model, values):
        size = _best(values, k, threshold, scores, kept)
    else:
        return -1
    _sort(scores, kept, size)
    return size


# -- what is called from outside -----------------------------------------------------------------------------


@jit
def predict(
    model: Any,
    text: Any,
    bounds: Any,
    gap: int,
    start: int,
    stop: int,
    newline: bool,
    k: int,
    threshold: float,
    counts: Any,
    ids: Any,
    probs: Any,
) -> int:
    """Predict labels for the lines `start` .. `stop - 1`; line i is `text[bounds[i] : bounds[i + 1] - gap]`.

    Writes counts (N,), ids int32 (N, k) and probs float32 (N, k), best first; with k = 0 instead the means of the lines
    to probs (N, D). Returns `stop`, or the number of a line that cannot be served (and none behind it was).
    """
    longest = 0
    for i in range(start, stop):
        longest = max(longest, bounds[i + 1] - gap - bounds[i])
    work = scratch(model, bounds[stop] - bounds[start], longest + gap, k)
    hidden, scores, kept = work[3], work[7], work[8]
    none, limit = work[8][:0], F(threshold)
    for i in range(start, stop):
        _, rows, _ = read_line(model, text, bounds[i], bounds[i + 1] - gap, newline, work, none)
        if k == 0:
            size = min(rows, 0)
            probs[i] = hidden[0]
        else:
            size = rank(model, work, rows, k, limit)
        if size < 0:
            return i
        counts[i] = size
        for r in range(size):
            ids[i, r] = kept[r]
            probs[i, r] = _expf(scores[r])
    return stop


@jit
def predict_one(model: Any, text: Any, newline: bool, k: int, threshold: float, ids: Any, probs: Any) -> int:
    """Predict labels for one line: the whole of `text`. Returns how many, or -1 when it cannot be served."""
    work = scratch(model, len(text), len(text), k)
    _, rows, _ = read_line(model, text, 0, len(text), newline, work, work[8][:0])
    size = rank(model, work, rows, k, F(threshold))
    for r in range(size):
        ids[r] = work[8][r]
        probs[r] = _expf(work[7][r])
    return size


@jit
def test(
    model: Any, text: Any, start: int, stop: int, k: int, threshold: float, examples: Any, tally: Any
) -> bool:
    """Compare the labels of the lines in `text[start:stop]` with the predicted ones.

    Adds to examples (1,) the lines that have a label and a row, and to tally, int64 (3, L), how often each label stands
    in the text, is predicted, and is both. Returns False when a line cannot be served.
    """
    work = scratch(model, stop - start, stop - start, k)
    labels = np.empty((stop - start) // 2 + 1, np.int64)
    kept, limit, place = work[8], F(threshold), start
    while place < stop:
        place, rows, found = read_line(model, text, place, stop, False, work, labels)
        if found == 0 and rows >= 0:
            continue
        size = rank(model, work, rows, k, limit)
        if size < 0:
            return False
        if rows == 0:
            continue
        examples[0] += 1
        for i in range(found):
            tally[0, labels[i]] += 1
        for r in range(size):
            tally[1, kept[r]] += 1
            for i in range(found):
                if labels[i] == kept[r]:
                    tally[2, kept[r]] += 1
                    break
    return True
