"""What every backend shares of recurrent layers: the steps of a batch of sequences, and the way through the layers.

A recurrent kernel works on rows, one for each step of each sequence that exists: x is turned into a matrix (R, I), its
states are (R, Hd), and padding never enters. Without lengths these are the rows of x as they lie, R = T B. With lengths
the rows of a step follow each other, the longest sequence first, so that the sequences that still run are always the
first ones.

An operation runs L layers in D directions: one, or that from the last step to the first as well. What is of one
direction of one layer, a loop, stands in lists in PyTorch's order: loop l D + d is that of direction d of layer l.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from .memory import empty, zeros


class Steps(NamedTuple):
    """State j of step t, j < counts[t], is row offsets[t] + j stride; state j is that of sequence order[j].

    lengths: how many steps each state has. index: row -> row of x as a matrix (T B, I). order and index are None where
    they would change nothing. reverse: the steps are taken from the last to the first, each sequence beginning at its
    own end.
    """

    offsets: np.ndarray
    counts: np.ndarray
    lengths: np.ndarray
    stride: int
    order: np.ndarray | None
    index: np.ndarray | None
    reverse: bool

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.offsets) * len(self.lengths) if self.index is None else len(self.index)

    def walk(self) -> list[tuple[slice, int]]:
        """(rows of a step, how many they are), in the order in which the steps are taken."""
        found = []
        for offset, count in zip(self.offsets.tolist(), self.counts.tolist(), strict=True):
            found.append((slice(offset, offset + count * self.stride, self.stride), count))
        return found[::-1] if self.reverse else found


def steps_of(length: int, batch: int, lengths: np.ndarray | None, batch_first: bool, reverse: bool) -> Steps:
    """The steps of sequences (length, batch, I), or (batch, length, I) with batch_first.

    length >= 1; lengths (batch,) in 1..length, or None where all are as long as x.
    """
    if lengths is None or not batch:
        return _full(length, batch, batch_first, reverse)
    order = np.argsort(-lengths, kind="stable")
    ordered = lengths[order].astype(np.int64)
    counts = (ordered[None, :] > np.arange(ordered[0])[:, None]).sum(axis=1)
    offsets = np.cumsum(counts) - counts
    state = np.arange(int(counts.sum())) - np.repeat(offsets, counts)
    step = np.repeat(np.arange(len(counts)), counts)
    index = order[state] * length + step if batch_first else step * batch + order[state]
    return Steps(offsets, counts, ordered, 1, order, index, reverse)


@lru_cache(maxsize=256)
def _full(length: int, batch: int, batch_first: bool, reverse: bool) -> Steps:
    between, within = (1, length) if batch_first else (batch, 1)
    arrays = np.arange(length) * between, np.full(length, batch), np.full(batch, length)
    for array in arrays:
        array.flags.writeable = False  # they are shared by all calls of this shape
    return Steps(*arrays, within, None, None, reverse)


def shares(steps: Steps, jobs: int) -> np.ndarray:
    """Cuts 0 .. B of the states into so many parts (fewer for a small batch) with about as many rows each."""
    batch = len(steps.lengths)
    jobs = max(1, min(jobs, batch))
    if steps.order is None:
        return np.arange(jobs + 1) * batch // jobs
    ends = np.cumsum(steps.lengths)
    return np.append(np.searchsorted(ends, ends[-1] * np.arange(jobs) / jobs), batch)


def gathered(x: np.ndarray, steps: Steps) -> np.ndarray:
    """x (T, B, F) as the matrix (R, F) of its rows."""
    matrix = x.reshape(x.shape[0] * x.shape[1], x.shape[2])
    if steps.index is None:
        return matrix
    return np.take(matrix, steps.index, axis=0, out=empty((len(steps.index), x.shape[-1]), x.dtype), mode="clip")


def scattered(matrix: np.ndarray, shape: tuple[int, ...], steps: Steps) -> np.ndarray:
    """The rows (R, F) at their places in (T, B, F), whose `shape` is given without F; 0 in between."""
    shape = (*shape, matrix.shape[-1])
    if steps.index is None:
        return matrix.reshape(shape)
    padded = zeros(shape, matrix.dtype)
    padded.reshape(shape[0] * shape[1], shape[2])[steps.index] = matrix
    return padded


def of_loop(states: np.ndarray | None, i: int, loops: int) -> np.ndarray | None:
    """The states (B, Hd) of a loop of those of all, which are (L D, B, Hd), or (B, Hd) where there is but one."""
    return states if states is None or loops == 1 else states[i]


def sorted_states(state: np.ndarray | None, hidden: int, dtype, steps: Steps) -> np.ndarray:
    """A fresh (B, Hd) with the states in the order of the steps, 0 where none is given."""
    shape = len(steps.lengths), hidden
    if state is None:
        return zeros(shape, dtype)
    fresh = empty(shape, dtype)
    fresh[...] = state if steps.order is None else state[steps.order]
    return fresh


def together(states: list[np.ndarray]) -> np.ndarray:
    """The reverse of `of_loop`: those of all loops."""
    if len(states) == 1:
        return states[0]
    fresh = empty((len(states), *states[0].shape), states[0].dtype)
    for to, state in zip(fresh, states, strict=True):
        to[...] = state
    return fresh


def unsorted_states(state: np.ndarray, steps: Steps) -> np.ndarray:
    """States (B, Hd) back in the order of the batch."""
    if steps.order is None:
        return state if state.flags.c_contiguous else np.ascontiguousarray(state)
    fresh = empty(state.shape, state.dtype)
    fresh[steps.order] = state
    return fresh


def last_states(rows: np.ndarray, steps: Steps) -> np.ndarray:
    """A fresh (B, Hd) with the row (R, Hd) of each sequence's last step, in the order of the batch."""
    batch = len(steps.lengths)
    if steps.order is None:
        found = _by_step(rows, steps)[0 if steps.reverse else -1]
        fresh = empty(found.shape, rows.dtype)
        fresh[...] = found
        return fresh
    last = np.zeros(batch, np.int64) if steps.reverse else steps.lengths - 1
    found = rows[steps.offsets[last] + steps.stride * np.arange(batch)]
    fresh = empty(found.shape, rows.dtype)
    fresh[steps.order] = found
    return fresh


def states_before(rows: np.ndarray, initial: np.ndarray, steps: Steps) -> np.ndarray:
    """For each row (R, Hd) the state that its step began with; `initial` (B, Hd) are the first ones, sorted."""
    before = empty(rows.shape, rows.dtype)
    if steps.order is None:
        to, states = _by_step(before, steps), _by_step(rows, steps)
        if steps.reverse:
            to[:-1], to[-1] = states[1:], initial
        else:
            to[1:], to[0] = states[:-1], initial
        return before
    counts, row = steps.counts, np.arange(len(rows))
    state = row - np.repeat(steps.offsets, counts)
    if steps.reverse:
        source, begins = row + np.repeat(counts, counts), state >= np.repeat(np.append(counts[1:], 0), counts)
    else:
        source, begins = row - np.repeat(np.append(0, counts[:-1]), counts), row < counts[0]
    np.take(rows, source, axis=0, out=before, mode="clip")
    before[begins] = initial[state[begins]]
    return before


def _by_step(rows: np.ndarray, steps: Steps) -> np.ndarray:
    """Rows (R, Hd) of sequences that are all whole as (T, B, Hd), where they lie."""
    length, batch = len(steps.offsets), len(steps.lengths)
    if length > 1 and steps.offsets[1] == 1 and steps.stride == length:  # with batch_first
        return rows.reshape(batch, length, rows.shape[1]).swapaxes(0, 1)
    return rows.reshape(length, batch, rows.shape[1])


Loop = Callable[..., tuple[np.ndarray, list[np.ndarray], tuple[Any, ...]]]
LoopBack = Callable[..., tuple[list[np.ndarray | None], list[np.ndarray]]]


def through_layers(
    loop: Loop, x: np.ndarray, states: tuple[Any, ...], parameters: tuple[Any, ...], steps: tuple[Steps, ...]
):
    """All loops, one after the other: ((y, last states...), saved).

    loop(rows, states, parameters, steps) gives the rows of y (R, Hd), the last states, and the rows that its backward
    reads besides; rows, states and parameters are its own. saved: x, states and parameters as they are given, y of each
    layer (R, D Hd), what each loop has given last, and steps.
    """
    ways, loops = len(steps), len(parameters) // 4
    rows, ys, kept = gathered(x, steps[0]), [], []
    last: list[list[np.ndarray]] = []
    for first in range(0, loops, ways):
        outputs = []
        for i in range(first, first + ways):
            own = [
                sorted_states(of_loop(state, i, loops), parameters[1].shape[1], x.dtype, steps[0]) for state in states
            ]
            y, ends, extra = loop(rows, own, parameters[4 * i : 4 * i + 4], steps[i - first])
            outputs.append(y)
            kept.append(extra)
            last.append([unsorted_states(end, steps[0]) for end in ends])
        rows = outputs[0] if ways == 1 else np.concatenate(outputs, axis=1)
        ys.append(rows)
    results = scattered(rows, x.shape[:2], steps[0]), *(together(list(each)) for each in zip(*last, strict=True))
    return results, (x, states, parameters, ys, kept, steps)


def back_through_layers(loop: LoopBack, dy: tuple[np.ndarray, ...], saved: tuple[Any, ...], needs: tuple[Any, ...]):
    """The gradients in the order of the arguments, each where it is needed: of x, the states and the parameters.

    loop(dy, dlast, rows, states, parameters, y, extra, steps, needs) gives the gradients of rows and parameters by
    `needs`, and of the states; dlast, the gradients of its last states, may be written over. What only layers below the
    first that needs any would use is not computed.
    """
    x, states, parameters, ys, kept, steps = saved
    ways, loops, hidden, flags = len(steps), len(parameters) // 4, parameters[1].shape[1], needs[1 + len(states) :]
    lowest = 0 if any(needs[: 1 + len(states)]) else next((i // (4 * ways) for i, need in enumerate(flags) if need), 0)
    down = gathered(dy[0], steps[0])
    gradients: list[Any] = [None] * (4 * loops)
    dstates: list[list[np.ndarray]] = [[] for _ in states]
    for layer in reversed(range(lowest, loops // ways)):
        rows, above, down = gathered(x, steps[0]) if layer == 0 else ys[layer - 1], down, None
        for way in reversed(range(ways)):
            i, part = layer * ways + way, slice(way * hidden, (way + 1) * hidden)
            own, dlast = (
                [sorted_states(of_loop(each, i, loops), hidden, x.dtype, steps[0]) for each in all_loops]
                for all_loops in (states, dy[1:])
            )
            wanted = (needs[0] or layer > lowest, *flags[4 * i : 4 * i + 4])
            found, ends = loop(
                above[:, part],
                dlast,
                rows,
                own,
                parameters[4 * i : 4 * i + 4],
                ys[layer][:, part],
                kept[i],
                steps[way],
                wanted,
            )
            down = found[0] if down is None else down + found[0]
            gradients[4 * i : 4 * i + 4] = found[1:]
            for each, end in zip(dstates, ends, strict=True):
                each.insert(0, unsorted_states(end, steps[0]))
    dx = None if down is None else scattered(down, x.shape[:2], steps[0])
    return dx, *(together(each) if need else None for each, need in zip(dstates, needs[1:], strict=False)), *gradients
