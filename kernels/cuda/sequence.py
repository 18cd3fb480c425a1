"""Recurrent layers over whole sequences. Defined in `kernels/reference/sequence.py`.

A layer and direction after the other, each a function of whole sequences (`_lstm`, `_lstm_back`); `_through` and
`_back` put several together. Inside, the rows of a step follow each other, the longest sequence first: `Rows` moves
them there and back. All inputs are multiplied at once. Then one launch takes all steps, where W_hh is small enough
(`sequence_loop`); else a step is one product and one kernel of gates on the rows of the sequences that still run.
Saved, as rows in this order: the results and what the gates left, by either way the same.
"""

from __future__ import annotations

from . import gates
from .dialect import cuda, kernel
from .gemm import CODES, gemm, matrix
from .loops import THREADS, like
from .recurrent import affine, of_weight, times
from .sequence_loop import back_through_time, in_one_launch, through_time
from .sequence_rows import Rows


def _hidden_part(state, count, weight, bias, out):
    """W_hh h + b_hh of the first `count` states, into the first rows of `out`."""
    gates_, hidden = weight.shape
    target = out.rows(0, count)
    gemm(matrix(state), matrix(weight).transposed, target, count, gates_, hidden, bias=bias)
    return target


def _back_through(dz, weight, dstate, count):
    """dstate = dz W_hh, for the first `count` states."""
    gemm(matrix(dz), matrix(weight), dstate.rows(0, count), count, weight.shape[1], weight.shape[0])


def _copied(source, target):
    source.device.copy(source, target)


def _rnn(x, h, weight_ih, weight_hh, bias_ih, bias_hh, *, steps, nonlinearity):
    where, hidden = Rows(x.device, steps, len(steps.lengths)), weight_hh.shape[1]
    inputs = where.gathered(x)
    zx, initial = affine(inputs, weight_ih, bias_ih), where.state(h, hidden, x.dtype)
    state, rows = where.state(h, hidden, x.dtype), like(zx)
    if in_one_launch(weight_hh, where.batch):
        through_time(where, state, None, zx, weight_hh, bias_hh, rows, code=CODES[nonlinearity])
    else:
        zh = like(initial)
        for first, count in where.walk:
            here, now = rows.rows(first, first + count), _hidden_part(state, count, weight_hh, bias_hh, zh)
            gates.rnn(gates.grid(count, hidden), THREADS, zx.rows(first, first + count), now, here, count, hidden,
                      CODES[nonlinearity])  # fmt: skip
            _copied(here, state.rows(0, count))
    y = where.scattered(rows, x.shape[:2])
    saved = inputs, initial, weight_ih, weight_hh, rows, where, CODES[nonlinearity], x.shape[:2]
    return (y, where.unsorted(state)), saved


def _rnn_back(dy, saved, needs):
    inputs, initial, weight_ih, weight_hh, rows, where, code, shape = saved
    hidden = rows.shape[1]
    dy_rows, dz = where.gathered(dy[0]), like(rows)
    dstate = where.state(dy[1], hidden, rows.dtype)
    if in_one_launch(weight_hh, where.batch):
        back_through_time(where, dstate, None, dy_rows, weight_hh, None, None, rows, None, dz, code)
    else:
        for first, count in reversed(where.walk):
            here = dz.rows(first, first + count)
            gates.rnn_back(gates.grid(count, hidden), THREADS, dy_rows.rows(first, first + count), dstate,
                           rows.rows(first, first + count), here, count * hidden, code)  # fmt: skip
            _back_through(here, weight_hh, dstate, count)
    return _gradients(dz, dz, (dstate,), inputs, where.before(rows, initial), weight_ih, where, shape, needs)


def _lstm(x, h, c, weight_ih, weight_hh, bias_ih, bias_hh, *, steps):
    where, hidden = Rows(x.device, steps, len(steps.lengths)), weight_hh.shape[1]
    inputs, empty = where.gathered(x), x.device.empty
    zx = affine(inputs, weight_ih, bias_ih)
    initial, first_cell = where.state(h, hidden, x.dtype), where.state(c, hidden, x.dtype)
    state, cell = where.state(h, hidden, x.dtype), where.state(c, hidden, x.dtype)
    activated = like(zx)
    rows, memory, roots = (empty((len(where.index), hidden), x.dtype) for _ in range(3))
    if in_one_launch(weight_hh, where.batch):
        through_time(where, state, cell, zx, weight_hh, bias_hh, rows, activated, memory, roots)
    else:
        zh = empty((where.batch, 4 * hidden), x.dtype)
        for first, count in where.walk:
            part = slice(first, first + count)
            here, kept, root = (each.rows(part.start, part.stop) for each in (rows, memory, roots))
            now = _hidden_part(state, count, weight_hh, bias_hh, zh)
            gates.lstm(gates.grid(count, hidden), THREADS, zx.rows(part.start, part.stop), now, cell,
                       activated.rows(part.start, part.stop), kept, root, here, count, hidden)  # fmt: skip
            _copied(here, state.rows(0, count))
            _copied(kept, cell.rows(0, count))
    y = where.scattered(rows, x.shape[:2])
    saved = inputs, initial, first_cell, weight_ih, weight_hh, rows, activated, memory, roots, where, x.shape[:2]
    return (y, where.unsorted(state), where.unsorted(cell)), saved


def _lstm_back(dy, saved, needs):
    inputs, initial, first_cell, weight_ih, weight_hh, rows, activated, memory, roots, where, shape = saved
    hidden, dtype = rows.shape[1], rows.dtype
    memory_before = where.before(memory, first_cell)
    dstate, dcell = (where.state(each, hidden, dtype) for each in dy[1:])
    dy_rows, dz = where.gathered(dy[0]), like(activated)
    if in_one_launch(weight_hh, where.batch):
        back_through_time(where, dstate, dcell, dy_rows, weight_hh, activated, memory_before, roots, None, dz)
    else:
        for first, count in reversed(where.walk):
            end = first + count
            here = dz.rows(first, end)
            gates.lstm_back(gates.grid(count, hidden), THREADS, dy_rows.rows(first, end), dstate, dcell,
                            memory_before.rows(first, end), activated.rows(first, end), roots.rows(first, end), here,
                            dcell, count, hidden)  # fmt: skip
            _back_through(here, weight_hh, dstate, count)
    return _gradients(dz, dz, (dstate, dcell), inputs, where.before(rows, initial), weight_ih, where, shape, needs)


def _gru(x, h, weight_ih, weight_hh, bias_ih, bias_hh, *, steps):
    where, hidden = Rows(x.device, steps, len(steps.lengths)), weight_hh.shape[1]
    inputs, empty = where.gathered(x), x.device.empty
    zx, initial = affine(inputs, weight_ih, bias_ih), where.state(h, hidden, x.dtype)
    state, activated = where.state(h, hidden, x.dtype), like(zx)
    rows, inner = (empty((len(where.index), hidden), x.dtype) for _ in range(2))
    if in_one_launch(weight_hh, where.batch):
        through_time(where, state, None, zx, weight_hh, bias_hh, rows, activated, inner)
    else:
        zh = empty((where.batch, 3 * hidden), x.dtype)
        for first, count in where.walk:
            end = first + count
            here, now = rows.rows(first, end), _hidden_part(state, count, weight_hh, bias_hh, zh)
            gates.gru(gates.grid(count, hidden), THREADS, zx.rows(first, end), now, state, activated.rows(first, end),
                      inner.rows(first, end), here, count, hidden)  # fmt: skip
            _copied(here, state.rows(0, count))
    y = where.scattered(rows, x.shape[:2])
    saved = inputs, initial, weight_ih, weight_hh, rows, activated, inner, where, x.shape[:2]
    return (y, where.unsorted(state)), saved


def _gru_back(dy, saved, needs):
    inputs, initial, weight_ih, weight_hh, rows, activated, inner, where, shape = saved
    hidden, dtype = rows.shape[1], rows.dtype
    before, dy_rows = where.before(rows, initial), where.gathered(dy[0])
    dstate = where.state(dy[1], hidden, dtype)
    dz_ih, dz_hh = like(activated), like(activated)
    if in_one_launch(weight_hh, where.batch):
        back_through_time(where, dstate, None, dy_rows, weight_hh, activated, before, inner, dz_ih, dz_hh)
    else:
        through = like(dstate)
        for first, count in reversed(where.walk):
            end = first + count
            here = dz_hh.rows(first, end)
            gates.gru_back(gates.grid(count, hidden), THREADS, dy_rows.rows(first, end), dstate,
                           before.rows(first, end), activated.rows(first, end), inner.rows(first, end),
                           dz_ih.rows(first, end), here, through, count, hidden)  # fmt: skip
            _back_through(here, weight_hh, dstate, count)
            gates.add(gates.grid(count, hidden), THREADS, through, dstate, count * hidden)
    return _gradients(dz_ih, dz_hh, (dstate,), inputs, before, weight_ih, where, shape, needs)


def _gradients(dz_ih, dz_hh, dstates, inputs, before, weight_ih, where, shape, needs):
    """Gradients in the order of the arguments: of x, of the states given, of the weights and the biases."""
    states = len(dstates)
    weights = needs[1 + states :]
    dx = where.scattered(times(dz_ih, weight_ih), shape) if needs[0] else None
    dinitial = (where.unsorted(d) if needed else None for d, needed in zip(dstates, needs[1:]))
    dweight_ih, dbias_ih = of_weight(dz_ih, inputs, (weights[0], weights[2]))
    dweight_hh, dbias_hh = of_weight(dz_hh, before, (weights[1], weights[3]))
    return dx, *dinitial, dweight_ih, dweight_hh, dbias_ih, dbias_hh


@kernel("uuiiiii")
def columns_in(x, y, features, width, first, n, out):
    """Columns first .. of y (R, width), or with out=1 x itself, taken from (written to) the matrix (R, features)."""
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        wide = i // features * width + first + i % features
        if out:
            y[wide] = x[i]
        else:
            y[i] = x[wide]


def _side_by_side(parts):
    """(T, B, D Hd) from the results of D directions."""
    if len(parts) == 1:
        return parts[0]
    *shape, hidden = parts[0].shape
    whole = parts[0].device.empty((*shape, hidden * len(parts)), parts[0].dtype)
    for way, part in enumerate(parts):
        _move(part, whole, part, way, 1)
    return whole


def _own_part(whole, way, ways):
    """What is of one direction in (T, B, D Hd)."""
    if ways == 1:
        return whole
    *shape, width = whole.shape
    part = whole.device.empty((*shape, width // ways), whole.dtype)
    _move(whole, part, part, way, 0)
    return part


def _move(x, y, part, way, out):
    hidden, width = part.shape[-1], (y if out else x).shape[-1]
    grid = -(-max(part.size, 1) // THREADS), 1, 1
    columns_in(grid, THREADS, x, y, hidden, width, way * hidden, part.size, out)


def _of_loop(state, i, loops):
    """The state of one loop in (L D, B, Hd); itself where there is one loop, None for 0."""
    return state if state is None or loops == 1 else state.rows(i, i + 1).reshape(state.shape[1:])


def _together(states, loops):
    """(L D, B, Hd) of the states of all loops."""
    if loops == 1:
        return states[0]
    whole = states[0].device.empty((loops, *states[0].shape), states[0].dtype)
    for i, state in enumerate(states):
        if state.size:
            _copied(state, whole.rows(i, i + 1))
    return whole


def _through(one, x, states, parameters, steps, **options):
    """All layers and directions: (y, last states ...), saved."""
    ways, loops, saved, lasts = len(steps), len(parameters) // 4, [], []
    for first in range(0, loops, ways):
        outputs = []
        for i in range(first, first + ways):
            own = (_of_loop(state, i, loops) for state in states)
            (y, *last), kept = one(x, *own, *parameters[4 * i : 4 * i + 4], steps=steps[i - first], **options)
            outputs.append(y)
            lasts.append(last)
            saved.append(kept)
        x = _side_by_side(outputs)
    return (x, *(_together(list(each), loops) for each in zip(*lasts))), (saved, ways)


def _back(one, dy, saved, needs):
    """The gradients in the order of the arguments."""
    kept, ways = saved
    loops, states = len(kept), len(dy) - 1
    flags = needs[1 + states :]
    gradients, dstates, down = [None] * (4 * loops), [], dy[0]
    lowest = 0 if any(needs[: 1 + states]) else next((i // (4 * ways) for i, need in enumerate(flags) if need), 0)
    for layer in reversed(range(lowest, loops // ways)):
        dx = None
        for way in reversed(range(ways)):
            i = layer * ways + way
            own = _own_part(down, way, ways), *(_of_loop(each, i, loops) for each in dy[1:])
            wanted = needs[0] or layer > lowest, *(True,) * states, *flags[4 * i : 4 * i + 4]
            part, *found = one(own, kept[i], wanted)
            dstates.insert(0, found[:states])
            gradients[4 * i : 4 * i + 4] = found[states:]
            if dx is not None and part is not None:
                gates.add((-(-part.size // THREADS), 1, 1), THREADS, part, dx, part.size)
            dx = part if dx is None else dx
        down = dx
    wanted = (need and _together([each[k] for each in dstates], loops) for k, need in enumerate(needs[1 : 1 + states]))
    return down if needs[0] else None, *(None if each is False else each for each in wanted), *gradients


def rnn_forward(x, h, *parameters, steps, nonlinearity):
    return _through(_rnn, x, (h,), parameters, steps, nonlinearity=nonlinearity)


def rnn_backward(dy, saved, needs):
    return _back(_rnn_back, dy, saved, needs)


def lstm_forward(x, h, c, *parameters, steps):
    return _through(_lstm, x, (h, c), parameters, steps)


def lstm_backward(dy, saved, needs):
    return _back(_lstm_back, dy, saved, needs)


def gru_forward(x, h, *parameters, steps):
    return _through(_gru, x, (h,), parameters, steps)


def gru_backward(dy, saved, needs):
    return _back(_gru_back, dy, saved, needs)
