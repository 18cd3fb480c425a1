"""dlfast.Function: one's own operation on the tape, beside PyTorch's autograd.Function."""

import gc
import weakref

import numpy as np
import pytest
from peers import needs_torch, torch
from samples import leaf

import dlfast as dl
from dlfast import nn, optim
from dlfast.tensor import Tensor


class Scaled(dl.Function):
    """a x^2, and x + b: several inputs and outputs, an argument that is no array."""

    @staticmethod
    def forward(ctx, x, b, scale):
        assert type(x) is np.ndarray
        assert not dl.is_grad_enabled()
        ctx.save_for_backward(x)
        ctx.scale, ctx.b_shape = scale, np.shape(b)
        return scale * x * x, x + b

    @staticmethod
    def backward(ctx, dy, dz):
        (x,) = ctx.saved_tensors
        db = dz.sum(0) if ctx.needs_input_grad[1] else None
        return 2 * ctx.scale * x * dy + dz, db, None


def one(forward, backward):
    """A Function of these two."""
    return type("Own", (dl.Function,), {"forward": staticmethod(forward), "backward": staticmethod(backward)})


def test_several_inputs_and_outputs():
    x, b = leaf(3, 4), leaf(4, seed=1)
    y, z = Scaled.apply(x, b, 3.0)
    assert type(y) is Tensor
    assert y.requires_grad
    ((y * y).sum() + (2 * z).sum()).backward()
    np.testing.assert_allclose(x.grad, 36 * x.data**3 + 2)
    np.testing.assert_allclose(b.grad, 6)


def test_gradcheck_of_all_and_of_one_input():
    x, b = np.random.default_rng(0).normal(size=(2, 3, 4))[:, :, 0], np.arange(3.0)
    assert dl.gradcheck(lambda x, b: Scaled.apply(x, b, 0.5), [x, b]).elements == x.size + b.size
    assert dl.gradcheck(lambda x: Scaled.apply(x, 1.0, 2)[0], [x]).elements == x.size
    wrong = one(lambda ctx, x: x * x, lambda ctx, dy: dy)
    with pytest.raises(AssertionError, match="central difference"):
        dl.gradcheck(wrong.apply, np.full(2, 3.0))


def test_a_result_that_nothing_was_computed_from_has_a_gradient_of_zeros():
    x = leaf(3, 4)
    _, z = Scaled.apply(x, 0.0, 3.0)
    z.sum().backward()
    np.testing.assert_array_equal(x.grad, 1)
    seen = []

    def forward(ctx, x):
        ctx.set_materialize_grads(False)
        return x * 2, x * 3

    operation = one(forward, lambda ctx, dy, dz: (seen.append(dy), 3 * dz)[1])
    operation.apply(x)[1].sum().backward()
    assert seen == [None]
    np.testing.assert_array_equal(x.grad, 4)


def test_needs_and_none_gradients():
    needs = []

    def forward(ctx, x, y, option):
        needs.append(ctx.needs_input_grad)
        return x * y

    operation = one(forward, lambda ctx, dy: (None, None, None))
    x, constant = leaf(3), Tensor(np.ones(3))
    operation.apply(x, constant, "same").sum().backward()
    assert x.grad is None
    with dl.no_grad():
        assert not operation.apply(x, x, None).requires_grad
    assert not operation.apply(constant, np.ones(3), None).requires_grad
    assert needs == [(True, False, False), (False, False, False), (False, False, False)]


def test_one_tensor_twice_and_a_gradient_shared_by_two():
    operation = one(lambda ctx, x, y: x + y, lambda ctx, dy: (dy, dy))
    x = leaf(3)
    y = x * 1
    operation.apply(x, y).sum().backward()
    np.testing.assert_array_equal(x.grad, 2)
    x.grad[0] = 7  # its own array
    operation.apply(x, x).sum().backward()
    np.testing.assert_array_equal(x.grad, [9, 4, 4])


def test_integers_and_marked_results_carry_no_gradient():
    def forward(ctx, x):
        best, rank = x.max(), x * 2
        ctx.mark_non_differentiable(rank)
        return best, x.argmax(), rank

    operation = one(forward, lambda ctx, dy, di, drank: (dy * np.ones(3) + drank, di)[0])
    x = leaf(3)
    best, index, rank = operation.apply(x)
    assert [t.requires_grad for t in (best, index, rank)] == [True, False, False]
    assert index.item() == np.argmax(x.data)
    best.backward()
    np.testing.assert_array_equal(x.grad, 1)
    halves = one(lambda ctx, x: x.astype(np.float16), lambda ctx, dy: dy)
    with pytest.raises(TypeError, match="result 0 must be float32 or float64 to carry a gradient, got float16"):
        halves.apply(x)


def test_gradients_take_the_dtype_of_their_arguments():
    operation = one(lambda ctx, x: x.astype(np.float64), lambda ctx, dy: dy)
    x = Tensor(np.ones(3, np.float32), requires_grad=True)
    operation.apply(x).sum().backward()
    assert x.grad.dtype == np.float32


@pytest.mark.parametrize(
    ("gradients", "error", "words"),
    [
        (lambda dy: dy, ValueError, r"Own.backward: expected 2 gradients, one for each argument of apply.*got 1"),
        (lambda dy: (dy, None, dy), ValueError, "expected 2 gradients.*got 3"),
        (lambda dy: (dy[:2], None), ValueError, r"gradient 0 must have shape \(3,\), as argument 0, got \(2,\)"),
        (lambda dy: (dy.sum(), None), ValueError, r"must have shape \(3,\), as argument 0, got \(\)"),
        (lambda dy: (dy, dy), ValueError, "gradient 1 must be None, as argument 1 is no array, got ndarray"),
        (lambda dy: ("x", None), TypeError, "gradient 0 must be an array or None, got str"),
    ],
)
def test_gradients_that_do_not_fit(gradients, error, words):
    operation, x = one(lambda ctx, x, option: x * 2, lambda ctx, dy: gradients(dy)), leaf(3)
    y = operation.apply(x, 1)
    with pytest.raises(error, match=words):
        y.sum().backward()
    assert x.grad is None


def test_none_beyond_the_arguments_is_allowed():
    operation, x = one(lambda ctx, x: x * 2, lambda ctx, dy: (dy, None, None)), leaf(3)
    operation.apply(x).sum().backward()
    np.testing.assert_array_equal(x.grad, 1)


def test_second_backward():
    x = leaf(3, 4)
    y = Scaled.apply(x, 0.0, 1.0)[0].sum()
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_allclose(x.grad, 4 * x.data)
    with pytest.raises(RuntimeError, match="already freed"):
        y.backward()


def test_what_is_saved_must_not_change():
    x = leaf(3, 4)
    h = x * 1
    y, z = Scaled.apply(h, 0.0, 1.0)
    with dl.no_grad():
        h += 1
    with pytest.raises(RuntimeError, match="changed in place after the forward pass"):
        (y + z).sum().backward()
    h = x * 1
    single = one(lambda ctx, x: (ctx.save_for_backward(x), x * x)[1], lambda ctx, dy: 2 * dy * ctx.saved_tensors[0])
    y = single.apply(h)
    with dl.no_grad():
        h += 1
    with pytest.raises(RuntimeError, match="changed in place"):
        y.sum().backward()


class Exp(dl.Function):
    """In place."""

    @staticmethod
    def forward(ctx, x):
        np.exp(x, out=x)
        ctx.mark_dirty(x)
        ctx.save_for_backward(x)
        return x

    @staticmethod
    def backward(ctx, dy):
        return dy * ctx.saved_tensors[0]


def test_in_place():
    x = leaf(3)
    h = x * 2
    assert Exp.apply(h) is h
    h.sum().backward()
    np.testing.assert_allclose(x.grad, 2 * np.exp(2 * x.data))
    before = x.data.copy()
    with dl.no_grad():
        assert Exp.apply(x) is x
        assert x.requires_grad
    np.testing.assert_array_equal(x.data, np.exp(before))
    with pytest.raises(RuntimeError, match="Exp: a leaf Tensor of shape .* cannot be changed in place"):
        Exp.apply(x)
    h = x * 2
    y = h * h
    Exp.apply(h)
    with pytest.raises(RuntimeError, match="changed in place"):
        y.sum().backward()
    unsaid = one(lambda ctx, x: (ctx.mark_dirty(np.ones(2)), x)[1], lambda ctx, dy: dy)
    with pytest.raises(ValueError, match="must be the array of a Tensor argument and a result"):
        unsaid.apply(x)


def test_setup_context():
    class Power(dl.Function):
        @staticmethod
        def forward(x, n):
            return x**n

        @staticmethod
        def setup_context(ctx, inputs, output):
            x, ctx.n = inputs
            ctx.save_for_backward(x, None, output)

        @staticmethod
        def backward(ctx, dy):
            x, nothing, y = ctx.saved_tensors
            assert nothing is None
            np.testing.assert_array_equal(y, x**ctx.n)
            return ctx.n * x ** (ctx.n - 1) * dy, None

    dl.gradcheck(lambda x: Power.apply(x, 3), np.arange(1.0, 4))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: Scaled(), TypeError, r"an operation is not made but applied: Scaled.apply\(x\)"),
        (lambda: dl.Function.apply(leaf(2)), NotImplementedError, "define forward as a static method"),
        (lambda: one(lambda ctx, x: 3.0, None).apply(leaf(2)), TypeError, "must return an array or a tuple.*got float"),
        (lambda: one(lambda ctx, x: (x, None), None).apply(leaf(2)), TypeError, "must return an array.*got NoneType"),
        (lambda: one(lambda ctx, x: x[0], None).apply([leaf(2)]), TypeError, "argument 0 is a list with a Tensor"),
        (lambda: one(lambda ctx, x: ctx.save_for_backward(3), None).apply(leaf(2)), TypeError, "takes arrays, got int"),
    ],
)
def test_bad_definitions(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_a_forward_of_functions_of_the_library():
    operation = one(lambda ctx, x: dl.functional.relu(x) * 2, lambda ctx, dy: 2 * dl.Tensor(dy))
    x = leaf(4)
    operation.apply(x).sum().backward()
    np.testing.assert_array_equal(x.grad, 2)


def test_in_a_module_with_an_optimizer():
    class Layer(nn.Module):
        def __init__(self):
            self.weight = nn.Parameter(np.ones(3, np.float32))

        def forward(self, x):
            return Multiplied.apply(x, self.weight)

    Multiplied = one(
        lambda ctx, x, w: (ctx.save_for_backward(x, w), x * w)[1],
        lambda ctx, dy: (dy * ctx.saved_tensors[1], (dy * ctx.saved_tensors[0]).sum(0)),
    )
    dl.manual_seed(0)
    layer, x = Layer(), np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    target, optimizer = x * np.array([3, -1, 0.5], np.float32), None
    optimizer = optim.SGD(layer.parameters(), lr=0.5)
    for _ in range(60):
        loss = dl.functional.mse_loss(layer(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    np.testing.assert_allclose(layer.weight.data, [3, -1, 0.5], atol=1e-3)


def test_memory_goes_with_the_graph():
    x = leaf(3, 4)
    kept = []

    def forward(ctx, x):
        y = x * 2
        kept.append(weakref.ref(y))
        ctx.save_for_backward(y)
        return y

    y = one(forward, lambda ctx, dy: 2 * dy).apply(x)
    gc.disable()
    try:
        total = y.sum()
        total.backward()
        del y, total
        assert kept[0]() is None
    finally:
        gc.enable()


@needs_torch
def test_as_pytorch():
    """The same class body, apart from what forward and backward see."""

    def define(base):
        class Own(base):
            @staticmethod
            def forward(ctx, x, w, power):
                ctx.save_for_backward(x, w)
                ctx.power = power
                return x**power * w, x * 1

            @staticmethod
            def backward(ctx, dy, dz):
                x, w = ctx.saved_tensors
                dx = ctx.power * x ** (ctx.power - 1) * w * dy + dz
                return dx, (dy * x**ctx.power).sum(0) if ctx.needs_input_grad[1] else None, None

        return Own

    x, w = np.random.default_rng(0).normal(size=(2, 3, 3))
    ours = [Tensor(x, requires_grad=True), Tensor(w[0], requires_grad=True)]
    theirs = [torch.tensor(x, requires_grad=True), torch.tensor(w[0], requires_grad=True)]
    for base, given in ((dl.autograd.Function, ours), (torch.autograd.Function, theirs)):
        y, z = define(base).apply(*given, 3)
        (y * y + z).sum().backward()
    for mine, other in zip(ours, theirs):
        np.testing.assert_allclose(mine.grad, other.grad)
