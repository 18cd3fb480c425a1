"""The models of `dlfast train`: what each takes, its sizes, how it is built from the facts, and the usual options."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from .. import models, nn
from .config import Facts
from .options import MODELS, Options, flag
from .sources import kind_of

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Network:
    """A model: `reads` gives the shape that it takes rows of a shape in, None where it cannot; `takes` says which.

    sizes: the function whose keywords are what --set may give; usual: defaults that differ from `USUAL`.
    """

    takes: str
    reads: Callable[[Shape], Shape | None]
    build: Callable[..., nn.Module]
    sizes: Callable
    usual: dict[str, Any] = field(default_factory=dict)


def _mlp(facts: Facts, *, hidden: list = [128, 64], dropout: float = 0.0) -> nn.Module:  # noqa: B006
    """A multi-layer perceptron over all numbers of a row."""
    sizes = hidden if isinstance(hidden, list) else [hidden]
    return nn.Sequential(nn.Flatten(), *models.mlp(prod(facts.shape), *sizes, facts.outputs, dropout=dropout))


def _perceptron(facts: Facts) -> nn.Module:
    return nn.Sequential(nn.Flatten(), *models.perceptron(prod(facts.shape), facts.outputs))


def _image(model: Callable, sized: bool = False) -> Callable[..., nn.Module]:
    """A network for images; `sized` ones are told how large."""

    def build(facts: Facts, **sizes: Any) -> nn.Module:
        size = {"image_size": facts.shape[0]} if sized else {}
        return model(facts.outputs, facts.shape[2], **size, **sizes)

    return build


def _sequence_net(facts: Facts, **sizes: Any) -> nn.Module:
    return models.sequence_net(facts.shape[-1], facts.outputs, **sizes)


def _forecaster(facts: Facts, **sizes: Any) -> nn.Module:
    return models.forecaster(facts.shape[-1], **sizes)


def _language(model: Callable) -> Callable[..., nn.Module]:
    def build(facts: Facts, **sizes: Any) -> nn.Module:
        return model(len(facts.vocabulary), **sizes)

    return build


def _any(shape: Shape) -> Shape:
    return (*shape, 1) if len(shape) == 2 else shape


def _images(fits: Callable[[int, int], bool]) -> Callable[[Shape], Shape | None]:
    def reads(shape: Shape) -> Shape | None:
        shape = _any(shape)
        return shape if len(shape) == 3 and fits(*shape[:2]) else None

    return reads


def _steps(shape: Shape) -> Shape | None:
    """Rows of an image one after the other."""
    return None if len(shape) < 2 else (shape[0], prod(shape[1:]))


def _one_series(shape: Shape) -> Shape | None:
    return shape if len(shape) == 2 and shape[1] == 1 else None


def _never(shape: Shape) -> Shape | None:
    return None


def _square(*sides: int) -> Callable[[int, int], bool]:
    return lambda height, width: height == width and height in sides


def _from(side: int, square: bool = False) -> Callable[[int, int], bool]:
    return lambda height, width: min(height, width) >= side and (height == width or not square)


def _picture(takes: str, fits: Callable[[int, int], bool], model: Callable, sized=False, **usual: Any) -> Network:
    return Network(takes, _images(fits), _image(model, sized), model, usual)


_SGD = {
    "epochs": 25,
    "batch_size": 128,
    "optimizer": "sgd",
    "lr": 0.1,
    "nesterov": True,
    "weight_decay": 5e-4,
    "schedule": "warmup-cosine",
    "warmup": 0.2,
    "label_smoothing": 0.1,
}
_TEXT = {"clip_norm": 1.0, "warmup": 100}
NETWORKS = {
    "perceptron": Network("rows of numbers, with classes", _any, _perceptron, _perceptron, {"lr": 1e-2}),
    "mlp": Network("rows of numbers", _any, _mlp, _mlp, {"epochs": 30, "batch_size": 32}),
    "lenet5": _picture("images of 28 x 28 or 32 x 32", _square(28, 32), models.lenet5, True),
    "notes_cnn": _picture("images of 224 x 224", _square(224), models.notes_cnn, batch_size=16),
    "demo_cnn": _picture("square images from 4 x 4 on", _from(4, True), models.demo_cnn, True, lr=2e-3),
    "small_vgg": _picture("images from 4 x 4 on", _from(4), models.small_vgg, **_SGD),
    "alexnet": _picture("images from 63 x 63 on", _from(63), models.alexnet, lr=1e-4),
    "vgg11": _picture("images of 32 x 32 or 224 x 224", _square(32, 224), models.vgg11, True, lr=5e-4),
    "resnet18": _picture("images from 32 x 32 on", _from(32), models.resnet18),
    "resnet20": _picture("images from 8 x 8 on", _from(8), models.resnet20, lr=2e-3),
    "sequence_net": Network("sequences, or images as rows", _steps, _sequence_net, models.sequence_net,
                            {"clip_norm": 1.0}),
    "forecaster": Network("series", _one_series, _forecaster, models.forecaster,
                          {"epochs": 40, "batch_size": 32, "lr": 5e-3}),
    "char_lstm": Network("text", _never, _language(models.char_lstm), models.char_lstm,
                         {**_TEXT, "epochs": 40, "batch_size": 32, "lr": 4e-3, "set": {"dropout": 0.4}}),
    "char_gru": Network("text", _never, _language(models.char_gru), models.char_gru,
                        {**_TEXT, "epochs": 40, "batch_size": 32, "lr": 4e-3, "set": {"dropout": 0.4}}),
    "gpt": Network("text", _never, _language(models.gpt), models.gpt,
                   {**_TEXT, "epochs": 24, "batch_size": 16, "lr": 3e-3, "set": {"context": 128}}),
}  # fmt: skip
LANGUAGE = ("char_lstm", "char_gru", "gpt")

USUAL: dict[str, Any] = {
    "normalize": "standard",
    "augment": [],
    "epochs": 10,
    "batch_size": 64,
    "optimizer": "adamw",
    "weight_decay": 0.01,
    "schedule": "cosine",
    "warmup": 0,
    "label_smoothing": 0.0,
    "class_weight": "none",
    "clip_norm": 0.0,
    "early_stopping": 0,
    "checkpoint_steps": 0,
    "device": "cpu",
    "amp": "none",
    "seed": 0,
    "set": {},
}
_OF_TEXT = ("steps", "updates")
_NOT_OF_TEXT = ("augment", "label_smoothing", "class_weight")
_RATES = {"sgd": 0.05, "adagrad": 1e-2, "lion": 1e-4}  # of an optimizer that is not the model's usual one
_SIDES = {"notes_cnn": 224, "alexnet": 224, "resnet18": 224}  # of pictures in folders; others take 32
_OF_DATA: dict[tuple[str, str], dict[str, Any]] = {
    ("mlp", "digits"): {
        "augment": ["affine"],
        "epochs": 150,
        "lr": 2e-3,
        "weight_decay": 0.05,
        "label_smoothing": 0.1,
        "set": {"hidden": [512, 256], "dropout": 0.2},
    },
    ("demo_cnn", "mnist10k"): {"augment": ["affine"], "epochs": 20, "label_smoothing": 0.1},
    ("small_vgg", "digits"): {
        "augment": ["affine"],
        "epochs": 15,
        "batch_size": 32,
        "lr": 0.05,
        "schedule": "one-cycle",
        "warmup": 0,
    },
    ("small_vgg", "fashion-mnist"): {"augment": ["flip", "crop"], "epochs": 40},
}


def complete(options: Options) -> Options:
    """The options with the usual ones of optimizer, data and model where there were none.

    Raises ValueError where data is missing that the model cannot do without, and for sizes that the model has not.
    """
    network, given = NETWORKS[options.model], {name: v for name, v in asdict(options).items() if v is not None}
    usual = {**USUAL, "lr": 1e-3, "data": _usual_data(options.model), **network.usual}
    data = given.get("data", usual["data"])
    if data is None:
        raise ValueError(f"--data is missing: {options.model} takes {network.takes}")
    check_data(options.model, data)
    _check_meaning(options.model, data, given)
    if Path(data).is_dir():
        usual["image_size"] = _SIDES.get(options.model, 32)
    usual |= _OF_DATA.get((options.model, data), {})
    _follow_optimizer(usual, given)
    _follow_schedule(usual, given)
    given["set"] = {**usual["set"], **given.get("set", {})}
    _check_sizes(options.model, given["set"])
    return Options(**{**usual, **given})


def _follow_optimizer(usual: dict[str, Any], given: dict[str, Any]) -> None:
    """Rate, decay and momentum where the optimizer is not the usual one."""
    optimizer = given.get("optimizer", usual["optimizer"])
    if optimizer != usual["optimizer"]:
        usual |= {"lr": _RATES.get(optimizer, 1e-3), "weight_decay": 0.01 if optimizer == "adamw" else 0.0}
        usual.pop("nesterov", None)
    if optimizer == "sgd":
        usual["momentum"] = 0.9
    elif given.get("nesterov") or (given.get("momentum") and optimizer != "rmsprop"):
        raise ValueError(f"--momentum is for sgd and rmsprop, --nesterov for sgd; {optimizer} has neither to set")


def _follow_schedule(usual: dict[str, Any], given: dict[str, Any]) -> None:
    """The warm-up where the schedule is not the usual one."""
    schedule = given.get("schedule", usual["schedule"])
    if schedule != usual["schedule"]:
        usual["warmup"] = 0.05 if schedule == "warmup-cosine" else 0
    if schedule in ("one-cycle", "plateau") and given.get("warmup"):
        raise ValueError(f"--warmup: {schedule} has none to set; leave it out, or take another --schedule")


def check_data(model: str, data: str) -> None:
    """Text is for language models, a series for a forecaster, and the other way round. ValueError for what fits not."""
    kind, wanted = kind_of(data), _kind(model)
    if kind not in (None, wanted):
        is_kind = {"text": "is text", "series": "is a series", "rows": "has rows or images"}[str(kind)]
        fitting = ", ".join(name for name in MODELS if _kind(name) == kind)
        raise ValueError(f"{model} takes {NETWORKS[model].takes}; --data {data} {is_kind}: {fitting}")


def _check_meaning(model: str, data: str, given: dict[str, Any]) -> None:
    """Raise ValueError for options that would change nothing."""
    text, table = model in LANGUAGE, Path(data).suffix in (".csv", ".tsv")
    void = list(_NOT_OF_TEXT if text else _OF_TEXT)
    void += [] if table else ["drop"]
    void += [] if table or data == "series" else ["target"]
    void += [] if Path(data).is_dir() else ["image_size", "grey"]
    for name in void:
        if given.get(name) not in (None, USUAL.get(name)):
            raise ValueError(f"{flag(name)} means nothing for {model} on {data}: leave it out")


def _kind(model: str) -> str:
    return "text" if model in LANGUAGE else "series" if model == "forecaster" else "rows"


def _usual_data(model: str) -> str | None:
    if model in LANGUAGE:
        return "gospels"
    if model == "forecaster":
        return "series"
    return "mnist10k" if NETWORKS[model].reads((28, 28, 1)) else None


def _check_sizes(model: str, given: dict[str, Any]) -> None:
    known = sizes_of(model)
    for name, value in given.items():
        if name not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise ValueError(f"--set {name}: {model} has no such size; {has}")
        kinds: Any = {"int": int, "float": (int, float), "bool": bool, "str": str, "list": (list, int)}[known[name]]
        if not isinstance(value, kinds) or isinstance(value, bool) is not (known[name] == "bool"):
            raise ValueError(f"--set {name} must be a {known[name]} for {model}, got {value!r}")


def sizes_of(model: str) -> dict[str, str]:
    """What --set takes, by name: int, float, bool, str or list."""
    parameters = inspect.signature(NETWORKS[model].sizes).parameters.values()
    keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "image_size"]
    return {p.name: str(p.annotation).removesuffix(" | None") for p in keywords}


def input_shape(model: str, shape: Shape, classes: bool, what: str) -> Shape:
    """The shape in which the model reads rows of a shape. Raises ValueError, which names models that would fit."""
    found = NETWORKS[model].reads(shape)
    if found is not None and (classes or model != "perceptron"):
        return found
    fitting = [name for name in MODELS if NETWORKS[name].reads(shape) and (classes or name != "perceptron")]
    rows = f"rows of shape {shape}" if len(shape) == 1 else f"images of {shape[0]} x {shape[1]}"
    tell = "" if classes or model != "perceptron" else ", and numbers to tell"
    raise ValueError(
        f"{model} takes {NETWORKS[model].takes}; {what} has {rows}{tell}, which {', '.join(fitting)} would take"
    )


def build(options: Options, facts: Facts) -> nn.Module:
    """The model, with fresh weights."""
    return NETWORKS[options.model].build(facts, **options.set)


def summary(model: str) -> str:
    """What the model takes, its usual options and its sizes, in words."""
    usual = {**USUAL, "lr": 1e-3, **NETWORKS[model].usual}
    sizes = ", ".join(sizes_of(model))
    of_data = [
        f"; on {data} {', '.join(f'{name} {_words(value)}' for name, value in options.items())}"
        for (name_of, data), options in _OF_DATA.items()
        if name_of == model
    ]
    return (
        f"{NETWORKS[model].takes}; {usual['epochs']} epochs, batches of {usual['batch_size']}, {usual['optimizer']}, "
        f"lr {usual['lr']:g}, {usual['schedule']}" + (f"; --set {sizes}" if sizes else "") + "".join(of_data)
    )


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={_words(item)}" for name, item in value.items())
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
