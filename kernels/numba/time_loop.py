"""The time loop of a recurrent layer, forward and backward, around the gates of its kind (`sequence`).

The sequences of a batch do not depend on each other: a job takes some of them through all steps, and the threads never
meet. With fewer sequences than threads a large step is cut by panels of W_hh instead. Each number is summed in one
order (`row_tile`), so the bits do not depend on the cut.
"""

from __future__ import annotations

import numpy as np

from ..memory import empty
from ..sequences import shares
from ..threads import get_num_threads
from .gemm import pack_panel
from .jit import SERIAL_WORK, contiguous, helper, jit, parallel_for
from .loops import instance
from .row_tile import multiply_rows, panel_columns
from .simd import address

STEP_WORK = 400_000  # multiply-adds of a step from which cutting it pays for the launches
BATCH = 48  # sequences in a job, at most: their z stays in L2


@helper
def _multiply(a, row, stride, begin, end, weight, first, last, columns, z, add):
    """z[j] (+)= a[row + j stride] W for the states j of begin .. end - 1 and the panels first .. last - 1 of W."""
    width, depth = weight.shape[2], weight.shape[1]
    multiply_rows(z, address(a, (row + begin * stride, 0)), stride * a.strides[0], z.itemsize, end - begin,
                  address(weight, (first, 0, 0)), weight.strides[1], weight.strides[0], depth,
                  min(columns, last * width) - first * width, address(z, (begin, first * width)), z.strides[0],
                  add)  # fmt: skip


@helper
def _panel_job(panel, worker, a, row, stride, count, weight, columns, z, add):
    _multiply(a, row, stride, 0, count, weight, panel, panel + 1, columns, z, add)


def _sequences_job(job, worker, steps, weight, columns, z, arrays):
    """Some sequences through all steps; `step`, `backward` and `adds` are those of a `TimeLoop`."""
    offsets, counts, cuts, stride, reverse = steps
    panels = weight.shape[0]
    for turn in range(offsets.size):
        t = offsets.size - 1 - turn if reverse else turn
        begin, end = cuts[job], min(cuts[job + 1], counts[t])
        if begin >= end:
            continue
        if not backward:  # noqa: F821
            _multiply(arrays[0], 0, 1, begin, end, weight, 0, panels, columns, z, False)
        for j in range(begin, end):
            step(offsets[t] + j * stride, j, z, arrays)  # noqa: F821
        if backward:  # noqa: F821
            _multiply(arrays[0], offsets[t], stride, begin, end, weight, 0, panels, columns, z, adds)  # noqa: F821


def _kernel(steps, weight, packed, columns, z, arrays, by_panels, serial):
    """All sequences through all steps, in jobs of sequences, or step by step in jobs of panels."""
    offsets, counts, cuts, stride, reverse = steps
    panels = packed.shape[0]
    parallel_for(pack_panel, panels, (weight, not backward, packed), serial)  # noqa: F821
    if not by_panels:
        parallel_for(job, cuts.size - 1, (steps, packed, columns, z, arrays), serial)  # noqa: F821
        return
    for turn in range(offsets.size):
        t = offsets.size - 1 - turn if reverse else turn
        if not backward:  # noqa: F821
            parallel_for(_panel_job, panels, (arrays[0], 0, 1, counts[t], packed, columns, z, False), False)
        for j in range(counts[t]):
            step(offsets[t] + j * stride, j, z, arrays)  # noqa: F821
        if backward:  # noqa: F821
            dz = (arrays[0], offsets[t], stride, counts[t], packed, columns, z, adds)  # noqa: F821
            parallel_for(_panel_job, panels, dz, False)


class TimeLoop:
    """The time loop around `step(row, j, z, arrays)`, the gates of state j, whose row of this step is `row`.

    Forward arrays[0] holds the states h, and z (B, G Hd) is W_hh h. Backward arrays[0] holds dz as W_hh sees it, and z
    is dh (B, Hd), which came from the step after; with `adds` the product is added to what `step` leaves there.
    """

    def __init__(self, step, *, backward: bool = False, adds: bool = False):
        self.backward = backward
        parts = {"step": step, "backward": backward, "adds": adds}
        job = helper(instance(_sequences_job, step.py_func, **parts))
        self.kernel = jit(instance(_kernel, step.py_func, job=job, **parts))

    def __call__(self, steps, weight, z, *arrays):
        if not z.size:
            return
        batch, threads, serial = len(steps.lengths), get_num_threads(), steps.rows * weight.size < SERIAL_WORK
        by_panels = batch < threads and batch * weight.size >= STEP_WORK
        jobs = 1 if serial or by_panels else threads * -(-batch // (threads * BATCH))
        arrays_of_steps = map(contiguous, (steps.offsets, steps.counts, shares(steps, jobs)))
        walk = *arrays_of_steps, steps.stride, steps.reverse != self.backward
        depth, columns = weight.shape if self.backward else weight.shape[::-1]
        width = panel_columns(z.itemsize)
        packed = empty((z.shape[1] // width, depth, width), z.dtype)
        self.kernel(walk, contiguous(weight), packed, columns, z, arrays, by_panels, serial)


def padded(rows: int, columns: int, dtype) -> np.ndarray:
    """Room for rows that a product writes in whole panels."""
    width = panel_columns(np.dtype(dtype).itemsize)
    return empty((rows, -(-columns // width) * width), dtype)
