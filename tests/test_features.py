"""What the notes teach, a test for each: by its formula, and on the data that ships with the package.

Here: perceptrons, backpropagation, activations. Each test is named after its subject, which has a page in docs/notes.
"""

import math

import numpy as np
import pytest
from features import digits, fitted

import dlfast as dl
from dlfast import functional as F
from dlfast import models, nn, optim

CORNERS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
TRUTH = {"AND": [0, 0, 0, 1], "OR": [0, 1, 1, 1], "XOR": [0, 1, 1, 0]}


@pytest.fixture(autouse=True)
def _seed():
    dl.manual_seed(0)


def gate(model, name, loss, steps=500):
    """The share of the four corners that the model has right after training."""
    targets = np.array(TRUTH[name], np.float32)[:, None]
    optimizer = optim.Adam(model.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(model(CORNERS), targets).backward()
        optimizer.step()
    return np.mean((dl.train.predict(model, CORNERS) > 0.5) == (targets > 0.5))


def test_perceptron_trains_and_or():
    for name in ("AND", "OR"):
        assert gate(models.perceptron(2), name, F.binary_cross_entropy) == 1


def test_perceptron_is_its_formula():
    model, x = models.perceptron(3), np.float32([[0.5, -1, 2]])
    z = x @ model[0].weight.numpy().T + model[0].bias.numpy()
    np.testing.assert_allclose(model(x).numpy(), 1 / (1 + np.exp(-z)), rtol=1e-6)


def test_perceptron_cannot_train_xor_while_an_mlp_can():
    assert max(gate(models.perceptron(2), "XOR", F.binary_cross_entropy) for _ in range(4)) <= 0.75
    mlp = nn.Sequential(*models.mlp(2, 8, 1, activation=nn.Tanh), nn.Sigmoid())
    assert gate(mlp, "XOR", F.binary_cross_entropy) == 1


def test_multi_layer_perceptron_forward_pass():
    model = models.mlp(64, 24, 16, 10)
    a = digits()[0].arrays[0][:7].reshape(7, 64)
    for layer in model[::2]:
        z = a @ layer.weight.numpy().T + layer.bias.numpy()
        a = np.maximum(z, 0)
    np.testing.assert_allclose(model(digits()[0].arrays[0][:7].reshape(7, 64)).numpy(), z, rtol=1e-4, atol=1e-5)


def test_multi_layer_perceptron_learns_digits():
    assert fitted(nn.Sequential(nn.Flatten(), *models.mlp(64, 32, 10)), digits(), 15)["val_accuracy"][-1] > 0.88


def test_backpropagation_chain_rule():
    """dL/dw = dL/da da/dz dz/dw for one unit."""
    w, x, target = dl.tensor([0.7], requires_grad=True), 1.5, 0.2
    a = F.sigmoid(w * x)
    ((a - target) ** 2).sum().backward()
    value = 1 / (1 + math.exp(-0.7 * x))
    assert w.grad[0] == pytest.approx(2 * (value - target) * value * (1 - value) * x, rel=1e-5)


@pytest.mark.parametrize(
    ("activation", "slope"),
    [
        (nn.Sigmoid, lambda a: a * (1 - a)),
        (nn.Tanh, lambda a: 1 - a * a),
        (nn.ReLU, lambda a: (a > 0).astype(float)),
    ],
)
def test_backpropagation_delta_rules(activation, slope):
    """The notes' delta of each layer, and delta A^T, beside the tape's gradients; three layers, float64."""
    model = models.mlp(64, 12, 9, 10, activation=activation).to(np.float64)
    x, labels = (array[:20] for array in digits()[0].arrays)
    x, y = x.reshape(20, 64).astype(np.float64), np.eye(10)[labels]
    layers, outputs = list(model[::2]), [x]
    for part in model:
        outputs.append(part(outputs[-1]).numpy())
    a = outputs[::2]  # the inputs of the linear layers, A^[l-1]
    F.mse_loss(model(x), y).backward()
    delta = 2 * (outputs[-1] - y) / y.size  # dL/dA, and g' = 1 at the last layer
    for number in reversed(range(3)):
        np.testing.assert_allclose(layers[number].weight.grad, delta.T @ a[number], rtol=1e-9, atol=1e-15)
        np.testing.assert_allclose(layers[number].bias.grad, delta.sum(axis=0), rtol=1e-9, atol=1e-15)
        if number:
            delta = delta @ layers[number].weight.numpy() * slope(a[number])


X = np.concatenate([np.linspace(-6, 6, 97), [-1000.0, -50.0, 50.0, 1000.0]])
X = X[X != 0]  # where ReLU and its kin have no derivative
SIGMOID = 1 / (1 + np.exp(-np.clip(X, -700, 700)))
ELU = np.where(X > 0, X, np.expm1(np.minimum(X, 0)))
PHI = np.array([math.erfc(-x / math.sqrt(2)) / 2 for x in X])
ACTIVATIONS = {
    "sigmoid": (SIGMOID, SIGMOID * (1 - SIGMOID)),
    "tanh": (np.tanh(X), 1 - np.tanh(X) ** 2),
    "relu": (np.maximum(0, X), X > 0),
    "leaky_relu": (np.maximum(0.01 * X, X), np.where(X > 0, 1, 0.01)),
    "elu": (ELU, np.where(X > 0, 1, ELU + 1)),  # f(x) + alpha
    "gelu": (X * PHI, PHI + X * np.exp(-(X**2) / 2) / math.sqrt(2 * math.pi)),
    "swish": (X * SIGMOID, SIGMOID * (1 + X * (1 - SIGMOID))),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_and_derivatives(name):
    x = dl.tensor(X, requires_grad=True)
    y = getattr(F, name)(x)
    y.sum().backward()
    value, slope = ACTIVATIONS[name]
    np.testing.assert_allclose(y.numpy(), value, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(x.grad, slope, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("layer", [nn.Sigmoid, nn.Tanh, nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.Swish])
def test_activations_in_a_network(layer):
    model = nn.Sequential(nn.Flatten(), *models.mlp(64, 32, 10, activation=layer))
    assert fitted(model, digits())["val_accuracy"][-1] > 0.8


def test_softmax():
    logits = np.array([[1000.0, 1001.0, 998.0], [-1e4, 0.0, 1.0]])
    y = F.softmax(dl.tensor(logits)).numpy()
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(y, shifted / shifted.sum(axis=1, keepdims=True), rtol=1e-12)
    jacobian = np.diag(y[0]) - np.outer(y[0], y[0])
    for i in range(3):
        x = dl.tensor(logits[0], requires_grad=True)
        F.softmax(x)[i].backward()
        np.testing.assert_allclose(x.grad, jacobian[i], rtol=1e-9, atol=1e-12)
