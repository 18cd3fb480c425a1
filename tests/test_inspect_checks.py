"""The first checks of a network, and the views of its values: against what NumPy gives."""

import numpy as np
import pytest
from inspecting import digits

import dlfast as dl
from dlfast import functional as F
from dlfast import inspect, models, nn


@pytest.mark.parametrize("classes", [2, 10, 40])
def test_the_initial_loss_is_the_logarithm_of_the_classes(classes):
    dl.manual_seed(0)
    x, y = digits(300)
    found = inspect.check_initial_loss(models.mlp(64, 32, classes), (x, y % classes))
    assert found.ok
    assert found.expected == pytest.approx(np.log(classes), rel=1e-5)
    assert abs(found.loss - found.expected) < 0.2
    assert f"ln({classes}) = {found.expected:.4g}" in str(found)


def test_first_weights_that_are_too_large_are_seen():
    dl.manual_seed(0)
    model = models.mlp(64, 32, 10)
    model[2].weight.data[...] *= 30
    found = inspect.check_initial_loss(model, digits())
    assert not found.ok
    assert "far above ln(10)" in str(found)
    model[2].weight.data[0, 0] = np.nan
    assert not inspect.check_initial_loss(model, digits()).ok


def test_initial_losses_of_other_kinds():
    dl.manual_seed(0)
    x, y = digits()
    of = inspect.check_initial_loss
    binary = (x, (y[:, None] > 4).astype(np.float32))
    assert of(models.mlp(64, 1), binary, F.binary_cross_entropy_with_logits).expected == pytest.approx(np.log(2))
    assert of(models.perceptron(64), binary, F.binary_cross_entropy).expected == pytest.approx(np.log(2))
    softmax = nn.Sequential(nn.Linear(64, 10), nn.LogSoftmax())
    assert of(softmax, (x, y), F.nll_loss).expected == pytest.approx(np.log(10), rel=1e-5)
    numbers = (x, x[:, :3].copy() + 5)
    assert of(models.mlp(64, 3), numbers).expected == pytest.approx(np.mean(numbers[1] ** 2.0), rel=1e-4)
    smooth = of(models.mlp(64, 10), (x, y), lambda a, b: F.cross_entropy(a, b, label_smoothing=0.1))
    assert smooth.expected == pytest.approx(np.log(10), rel=1e-5)
    text = dl.data.load("gospels")
    assert of(models.gpt(61, num_layers=1), text.windows(8), rows=16).expected == pytest.approx(np.log(61), rel=1e-5)
    unknown = of(nn.Linear(64, 10), (x, y), lambda outputs, _: (outputs * outputs.detach()).mean())
    assert unknown.ok
    assert unknown.expected is None
    assert "not known" in str(unknown)


def test_a_working_model_learns_a_tiny_batch_and_one_without_gradients_does_not():
    dl.manual_seed(0)
    model, data = models.mlp(64, 24, 10), digits()
    before = model.state_dict()
    found = inspect.overfit_tiny_batch(model, data, rows=12)
    assert found.learned
    assert found.rows == 12
    assert found.losses[-1] < found.losses[0]
    assert "learned 12 rows by heart" in str(found)
    np.testing.assert_equal(model.state_dict(), before)
    model[0].bias.data[...] = -100  # every unit is dead: the outputs are the same for all rows
    dead = inspect.overfit_tiny_batch(model, data, rows=12, steps=60)
    assert not dead.learned
    assert "did not learn 12 rows" in str(dead)


def test_tiny_batches_of_numbers_sequences_and_texts():
    dl.manual_seed(0)
    x, _ = digits()
    assert inspect.overfit_tiny_batch(models.mlp(64, 24, 2), (x, x[:, 20:22].copy())).learned
    sequences = x.reshape(-1, 8, 8)
    net = models.sequence_net(8, 3, hidden_size=16)
    assert inspect.overfit_tiny_batch(net, (sequences, np.full(200, 8), np.arange(200) % 3)).learned
    text = dl.data.load("gospels")
    found = inspect.overfit_tiny_batch(models.char_lstm(61, hidden_size=32), text.windows(30))
    assert found.learned
    assert found.rows == 4


def test_activations_are_what_layers_give():
    dl.manual_seed(0)
    (x, y), model = digits(100), models.mlp(64, 20, 10)
    found = inspect.activations(model, (x, y))
    hidden = x @ model[0].weight.data.T + model[0].bias.data
    assert [(row.name, row.layer) for row in found] == [("0", "Linear"), ("1", "ReLU"), ("2", "Linear")]
    linear, relu, _ = found
    assert [linear.mean, linear.std] == pytest.approx([hidden.mean(), hidden.std()], abs=1e-4)
    assert [linear.least, linear.most] == pytest.approx([hidden.min(), hidden.max()], abs=1e-4)
    assert relu.zeros == pytest.approx((hidden <= 0).mean(), abs=1e-3)
    assert linear.counts.sum() == hidden.size
    assert len(linear.edges) == len(linear.counts) + 1


def test_weights_of_each_parameter():
    model = models.mlp(64, 20, 10)
    model[2].weight.data[0, 0] = np.inf
    found = {row.name: row for row in inspect.weights(model)}
    assert list(found) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert found["0.weight"].std == pytest.approx(model[0].weight.data.std(), rel=1e-4)
    assert found["2.weight"].counts.sum() == 199
    assert [row.finite for row in found.values()] == [True, True, False, True]


def test_filters_are_scaled_each_by_its_own_largest():
    colour = nn.Sequential(nn.Conv2d(3, 5, 4))
    found = inspect.filters(colour)
    assert "5 filters of 4 x 4 pixels, 3 channels, in layer '0'" in str(found)
    image = found.grid()
    assert image.shape == (2 * 5 - 1, 3 * 5 - 1, 3)
    kernel = colour[0].weight.data[4]
    np.testing.assert_allclose(image[5:9, 5:9], 0.5 + 0.5 * kernel / np.abs(kernel).max(), atol=1e-6)
    assert np.isnan(image[4]).all()
    assert np.isnan(image[5:, 10:]).all()  # no sixth filter
    flat = inspect.filters(models.mlp(64, 20, 10), image_shape=(8, 8, 1))
    assert flat.weights.shape == (20, 8, 8, 1)
    assert flat.grid().shape == (4 * 9 - 1, 5 * 9 - 1)
    with pytest.raises(ValueError, match="the model has no Conv2d; for a Linear"):
        inspect.filters(models.mlp(64, 10))
    with pytest.raises(ValueError, match="no Conv2d named 'head'"):
        inspect.filters(colour, "head")
    with pytest.raises(ValueError, match="image_shape must be .* of 64 features"):
        inspect.filters(models.mlp(64, 10), image_shape=(9, 9, 1))


def test_confusion_matrix_counts_what_is_taken_for_what():
    dl.manual_seed(0)
    (x, y), model = digits(150), models.mlp(64, 10)
    found = inspect.confusion_matrix(model, (x, y), batch_size=40)
    taken = (x @ model[0].weight.data.T + model[0].bias.data).argmax(axis=1)
    wanted = np.zeros((10, 10), int)
    for true, guess in zip(y, taken):
        wanted[true, guess] += 1
    np.testing.assert_array_equal(found.counts, wanted)
    assert found.accuracy == (taken == y).mean()
    assert found.recall[3] == (taken[y == 3] == 3).mean()
    likely = np.bincount(taken).argmax()
    assert found.precision[likely] == (y[taken == likely] == likely).mean()
    assert found.classes == [str(i) for i in range(10)]


def test_confusion_of_two_classes_soft_targets_and_texts():
    x, y = digits(60)
    names = ["even <&>", "odd"]
    binary = inspect.confusion_matrix(models.mlp(64, 1), (x, (y % 2)[:, None].astype(np.float32)), names)
    assert binary.counts.sum() == 60
    assert "even <&>" in str(binary)
    one_hot = np.eye(10, dtype=np.float32)[y]
    model = models.mlp(64, 10)
    soft = inspect.confusion_matrix(model, (x, one_hot)).counts
    np.testing.assert_array_equal(soft, inspect.confusion_matrix(model, (x, y)).counts)
    ignored = np.where(y == 3, -100, y)
    assert inspect.confusion_matrix(model, (x, ignored)).counts.sum() == (y != 3).sum()
    text = dl.data.load("gospels").split()[1]
    assert inspect.confusion_matrix(models.char_gru(61, hidden_size=8), text.windows(500)).counts.shape == (61, 61)
    with pytest.raises(ValueError, match="tells 10 classes apart, got 2 names"):
        inspect.confusion_matrix(model, (x, y), names)
    with pytest.raises(ValueError, match="labels must be below 10"):
        inspect.confusion_matrix(model, (x, y + 5))
