"""Bad options and parameters of optimizers are named; groups have options of their own."""

import numpy as np
import pytest
from optimizing import arrays, parameters

from dlfast import optim
from dlfast.nn import Linear


def test_groups_have_options_of_their_own():
    params = parameters()
    optimizer = optim.SGD([{"params": params[:1], "lr": 1.0}, {"params": params[1:2]}], lr=0.1)
    optimizer.add_param_group({"params": params[2], "weight_decay": 0.5})
    for p in params:
        p.grad = np.ones(p.shape)
    optimizer.step()
    start = arrays()
    np.testing.assert_allclose(params[0].data, start[0] - 1)
    np.testing.assert_allclose(params[1].data, start[1] - 0.1)
    np.testing.assert_allclose(params[2].data, start[2] - 0.1 * (1 + 0.5 * start[2]))
    np.testing.assert_array_equal(params[3].data, start[3])
    assert repr(optimizer).splitlines()[:3] == ["SGD (", "Parameter Group 0", "    lr: 1.0"]
    optimizer.zero_grad()
    assert params[0].grad is None


BAD = [
    (optim.SGD, {"lr": -1}, r"SGD: lr must be in \[0, inf\), got -1"),
    (optim.SGD, {"lr": float("nan")}, "lr must be in"),
    (optim.SGD, {"momentum": -0.1}, "momentum must be"),
    (optim.SGD, {"weight_decay": -0.1}, "weight_decay must be"),
    (optim.SGD, {"nesterov": True}, "nesterov needs a momentum"),
    (optim.SGD, {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "nesterov needs"),
    (optim.RMSprop, {"alpha": 1.0}, r"RMSprop: alpha must be in \[0, 1\), got 1.0"),
    (optim.RMSprop, {"eps": 0}, r"eps must be in \(0, inf\), got 0"),
    (optim.Adam, {"betas": (0.9, 1.0)}, r"Adam: betas\[1\] must be in \[0, 1\), got 1.0"),
    (optim.Adam, {"betas": (-0.1, 0.9)}, r"betas\[0\]"),
    (optim.Adam, {"betas": 0.9}, "betas must be a pair"),
    (optim.Adam, {"eps": -1e-8}, "eps must be"),
    (optim.AdamW, {"weight_decay": -1}, "AdamW: weight_decay must be"),
    (optim.Adagrad, {"initial_accumulator_value": -1}, "initial_accumulator_value must be"),
    (optim.Adagrad, {"lr_decay": -1}, "lr_decay must be"),
    (optim.NAdam, {"momentum_decay": -1}, "NAdam: momentum_decay must be"),
    (optim.RAdam, {"eps": 0}, "RAdam: eps must be"),
    (optim.Lion, {"betas": (0.9, 1.0)}, r"Lion: betas\[1\] must be"),
    (optim.Adam, {"amsgrad": True}, "Adam: amsgrad is not supported; leave it out, or pass amsgrad=False"),
    (optim.RMSprop, {"centered": True}, "centered is not supported"),
    (optim.SGD, {"differentiable": True}, "differentiable is not supported"),
]


@pytest.mark.parametrize(("kind", "options", "message"), BAD)
def test_names_a_bad_option(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(parameters(), **options)


def test_names_an_option_that_is_no_number():
    for kind, options in ((optim.SGD, {"lr": "0.1"}), (optim.Adam, {"eps": None}), (optim.RMSprop, {"alpha": True})):
        with pytest.raises(TypeError, match=f"{kind.__name__}: {next(iter(options))} must be a number"):
            kind(parameters(), **options)


def test_options_of_pytorch_that_choose_an_implementation_change_nothing():
    optimizer = optim.Adam(parameters(), amsgrad=False, foreach=True, fused=None, capturable=False)
    assert optimizer.defaults == optim.Adam(parameters()).defaults
    with pytest.raises(TypeError, match="Adam: unknown option beta; known are params, lr, betas, eps, weight_decay"):
        optim.Adam(parameters(), beta=0.9)


def test_a_cast_model_needs_a_new_optimizer():
    model = Linear(2, 3)
    optimizer = optim.SGD(model.parameters())
    model.to(np.float64)
    model.weight.grad = np.ones((3, 2))
    with pytest.raises(RuntimeError, match="another dtype than when the optimizer was made"):
        optimizer.step()
    optim.SGD(model.parameters()).step()


def test_names_bad_parameters():
    params = parameters()
    with pytest.raises(ValueError, match="Adam: params is empty"):
        optim.Adam([])
    with pytest.raises(ValueError, match="a parameter group is empty"):
        optim.Adam([{"params": []}])
    with pytest.raises(TypeError, match=r"params\[1\] must be a Parameter, got ndarray"):
        optim.Adam([params[0], np.zeros(3)])
    with pytest.raises(TypeError, match="must be a list of Parameters or of groups, got one Parameter"):
        optim.Adam(params[0])
    with pytest.raises(ValueError, match=r"params\[2\], of shape \(3, 5\), appears more than once"):
        optim.Adam([params[0], params[1], params[0]])
    with pytest.raises(ValueError, match="unknown option lrr"):
        optim.Adam([{"params": params, "lrr": 1.0}])
    optimizer = optim.Adam(params[:2])
    with pytest.raises(ValueError, match="more than once"):
        optimizer.add_param_group({"params": [params[1]]})
    assert len(optimizer.param_groups) == 1
