"""The options of `dlfast train`, in one table: of the command line, of config files, and of their checks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import click

MODELS = (
    "perceptron", "mlp", "lenet5", "notes_cnn", "demo_cnn", "small_vgg", "alexnet", "vgg11", "resnet18", "resnet20",
    "sequence_net", "forecaster", "char_lstm", "char_gru", "gpt",
)  # fmt: skip
OPTIMIZERS = ("sgd", "rmsprop", "adagrad", "adam", "adamw", "nadam", "radam", "lion")
SCHEDULES = ("constant", "step", "exponential", "cosine", "warmup-cosine", "one-cycle", "plateau")
AUGMENTATIONS = ("flip", "crop", "rotate", "affine", "erase", "cutout")
DEVICES = "cpu, cuda, or cuda:1 for a second GPU; under DLFAST_CUDA=host, to try it without a GPU, the CPU plays cuda"
SERIES = ("sunspots", "co2", "elnino")


@dataclass(frozen=True)
class Rule:
    """What an option may be: `kind` is int, float, str, bool, list or dict; numbers lie in low..high."""

    kind: type
    help: str
    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    choices: tuple[str, ...] = ()

    def wrong(self, value: Any) -> str:
        """What it must be, for a value that it is not, else nothing."""
        if self.kind is dict:
            return "" if isinstance(value, dict) else "must be a table"
        if self.kind is list:
            known = isinstance(value, list) and all(
                item in self.choices if self.choices else isinstance(item, str) for item in value
            )
            return "" if known else f"must be a list of {', '.join(self.choices) or 'names'}"
        kinds = (int, float) if self.kind is float else self.kind
        if not isinstance(value, kinds) or isinstance(value, bool) is not (self.kind is bool):
            return f"must be {_KINDS[self.kind]}"
        if self.choices and value not in self.choices:
            return f"must be one of {', '.join(self.choices)}"
        if self.kind in (int, float) and not self._inside(value):
            return f"must be {self._range()}"
        return ""

    def _inside(self, value: Any) -> bool:
        return (value > self.low if self.low_open else value >= self.low) and value <= self.high

    def _range(self) -> str:
        low = f"above {self.low:g}" if self.low_open else f"at least {self.low:g}"
        return low if self.high == math.inf else f"{low} and at most {self.high:g}"

    def click_type(self) -> Any:
        """The type by which click reads it; lists and tables are read by `parse`."""
        if self.choices and self.kind is str:
            return click.Choice(self.choices)
        if self.kind in (int, float):
            ranged: Any = click.IntRange if self.kind is int else click.FloatRange
            bounds = [None if math.isinf(bound) else bound for bound in (self.low, self.high)]
            return ranged(*bounds, min_open=self.low_open)
        return bool if self.kind is bool else str


_KINDS = {int: "an integer", float: "a number", str: "a string", bool: "true or false"}


def _option(kind: type, text: str, **limits: Any) -> Any:
    return field(default=None, metadata={"rule": Rule(kind, text, **limits)})


@dataclass(frozen=True)
class Options:
    """What was asked for; None is for what was not. `networks.complete` puts the defaults of model and data there."""

    model: Any = _option(str, "The model.", choices=MODELS)
    data: Any = _option(str, "What to learn: a name or a path, see above.")
    path: Any = _option(str, "Where mnist, fashion-mnist or cifar10 lies: a folder or an .npz.  [default: fetched]")
    target: Any = _option(str, "The column of a table that is to be told; of series: sunspots, co2 or elnino.")
    drop: Any = _option(list, "Columns of a table to leave out.")
    image_size: Any = _option(int, "Side of the squares that pictures in folders are brought to.", low=1)
    grey: Any = _option(bool, "Pictures in folders as grey ones, of one channel.")
    val_fraction: Any = _option(float, "Share held out for validation.", low=0, low_open=True, high=0.9)
    normalize: Any = _option(
        str, "Inputs to mean 0 and deviation 1, or as they are.  [default: standard]", choices=("standard", "none")
    )
    augment: Any = _option(list, "Change training images at random, names with commas.", choices=AUGMENTATIONS)
    epochs: Any = _option(int, "Passes over the training data.", low=1)
    steps: Any = _option(int, "Updates in all, in place of --epochs; text only.", low=1)
    updates: Any = _option(int, "Updates of an epoch; text only.  [default: as read the text once]", low=1)
    batch_size: Any = _option(int, "Rows of an update, for each rank.", low=1)
    ranks: Any = _option(
        int, "An update has as many rows as for so many ranks.  [default: as many as mpiexec starts]", low=1
    )
    sync_batch_norm: Any = _option(bool, "Batch normalisation by the rows of all ranks, not of each its own.")
    optimizer: Any = _option(str, "The rule of the updates.", choices=OPTIMIZERS)
    lr: Any = _option(float, "Learning rate, the highest one.", low=0, low_open=True)
    weight_decay: Any = _option(float, "As the optimizer has it.  [default: 0.01 for adamw, else 0]", low=0)
    momentum: Any = _option(float, "Of sgd (0.9) and rmsprop (0).", low=0, high=1)
    nesterov: Any = _option(bool, "Nesterov's momentum, of sgd.")
    schedule: Any = _option(str, "How the learning rate goes on.", choices=SCHEDULES)
    warmup: Any = _option(float, "Updates in which the rate rises from 0, or below 1 their share of all.", low=0)
    step_size: Any = _option(int, "Epochs between the falls of step.  [default: a third of all]", low=1)
    gamma: Any = _option(
        float, "What the rate falls to: step, plateau (0.1), exponential (0.95).", low=0, low_open=True, high=1
    )
    label_smoothing: Any = _option(float, "Share of the target that all classes have alike.", low=0, high=0.999)
    class_weight: Any = _option(str, "balanced: rare classes count as much as others.", choices=("none", "balanced"))
    clip_norm: Any = _option(float, "Largest norm of the gradients; 0: no limit.", low=0)
    early_stopping: Any = _option(int, "Stop after that many epochs without a better one; 0: never.", low=0)
    checkpoint_steps: Any = _option(int, "Keep the state after so many updates too; 0: after epochs.", low=0)
    device: Any = _option(str, f"Where the model computes: {DEVICES}.  [default: cpu]")
    amp: Any = _option(str, "Mixed precision, on a GPU.  [default: none]", choices=("none", "bfloat16", "float16"))
    seed: Any = _option(int, "The same seed, the same bits.  [default: 0]", low=0, high=2**63 - 1)
    set: Any = _option(dict, "A size of the model, such as width=32; may be repeated.")


RULES: dict[str, Rule] = {entry.name: entry.metadata["rule"] for entry in fields(Options)}


def rows_of_update(options: Options) -> int:
    """How many rows an update has, whoever computes it."""
    return options.batch_size * (options.ranks or 1)


def flag(name: str) -> str:
    """The option's name on the command line."""
    return "--" + name.replace("_", "-")


def device_option(command: Callable) -> Callable:
    """Add ``--device`` to a click command; `device_named` reads what it gives."""
    text = f"Where the model computes: {DEVICES}."
    return click.option("--device", default="cpu", show_default=True, help=text)(command)


def train_options(command: Callable) -> Callable:
    """Add the options of the table, but the model, which is an argument, to a click command."""
    for name, rule in reversed(RULES.items()):
        if name == "model":
            continue
        extra: dict[str, Any] = {"multiple": True, "metavar": "NAME=VALUE"} if rule.kind is dict else {}
        if rule.kind is list:
            extra["metavar"] = ",".join(rule.choices) or "NAME,..."
        if rule.kind is bool:
            extra["is_flag"] = True
        command = click.option(flag(name), name, type=rule.click_type(), help=rule.help, **extra)(command)
    return command


def parsed(given: dict[str, Any]) -> dict[str, Any]:
    """What click read, as a config file would have it, without what was not given.

    Raises ValueError for names and pairs that cannot be read.
    """
    values: dict[str, Any] = {}
    for name, value in given.items():
        rule = RULES[name]
        if value is None or (rule.kind in (dict, bool) and not value):
            continue
        if rule.kind is list:
            value = [item.strip() for item in value.split(",") if item.strip() not in ("", "none")]
        elif rule.kind is dict:
            value = dict(_pair(item) for item in value)
        if wrong := rule.wrong(value):
            raise ValueError(f"{flag(name)} {wrong}, got {given[name]}")
        values[name] = value
    return values


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise ValueError(f"--set must be NAME=VALUE, such as width=32, got {text}")
    parts = [_plain(part) for part in value.split(",")]
    return name.strip(), parts if len(parts) > 1 else parts[0]


def _plain(text: str) -> Any:
    """A number, true or false where it reads as one, else the text."""
    text = text.strip()
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
