"""Loss scaling, which works on the CPU too, and what autocast says there."""

import math

import numpy as np
import pytest
from click.testing import CliRunner

import dlfast as dl
from dlfast import nn
from dlfast.amp import GradScaler, autocast
from dlfast.cli import main


def parameter(*values):
    return nn.Parameter(np.array(values, np.float32))


def optimizer_of(p, **options):
    return dl.optim.SGD([p], lr=0.5, **options)


def test_a_step_is_that_without_scaling():
    plain, scaled = parameter(1.0, -2.0), parameter(1.0, -2.0)
    for p, scaler in ((plain, GradScaler(enabled=False)), (scaled, GradScaler(1024.0))):
        optimizer = optimizer_of(p)
        scaler.scale((p * p).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
    assert np.array_equal(scaled.data, plain.data)
    assert np.array_equal(scaled.grad, plain.grad * 1024)


@pytest.mark.parametrize("unscale", [False, True])
def test_clipping_is_by_the_unscaled_norm(unscale):
    p = parameter(3.0, 4.0)
    optimizer, scaler = optimizer_of(p, clip_grad_norm=1.0), GradScaler(2.0**10)
    scaler.scale((p * np.array([3, 4], np.float32)).sum()).backward()
    if unscale:
        scaler.unscale_(optimizer)
        assert np.allclose(p.grad, [3, 4])
    scaler.step(optimizer)
    assert math.isclose(optimizer.grad_norm, 5, rel_tol=1e-6)
    assert np.allclose(p.data, [3 - 0.3, 4 - 0.4], rtol=1e-5)


def test_clip_grad_norm_between_unscale_and_step():
    p = parameter(3.0, 4.0)
    optimizer, scaler = optimizer_of(p), GradScaler(2.0**10)
    scaler.scale((p * np.array([3, 4], np.float32)).sum()).backward()
    scaler.unscale_(optimizer)
    assert math.isclose(nn.utils.clip_grad_norm_([p], 1.0), 5, rel_tol=1e-6)
    scaler.step(optimizer)
    assert np.allclose(p.data, [3 - 0.3, 4 - 0.4], rtol=1e-5)


def test_an_overflow_skips_the_step_and_halves_the_scale():
    p = parameter(1.0, 1.0)
    optimizer, scaler = optimizer_of(p), GradScaler(2.0**10, growth_interval=2)
    scales = []
    for gradient in ([np.inf, 1], [1, np.nan], [1, 1], [1, 1], [1, 1]):
        before, p.grad = p.data.copy(), np.array(gradient, np.float32)
        scaler.step(optimizer)
        scaler.update()
        scales.append(scaler.get_scale())
        assert np.array_equal(before, p.data) == (not np.isfinite(gradient).all())
    assert scales == [512, 256, 256, 512, 512]


def test_large_finite_gradients_are_no_overflow():
    p = parameter(1.0)
    optimizer, scaler = optimizer_of(p), GradScaler(2.0)
    p.grad = np.array([3e38], np.float32)
    scaler.step(optimizer)
    scaler.update()
    assert p.data[0] < -1e37
    assert scaler.get_scale() == 2


def test_state():
    scaler = GradScaler(256.0, growth_factor=4.0, backoff_factor=0.25, growth_interval=3)
    p = parameter(1.0)
    p.grad = np.ones(1, np.float32)
    scaler.step(optimizer_of(p))
    scaler.update()
    other = GradScaler()
    other.load_state_dict(scaler.state_dict())
    assert other.state_dict() == scaler.state_dict()
    assert other.state_dict()["_growth_tracker"] == 1
    with pytest.raises(ValueError, match="the state lacks scale"):
        other.load_state_dict({"growth_factor": 2.0})
    assert GradScaler(enabled=False).state_dict() == {}


def test_order_of_calls():
    p = parameter(1.0)
    p.grad = np.ones(1, np.float32)
    optimizer, scaler = optimizer_of(p), GradScaler()
    with pytest.raises(RuntimeError, match="update\\(\\) comes after step"):
        scaler.update()
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="unscale_\\(\\) has been called"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="step\\(\\) has been called"):
        scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="takes no closure"):
        scaler.step(optimizer, lambda: None)
    with pytest.raises(TypeError, match="expected a Tensor"):
        scaler.scale(1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"init_scale": 0}, "init_scale"), ({"growth_factor": 1}, "growth_factor"), ({"backoff_factor": 1}, "backoff"),
     ({"growth_interval": 0}, "growth_interval")],
)  # fmt: skip
def test_options(options, message):
    with pytest.raises(ValueError, match=message):
        GradScaler(**options)


def test_autocast_is_not_for_the_cpu():
    with pytest.raises(ValueError, match="dtype must be 'bfloat16' or 'float16', got 'float32'"):
        autocast("float32")
    x, weight = np.ones((2, 3), np.float32), np.ones((4, 3), np.float32)
    with autocast("float16", enabled=False):
        assert dl.functional.linear(x, weight).dtype == np.float32
    with pytest.raises(TypeError, match=r"to: the CPU computes in float32; move the model first"):
        nn.Linear(2, 2).half()


def test_autocast_says_why_there_is_no_gpu():
    with dl.cuda.host(False):
        if dl.cuda.is_available():
            pytest.skip("there is a GPU")
        with pytest.raises(RuntimeError, match="autocast is for GPUs"), autocast("float16"):
            pass


def test_the_command_refuses_the_cpu(tmp_path):
    arguments = ["train", "mlp", "--data", "digits", "--amp", "float16", "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code != 0
    assert "--amp float16 is for GPUs, the CPU computes in float32" in result.output
    assert not (tmp_path / "run").exists()
