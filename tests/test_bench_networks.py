"""The works of `dlfast bench` that are whole networks, updates and their memory, on a few numbers."""

import sys
from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest

from dlfast import models, nn
from dlfast.bench import footprint, load_suite, measure
from dlfast.bench.networks import Inference, Training
from dlfast.bench.rows import Row
from dlfast.bench.suites import steps
from dlfast.bench.updates import Update
from dlfast.models.resnet import PadShortcut

needs_pytorch = pytest.mark.skipif(not find_spec("torch"), reason="PyTorch is not installed")
OPTIONS = measure.Options(("auto", "reference"), (1, 2), bool(find_spec("torch")), rounds=1, seconds=0.001)


def every_kind():
    """A network of every module that has a counterpart, but tanh and average pooling, which `small_lenet` has."""
    block = nn.Residual(
        nn.Conv2d(6, 12, 3, stride=2, padding=1, groups=2, bias=False),
        nn.BatchNorm2d(12),
        shortcut=PadShortcut(6, 12, 2),
        activation="relu",
    )
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding="same"),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=1),
        block,
        nn.Residual(nn.Conv2d(12, 12, 1)),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(48, 5),
    )


def small_lenet():
    conv = nn.Conv2d(1, 3, 3), nn.Tanh(), nn.AvgPool2d(2)
    return nn.Sequential(*conv, nn.Flatten(), nn.Linear(3 * 3 * 2, 4), nn.Tanh(), nn.Linear(4, 3))


TRAININGS = {
    "every kind": partial(Training.drawn, every_kind, (3, 11, 13, 3), 5),
    "small LeNet": partial(Training.drawn, small_lenet, (2, 8, 7, 1), 3),
    "perceptron": partial(Training.drawn, partial(models.mlp, 5, 4, 3), (2, 5), 3),
}


def measured(work, **facts):
    """The row's results, measured: what raises where contenders disagree."""
    return list(measure.compared_times("row", Row("row", work, **facts), OPTIONS))


@pytest.mark.parametrize("name", TRAININGS)
def test_training_agrees_in_all_contenders(name):
    for _, times in measured(TRAININGS[name]):
        assert ("PyTorch" in times or "PyTorch NHWC" in times) == OPTIONS.pytorch


@pytest.mark.parametrize("name", TRAININGS)
def test_inference_agrees_in_all_contenders(name):
    function, *arguments = TRAININGS[name].func, *TRAININGS[name].args
    measured(partial(getattr(Inference, function.__name__), *arguments))


@needs_pytorch
def test_a_twin_with_other_weights_is_found_out():
    training = TRAININGS["small LeNet"]()
    peers = training.peers(True)
    peers["PyTorch NHWC"].twin.start[0][0] += 1
    training.peers = lambda pytorch: peers
    with pytest.raises(measure.Disagreement, match="PyTorch NHWC"):
        measured(lambda: training)


@needs_pytorch
def test_modules_without_counterpart_are_named():
    with pytest.raises(TypeError, match="GLU has no counterpart in PyTorch here"):
        Training.drawn(lambda: nn.Sequential(nn.GLU()), (2, 4)).peers(True)


class Wrong:
    """A library that computes something else."""

    def __call__(self):
        return 0

    def results(self):
        return [np.ones(3)]


class Work:
    def ours(self):
        right = Wrong()
        right.results = lambda: [np.zeros(3)]
        return right

    def peers(self, pytorch):
        return {"Other": Wrong()}


def test_a_library_that_computes_wrongly_is_left_out_with_a_note():
    row, wrong = Row("row", Work), []
    ((_, times),) = measure.compared_times("row", row, measure.Options(rounds=1, seconds=0, rest=0), wrong)
    assert list(times) == ["auto"]
    assert len(wrong) == 1
    assert "Other: result 0" in wrong[0]


def test_random_networks_follow_from_the_seed_and_agree():
    (group,) = load_suite("random-nets", seed=3, count=2)
    assert [row.name for row in group.rows] == [
        row.name for row in load_suite("random-nets", seed=3, count=4)[0].rows[:2]
    ]
    for _, times in measured(group.rows[0].work, tolerance=group.rows[0].tolerance):
        assert ("PyTorch NHWC" in times) == OPTIONS.pytorch


def test_inference_beside_onnx_runtime():
    pytest.importorskip("onnxruntime")
    for _, times in measured(partial(Inference.drawn, small_lenet, (2, 8, 7, 1))):
        assert "ONNX Runtime" in times


def test_results_do_not_depend_on_steps_before():
    training = TRAININGS["every kind"]()
    for step in (training.ours(), *training.peers(OPTIONS.pytorch).values()):
        first = [np.array(each) for each in step.results()]
        for _ in range(3):
            step()
        for got, wanted in zip(step.results(), first, strict=True):
            np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("clip", [None, 0.5, 100.0])
def test_update_agrees(clip):
    for _, times in measured(partial(Update, [(3, 5), (70,)], clip), tolerance=1e-6):
        assert {"auto", "reference"} <= set(times)
        assert ("PyTorch fused" in times) == OPTIONS.pytorch


def test_pool_on_and_off():
    for _, times in measured(partial(footprint.PoolOnOff.of, TRAININGS["perceptron"])):
        assert set(times) == {"auto", "reference", "pool off"}


def test_facts_of_memory():
    facts = footprint.facts(TRAININGS["every kind"], False)
    assert facts["from the system\na step"] == 0
    if sys.platform == "linux":
        assert facts["page faults\na step"] < 10
        assert 0 < facts["MB"] < 10
    if OPTIONS.pytorch:
        both = footprint.facts(TRAININGS["every kind"], True)
        assert set(both) - set(facts) == {f"PyTorch\n{name}" for name in facts if "system" not in name}


def test_every_row_of_steps_is_a_row_of_memory():
    from dlfast.bench.suites import memory

    names = [[row.name for group in suite.GROUPS for row in group.rows] for suite in (steps, memory)]
    assert names[0] == names[1]
