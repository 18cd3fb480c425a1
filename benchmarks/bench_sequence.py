"""Recurrent layers over whole sequences and attention, forward and backward."""

from rows import attention, sequence

SHAPES = ((64, 32, 128, 256), (32, 64, 64, 128), (128, 1, 128, 128), (100, 20, 10, 20))
OPTIONS = {"rnn": {"nonlinearity": "tanh"}, "lstm": {}, "gru": {}}
WORK = [
    *(
        sequence(op, f"T {steps}, B {batch}, {features} to {hidden}", steps, batch, features, hidden, **options)
        for op, options in OPTIONS.items()
        for steps, batch, features, hidden in SHAPES
    ),
    attention("4 x 8 x 256 x 64", (4, 256, 8, 64), (4, 256, 8, 64), last=True, scale=0.125),
    attention("4 x 8 x 256 x 64, causal", (4, 256, 8, 64), (4, 256, 8, 64), last=True, scale=0.125, causal=True),
]


def pytorch(torch, x, *rest, steps=None, scale=None, causal=False, **options):
    if steps is None:  # (B, D, T, H), since four axes are taken for those of images
        q, k, v = (each.permute(0, 3, 2, 1) for each in (x, *rest[:2]))
        y = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale)
        return y.permute(0, 3, 2, 1)
    *states, parameters = *(state[None] for state in rest[:-4]), rest[-4:]
    kind = {1: "rnn_tanh", 4: "lstm", 3: "gru"}[len(parameters[2]) // states[0].shape[2]]
    state = states if kind == "lstm" else states[0]
    y, *last = getattr(torch._VF, kind)(x, state, parameters, True, 1, 0.0, True, False, False)
    return y, *(each[0] for each in last)


def test_sequence(step, benchmark):
    benchmark(step)
