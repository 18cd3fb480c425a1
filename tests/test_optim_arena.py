"""The flat arena of an optimizer: the views that parameters keep in it, gradients in place, clipping by norm."""

import copy
import math

import numpy as np
import pytest
from optimizing import adam, arrays, parameters, same_bits, sgd, take_steps, values

from dlfast import kernels, nn, optim
from dlfast.nn import Parameter


class TestArena:
    def test_parameters_lie_side_by_side_and_aligned(self):
        params = parameters(np.float32)
        optimizer = optim.Adam(params)
        addresses = [p.data.__array_interface__["data"][0] for p in params if p.size]
        assert all(address % 64 == 0 for address in addresses)
        assert addresses == sorted(addresses)
        assert addresses[-1] - addresses[0] < 64 * len(params) + 4 * sum(p.size for p in params)
        assert same_bits(values(params), arrays(np.float32))
        assert optimizer.param_groups[0]["params"][0] is params[0]

    def test_one_kernel_call_for_a_whole_step(self, monkeypatch):
        calls, active_step = [], kernels.active_step
        monkeypatch.setattr(kernels, "active_step", lambda name, x: calls.append(name) or active_step(name, x))
        params = parameters()
        take_steps(optim.Adam(params), params, steps=3)
        assert calls == ["adam"] * 3
        take_steps(optim.SGD(params), params, steps=1)  # a second optimizer uses the same arena
        assert calls == ["adam"] * 3 + ["sgd"]
        calls.clear()
        take_steps(optim.Adam(params), params, steps=1, skip=lambda step, i: i == 2)
        assert calls == ["adam"] * 2  # the stretches before and after the parameter without gradient

    @pytest.mark.parametrize("order", ["whole first", "part first"])
    def test_optimizers_share_parameters(self, order):
        params, alone = parameters(), parameters()
        whole = optim.Adam(params, lr=0.01) if order == "whole first" else None
        part = optim.SGD(params[::2], lr=0.1, momentum=0.9)
        whole = whole or optim.Adam(params, lr=0.01)
        expected = []
        for i, w in enumerate(values(alone)):
            a, s = {}, {}
            for step in range(3):
                g = arrays(seed=100 + step)[i]
                w = adam(w, g, a, step + 1, 0.01)
                w = sgd(w, g, s, step + 1, 0.1, 0.9) if i % 2 == 0 else w
            expected.append(w)
        for step in range(3):
            for p, g in zip(params, arrays(seed=100 + step), strict=True):
                p.grad = g
            whole.step()
            part.step()
        for p, w in zip(params, expected, strict=True):
            np.testing.assert_allclose(p.data, w, rtol=1e-11, atol=1e-12)

    def test_mixed_dtypes(self):
        params = [Parameter(a.astype(dtype)) for a in arrays() for dtype in (np.float32, np.float64)]
        optimizer = optim.Adam(params, lr=0.01)
        for p in params:
            p.grad = np.ones(p.shape, p.dtype)
        optimizer.step()
        for p, before in zip(params, [a for a in arrays() for _ in range(2)], strict=True):
            np.testing.assert_allclose(p.data, before - 0.01, rtol=1e-5, atol=1e-6)

    def test_a_copied_model_trains_apart_from_the_first(self):
        params = parameters()
        optim.SGD(params, lr=1.0)
        twins = copy.deepcopy(params)
        take_steps(optim.SGD(twins, lr=0.1), twins, steps=1)
        assert same_bits(values(params), arrays())
        assert not same_bits(values(twins), arrays())

    def test_new_weights_go_into_the_arena(self):
        params = parameters()
        optimizer = optim.SGD(params, lr=1.0)
        params[0].data = np.full((3, 5), 2.0)
        for p in params:
            p.grad = np.ones(p.shape)
        optimizer.step()
        np.testing.assert_array_equal(params[0].data, 1.0)


def test_zero_grad_then_step_changes_nothing():
    params = parameters()
    optimizer = optim.Adam(params)
    take_steps(optimizer, params, 1)
    before = values(params)
    optimizer.zero_grad()
    optimizer.step()
    assert same_bits(before, values(params))
    assert optimizer.state_dict()["state"][0]["step"] == 1


class TestClipping:
    @pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, math.inf])
    def test_norm(self, norm_type):
        params = parameters()
        gradients = arrays(seed=5)
        for p, g in zip(params, gradients, strict=True):
            p.grad = g
        params[3].grad = None
        flat = np.concatenate([g.ravel() for i, g in enumerate(gradients) if i != 3])
        expected = np.linalg.norm(flat, norm_type)
        norm = optim.clip_grad_norm_(params, 0.5, norm_type)
        assert norm == pytest.approx(expected)
        for i, (p, g) in enumerate(zip(params, gradients, strict=True)):
            if i != 3:
                np.testing.assert_allclose(p.grad, g * (0.5 / (expected + 1e-6)))

    def test_a_small_norm_is_left_alone(self):
        params = parameters()
        for p, g in zip(params, arrays(seed=5), strict=True):
            p.grad = g
        optim.clip_grad_norm_(params, 1e3)
        assert same_bits([p.grad for p in params], arrays(seed=5))

    def test_clipping_reaches_the_arena(self):
        params = parameters()
        optimizer = optim.SGD(params, lr=1.0)
        for p in params:
            p.grad = np.full(p.shape, -9.0)
        optim.clip_grad_value_(params, 0.25)
        optimizer.step()
        for p, w in zip(params, arrays(), strict=True):
            np.testing.assert_allclose(p.data, w + 0.25)

    def test_bad_input(self):
        p = Parameter(np.zeros(2))
        p.grad = np.array([np.nan, 1.0])
        with pytest.raises(ValueError, match="max_norm must be at least 0, got -1"):
            optim.clip_grad_norm_([p], -1)
        with pytest.raises(ValueError, match="norm_type must be above 0"):
            optim.clip_grad_norm_([p], 1, 0)
        with pytest.raises(ValueError, match="clip_value must be at least 0"):
            optim.clip_grad_value_([p], -1)
        with pytest.raises(ValueError, match="the norm of the gradients is nan; nothing was clipped"):
            optim.clip_grad_norm_([p], 1.0, error_if_nonfinite=True)
        assert p.grad[1] == 1.0
        assert math.isnan(optim.clip_grad_norm_(p, 1.0))
        assert optim.clip_grad_norm_([], 1.0) == 0


@pytest.mark.parametrize("backend", ["reference", "numba", "cython", "auto"])
def test_gradients_in_the_arena_equal_those_without_optimizer(backend):
    """Kernels may write a first gradient straight into the arena; what is used in several places adds up."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 6, 5, 2)).astype(np.float32)
    square = nn.Parameter(rng.standard_normal((4, 4)).astype(np.float32))
    conv, twice, last = nn.Conv2d(2, 4, 3, padding=1), nn.Linear(4, 4), nn.Linear(4, 2)
    parameters = [square, *conv.parameters(), *twice.parameters(), *last.parameters()]

    def gradients():
        for p in parameters:
            p.grad = None
        hidden = twice(twice(conv(x))) @ (square @ square)
        (last(hidden).sum() + twice.weight.sum()).backward()
        return [p.grad.copy() for p in parameters]

    with kernels.use_backend(backend, "reference"):
        without = gradients()
        optim.Adam(parameters)
        views = [p._place.array for p in parameters]
        within = gradients()
    for p, view, a, b in zip(parameters, views, without, within, strict=True):
        assert p.grad is view
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
