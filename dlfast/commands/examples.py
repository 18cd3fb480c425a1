"""What `dlfast train` makes of rows with targets: batches, a model that fits them, a loss."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .. import functional as F
from ..data import DataLoader
from ..data.labels import targets_of
from ..random import manual_seed
from ..tensor import Tensor
from . import networks, preprocessing, sources
from .augmenting import augmentation
from .config import Facts
from .options import Options
from .run import Work

_VALIDATION_BATCH = 256


def work(options: Options) -> Work:
    """The model, with first weights that follow from the seed, and the batches. Raises ValueError for what fits not."""
    source = sources.read(options)
    classes = sources.is_classes(targets_of(source.training))
    shape = networks.input_shape(options.model, sources.row_shape(source.training), classes, options.data)
    facts = preprocessing.facts_of(source, shape, options)
    _check_classes(options, facts)
    training, validation = (preprocessing.prepared(facts, part) for part in (source.training, source.validation))
    manual_seed(options.seed)
    return Work(
        facts,
        networks.build(options, facts),
        loader(training, options.batch_size, shuffle=True),
        loader(validation),
        loss_of(options, facts),
        "" if classes else "squares of deviations",
        "images" if facts.kind == "images" else "rows",
        metrics=("accuracy",) if classes else (),
        augment=augmentation(options, facts),
    )


def loader(part: Any, batch_size: int = _VALIDATION_BATCH, shuffle: bool = False) -> DataLoader:
    """Batches; pictures in files are read ahead."""
    ahead = 2 if isinstance(part, preprocessing.Prepared) else 0
    return DataLoader(part, batch_size, shuffle=shuffle, num_workers=ahead)


def _check_classes(options: Options, facts: Facts) -> None:
    if not facts.classes and (options.label_smoothing or options.class_weight == "balanced"):
        raise ValueError("--label-smoothing and --class-weight are for classes; here numbers are told")
    if options.model == "perceptron" and (options.label_smoothing or options.class_weight == "balanced"):
        raise ValueError("--label-smoothing and --class-weight are for models with logits, not for a perceptron")
    if len(facts.classes) == 1:
        raise ValueError(f"--data {options.data} has one class, {facts.classes[0]}: there is nothing to tell apart")


def loss_of(options: Options, facts: Facts) -> Callable[[Any, Any], Tensor]:
    """Cross-entropy of classes, mean squares of numbers; a perceptron's outputs are probabilities of each class."""
    if not facts.classes:
        return F.mse_loss
    if options.model == "perceptron":
        return _each_class
    return partial(F.cross_entropy, label_smoothing=options.label_smoothing)


def _each_class(outputs: Tensor, labels: np.ndarray) -> Tensor:
    wanted = np.eye(outputs.shape[1], dtype=outputs.dtype)[np.asarray(labels)]
    return F.binary_cross_entropy(outputs, wanted)
