"""Recurrent networks at work: sequences of any length, forecasts, and what an LSTM remembers that an RNN forgets."""

import numpy as np
import pytest
from click.testing import CliRunner

import dlfast as dl
from dlfast import functional as F
from dlfast import models, optim, train
from dlfast.cli import main
from dlfast.commands import adding, forecast


def call(*arguments):
    return CliRunner().invoke(main, arguments, terminal_width=200)


def ends(count, seed):
    """Sequences (count, 20, 3) of 3 to 20 steps, padded with nonsense, of nine classes: which symbol comes first and
    which comes last."""
    draw = np.random.default_rng(seed)
    symbols, lengths = draw.integers(0, 3, (count, 20)), draw.integers(3, 21, count)
    x = np.eye(3, dtype=np.float32)[symbols]
    x[np.arange(20) >= lengths[:, None]] = 9
    return x, lengths, 3 * symbols[:, 0] + symbols[np.arange(count), lengths - 1]


@pytest.fixture(scope="module")
def classifier():
    dl.manual_seed(0)
    model = models.sequence_net(3, 9, hidden_size=24, bidirectional=True)
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    options = {"epochs": 12, "batch_size": 32, "loss": F.cross_entropy, "optimizer": optimizer, "progress": False}
    train.fit(model, ends(1000, 0), **options)
    return model


def test_a_bidirectional_lstm_classifies_ragged_sequences(classifier):
    assert train.evaluate(classifier, ends(500, 1))["accuracy"] > 0.98


def test_padding_does_not_matter(classifier):
    x, lengths, _ = ends(40, 2)
    logits = np.asarray(classifier(x, lengths))
    x[np.arange(20) >= lengths[:, None]] = np.nan
    np.testing.assert_array_equal(np.asarray(classifier(x, lengths)), logits)
    for row, length, wanted in zip(x, lengths, logits, strict=True):
        np.testing.assert_allclose(np.asarray(classifier(row[None, :length]))[0], wanted, atol=1e-5)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_forecasts_halve_the_error_of_the_last_value(kind):
    found = forecast.forecast("sunspots", kind)
    assert found.error() < 0.55 * found.error("last")
    years = np.arange(1947, 2009)
    np.testing.assert_array_equal(found.times[found.end], years)
    np.testing.assert_array_equal(found.last, found.values[years - 1701])
    assert len(found.free) == 24
    assert abs(found.free[0] - found.one_step[0]) < 1e-3  # the first of several steps is one step


def test_series_are_whole():
    for name in forecast.SERIES:
        times, values = forecast.series(name)
        assert len(times) == len(values)
        assert (np.diff(times) > 0).all()
        assert np.isfinite(values).all()
        assert values.dtype == np.float32
    assert abs(forecast.series("co2")[0][-1] - 2001.99) < 0.02


def test_forecast_command_draws_a_picture(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    picture = tmp_path / "forecast.png"
    first, second = (call("forecast", "--series", "elnino", "--epochs", "3", "--plot", str(picture)) for _ in range(2))
    assert first.exit_code == 0, first.output
    assert first.output == second.output
    assert "LSTM, elnino from 1999 on" in first.output
    assert "GRU, elnino" in first.output
    assert picture.stat().st_size > 10_000


def test_forecast_command_says_what_is_wrong_before_it_trains():
    result = call("forecast", "--plot", "/no/such/folder/out.png")
    assert result.exit_code == 1
    assert "there is no folder /no/such/folder" in result.output


def test_a_forecaster_starts_with_the_last_value():
    dl.manual_seed(0)
    model, x = models.forecaster(2, kind="GRU"), np.random.default_rng(0).random((3, 7, 2), np.float32)
    model.net.head.bias.data[:] = 0
    np.testing.assert_array_equal(np.asarray(model(x)), x[:, -1])
    model.net.head.weight.data[:] = 0.1
    longer = np.asarray(model.extend(x, 2))
    np.testing.assert_array_equal(longer[:, 0], np.asarray(model(x)))
    np.testing.assert_array_equal(longer[:, 1], np.asarray(model(np.concatenate([x[:, 1:], longer[:, :1]], axis=1))))


def test_an_lstm_remembers_over_100_steps_where_a_plain_rnn_forgets():
    lstm, rnn = ([error for _, error in adding.learn(kind)] for kind in ("LSTM", "RNN"))
    assert lstm[-1] < adding.BASELINE / 10
    assert min(rnn) > 0.9 * adding.BASELINE


def test_the_adding_problem_is_what_it_says():
    x, y = adding.problem(np.random.default_rng(0), 100, 4000)
    assert set(np.unique(x[:, :, 1])) == {0, 1}
    np.testing.assert_array_equal(x[:, :50, 1].sum(axis=1), 1)
    np.testing.assert_array_equal(x[:, 50:, 1].sum(axis=1), 1)
    np.testing.assert_array_equal(y[:, 0], (x[:, :, 0] * x[:, :, 1]).sum(axis=1))
    assert abs(np.mean((y - 1) ** 2) - adding.BASELINE) < 0.01


def test_remember_command():
    first, second = (call("remember", "--steps", "6", "--updates", "150") for _ in range(2))
    assert first.exit_code == 0, first.output
    assert first.output == second.output
    assert "RNN: error" in first.output
    assert "after 150 updates" in first.output


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: models.sequence_net(3, 2, kind="MLP"), "kind must be one of"),
        (lambda: models.sequence_net(3, 0), "out_features must be"),
        (lambda: models.sequence_net(3, 2, kind="GRU", forget_bias=1.0), "forget_bias is for kind='LSTM'"),
        (lambda: models.forecaster(0), "must be"),
        (lambda: models.forecaster().extend(np.zeros((1, 4, 1), np.float32), 0), "steps must be"),
        (lambda: models.sequence_net(3, 2)(np.zeros((1, 4, 2), np.float32)), "input_size 3"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_forget_gates_begin_open():
    net = models.sequence_net(3, 2, hidden_size=4, num_layers=2, bidirectional=True, forget_bias=3.0)
    biases = {name: p.data for name, p in net.rnn.named_parameters() if name.startswith("bias_ih")}
    assert len(biases) == 4
    for bias in biases.values():
        assert (bias[4:8] == 3).all()
        assert (np.abs(np.delete(bias, np.s_[4:8])) <= 0.5).all()
