"""The suites of `dlfast bench` over time, on a few numbers: every contender agrees, and drawn rows follow the seed."""

from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest

from dlfast import bench, models
from dlfast.bench import measure, timing
from dlfast.bench.rows import Row
from dlfast.bench.sequences import Generation, Layer, SequenceTraining
from dlfast.bench.suites import attention, random_sequences, recurrent

OPTIONS = measure.Options(("auto", "reference"), (1, 2), bool(find_spec("torch")), rounds=1, seconds=0, rest=0)
DEEP = {"num_layers": 2, "bidirectional": True}
SMALL_GPT = partial(models.gpt, 7, context=5, d_model=8, num_layers=2, nhead=2, dropout=0.0)
SMALL = {
    "char-LSTM": partial(SequenceTraining.drawn, partial(models.char_lstm, 7, hidden_size=6), (3, 4), 7),
    "char-GRU": partial(SequenceTraining.drawn, partial(models.char_gru, 7, hidden_size=6, num_layers=2), (3, 4), 7),
    "GPT": partial(SequenceTraining.drawn, SMALL_GPT, (3, 5), 7),
    "generation": partial(Generation, SMALL_GPT, 5),
    "deep LSTM": partial(Layer, "LSTM", 5, 3, 4, 6, DEEP),
    "ragged GRU": partial(Layer, "GRU", 5, 3, 4, 6, DEEP, np.array([2, 4, 1])),
    "relu RNN": partial(Layer, "RNN", 5, 3, 4, 6, {"nonlinearity": "relu"}),
    "dropout": attention.attention(2, 3, 5, 8, dropout=0.5).work,
    "mask": attention.attention(2, 3, 2, 8, keys=4, mask=np.arange(8).reshape(2, 4) % 3 < 2).work,
    "padding": attention.attention(2, 3, 2, 8, keys=4, mask=np.arange(4) < np.array([[[2]], [[3]]])).work,
    "GELU": attention.gelu(3, 5, 1.5).work,
    "embedding": attention.embedding(9, 4, 12, 2.0).work,
}


@pytest.fixture(autouse=True)
def no_rest(monkeypatch):
    monkeypatch.setattr(timing, "BLAS_REST", 0)


@pytest.fixture
def small(monkeypatch):
    for name, value in {"PRODUCTS": 1 << 14, "STEPS": 20, "SCORES": 1 << 14}.items():
        monkeypatch.setattr(random_sequences, name, value)


def names(seed, count):
    return {group.name: [row.name for row in group.rows] for group in random_sequences.groups(seed, count)}


@pytest.mark.parametrize("name", SMALL)
def test_every_contender_agrees(name):
    for _, times in measure.compared_times(name, Row(name, SMALL[name], tolerance=1e-3), OPTIONS):
        assert set(times) - {"auto", "reference"} == ({"PyTorch"} if OPTIONS.pytorch else set())


def test_what_is_timed_has_dropout():
    step = SMALL["dropout"]().ours()
    first, second = (np.asarray(step()) for _ in range(2))
    assert (first != second).any()
    np.testing.assert_array_equal(*(step.results()[0] for _ in range(2)))


@pytest.mark.parametrize("kind", random_sequences.KINDS)
def test_drawn_rows_agree(small, kind):
    group = next(group for group in random_sequences.groups(3, 8) if group.name == f"random {kind}")
    for row in group.rows:
        list(measure.compared_times(row.name, row, OPTIONS))


def test_rows_follow_from_the_seed_alone():
    long = names(5, 20)
    assert list(long) == ["random RNN", "random LSTM", "random GRU", "random attention"]
    assert names(5, 20) == long != names(6, 20)
    assert names(5, 3) == {kind: some[:3] for kind, some in long.items()}
    words = " ".join(row for some in long.values() for row in some)
    assert all(word in words for word in ("lengths", "2 layers", "bidirectional", "relu", "causal", "mask", "padding"))


def test_names_of_suites_have_hyphens():
    assert {"sequence-steps", "recurrent", "attention"} <= set(bench.usual_suites())
    named = {"distributed", "random", "random-nets", "random-sequences"}  # they run where they are named
    assert set(bench.suite_names()) - set(bench.usual_suites()) == named


def test_work_of_a_ragged_layer_is_that_of_its_steps():
    whole, ragged = (recurrent.layer("LSTM", 4, 2, 3, 5, 1, lengths) for lengths in (None, np.array([4, 2])))
    assert ragged.flops == 0.75 * whole.flops
