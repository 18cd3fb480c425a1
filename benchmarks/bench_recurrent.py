"""One step of an LSTM cell, forward and backward."""

from rows import cell

WORK = [
    cell("lstm_cell", "batch 1, 32 to 64", 1, 32, 64),
    cell("lstm_cell", "batch 20, 10 to 20", 20, 10, 20),
    cell("lstm_cell", "batch 64, 128 to 256", 64, 128, 256),
]


def pytorch(torch, x, h, c, *parameters):
    return torch.lstm_cell(x, (h, c), *parameters)


def test_lstm_cell(step, benchmark):
    benchmark(step)
