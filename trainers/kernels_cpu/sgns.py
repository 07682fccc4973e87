"""The step of a skip-gram with sub-words and negative sampling, compiled.

The mathematics is in `trainers/sgns.py`; the slow twin is in `tests/naive.py`. What is not here: checks, the
learning-rate schedule, the order of the blocks.
"""

from __future__ import annotations

import math

import numpy as np

from . import jit

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_S11, _S27, _S30, _S31, _S32 = np.uint64(11), np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32)
_UNIT = 1.0 / (1 << 53)
_ONE, _ZERO = np.float32(1.0), np.float32(0.0)

# A drawn negative stands for this many targets at the most. Unbounded sharing (one draw for a window of 16 targets, so
# a step 16 times as long) diverged at window 8 and rate 0.05; with 4 the scores on WordSim, MEN and RW were about those
# of K draws for each target (five of six comparisons higher, one seed), at 1.5 times the speed (2 M words).
_SHARED = 4


@jit
def random_bits(state):
    """Draw 64 random bits (SplitMix64, Steele et al. 2014); the state (u64[1]) moves on by a constant."""
    state[0] += _GAMMA
    z = state[0]
    z = (z ^ (z >> _S30)) * _MIX_1
    z = (z ^ (z >> _S27)) * _MIX_2
    return z ^ (z >> _S31)


@jit
def random_unit(state):
    """Draw a float64 from [0, 1)."""
    return np.float64(random_bits(state) >> _S11) * _UNIT


@jit
def random_below(state, n):
    """Draw an integer from 0 .. n-1, n < 2^31 (the upper 32 bits, scaled: uneven by less than n / 2^32)."""
    return np.int64(((random_bits(state) >> _S32) * np.uint64(n)) >> _S32)


@jit
def fill_uniform(out, limit, state):
    """Fill the flat float32 array with uniform numbers from [-limit, limit)."""
    for i in range(out.size):
        out[i] = np.float32((2.0 * random_unit(state) - 1.0) * limit)


@jit
def step(outputs, row, hidden, label, weight, rate):
    """Move one output row and the hidden vector towards `label` (1 or 0); return the weighted loss before the move.

    Both move by the values that both had before. The rate is multiplied by the weight.
    """
    dot = _ZERO
    for d in range(hidden.size):
        dot += outputs[row, d] * hidden[d]
    side = dot if label else -dot  # the loss is -log σ(side), its derivative by `side` is -σ(-side)
    decay = math.exp(-abs(side))  # never overflows, whatever the sign
    slope = (decay if side > _ZERO else _ONE) / (_ONE + decay)
    change = rate * weight * (slope if label else -slope)
    for d in range(hidden.size):
        old = outputs[row, d]
        outputs[row, d] = old + change * hidden[d]
        hidden[d] += change * old
    return np.float64(weight) * (math.log1p(decay) - min(side, _ZERO))


@jit
def train_block(
    ids, starts, first, last, keep, table, row_starts, rows, inputs, outputs, rate, window, negatives, state
):
    """Train on the passages first .. last-1 with one learning rate; return (sum of losses, number of pairs).

    ids i32[N], starts i64[S+1]: passage s is ids[starts[s]:starts[s+1]]. keep f32[V]: chance that an occurrence stays.
    table i32[T]: words, as often as they are to be drawn. Word w is made of the rows
    rows[row_starts[w]:row_starts[w+1]] (i32, i64[V+1]) of inputs f32[V+B, D]; outputs f32[V, D]; state u64[1].
    """
    dim = inputs.shape[1]
    hidden = np.empty(dim, np.float32)
    before = np.empty(dim, np.float32)
    longest = 0
    for s in range(first, last):
        longest = max(longest, starts[s + 1] - starts[s])
    kept = np.empty(longest, np.int32)

    loss = 0.0
    pairs = 0
    for s in range(first, last):
        n = 0
        for i in range(starts[s], starts[s + 1]):
            if random_unit(state) < keep[ids[i]]:
                kept[n] = ids[i]
                n += 1
        for place in range(n):
            reach = 1 + random_below(state, window)
            begin = max(place - reach, 0)
            end = min(place + reach + 1, n)
            targets = end - begin - 1
            if targets == 0:
                continue
            row_begin = row_starts[kept[place]]
            row_end = row_starts[kept[place] + 1]
            hidden[:] = _ZERO
            for r in range(row_begin, row_end):
                row = rows[r]  # read once: inside the loop it would keep the loop from using vector registers
                for d in range(dim):
                    hidden[d] += inputs[row, d]
            share = np.float32(1.0 / (row_end - row_begin))
            for d in range(dim):
                hidden[d] *= share
                before[d] = hidden[d]

            # `draws` negatives follow the targets evenly, so that pull and push stay in balance all the way.
            draws = max(negatives, (targets * negatives + _SHARED - 1) // _SHARED)
            drawn = 0
            seen = 0
            for i in range(begin, end):
                if i == place:
                    continue
                loss += step(outputs, kept[i], hidden, True, _ONE, rate)
                seen += 1
                while drawn * targets < draws * seen:
                    drawn += 1
                    other = table[random_below(state, table.size)]
                    apart = 0  # the targets that this negative is not
                    for j in range(begin, end):
                        if j != place and kept[j] != other:
                            apart += 1
                    if apart > 0:
                        weight = np.float32(apart * negatives / draws)
                        loss += step(outputs, other, hidden, False, weight, rate)

            for d in range(dim):
                hidden[d] -= before[d]
            for r in range(row_begin, row_end):
                row = rows[r]
                for d in range(dim):
                    inputs[row, d] += hidden[d]
            pairs += targets
    return loss, pairs
