"""--augment: what changes the training images of a run at random, in the order given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..data import transforms
from .config import Facts
from .options import Options


def augmentation(options: Options, facts: Facts) -> Callable | None:
    """The transform that the options name, None without any. Raises ValueError where rows are no images.

    flip      left and right, of half the images
    crop      a shift by up to a tenth of the side, black behind the edges
    rotate    by up to 10 degrees
    affine    by up to 10 degrees, a tenth of the side and a tenth of the size
    erase     a rectangle of half the images, 2 to 33 % of the area, becomes black
    cutout    a square of a third of the side becomes black
    """
    if not options.augment:
        return None
    if facts.kind != "images":
        raise ValueError(f"--augment changes images; {options.model} reads {facts.kind} from {options.data}")
    side, black = min(facts.shape[:2]), [-mean / std for mean, std in zip(facts.mean, facts.std)] or 0.0
    grey: Any = black if isinstance(black, float) else sum(black) / len(black)
    made: dict[str, Callable[[], Callable]] = {
        "flip": transforms.RandomHorizontalFlip,
        "crop": lambda: transforms.RandomCrop(padding=max(1, side // 10), fill=grey),
        "rotate": lambda: transforms.RandomRotation(10, fill=grey),
        "affine": lambda: transforms.RandomAffine(10, (0.1, 0.1), (0.9, 1.1), fill=grey),
        "erase": lambda: transforms.RandomErasing(value=black),
        "cutout": lambda: transforms.Cutout(max(1, side // 3), black),
    }
    return transforms.Compose([made[name]() for name in options.augment])
