"""ImageFolder: pictures in folders, of which each is a class."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from .. import _check as check
from .splitting import Dataset

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
_DEEP = ("I", "F")  # modes of Pillow with more than 8 bits, from which its conversions cut the high values off


class ImageFolder(Dataset):
    """Pictures by class: ``folder/class/any/picture.png``, read when they are asked for.

    ``data[i]`` is (x, label): x float32 (H, W, 3) in 0..1, channels red, green, blue; ``data[array of integers]`` a
    batch (N, H, W, 3) and labels int64 (N,). Labels number the folders in the order of their names.

    size     one integer or (H, W): the largest part in the middle of each picture that has this shape, brought to the
             size by bilinear interpolation over all pixels that it covers; None: pictures as they are, which batches
             take when all have one shape
    grey     x has one channel, 0.299 R + 0.587 G + 0.114 B

    ``classes`` are the names, ``class_to_idx`` their numbers, ``samples`` the (path, label) pairs, ``targets`` the
    labels. Transparency is left out, of animations the first picture is taken. DataLoader(num_workers=2) reads ahead.
    Needs Pillow (the extra `images`). Raises FileNotFoundError for no such folder, ValueError for one without classes,
    a class without pictures, and, when it is read, for a file that is no picture.
    """

    takes_arrays = True

    def __init__(self, folder: str | os.PathLike, size: Any = None, *, grey: bool = False) -> None:
        _pillow()
        self.folder = Path(folder)
        self.size = None if size is None else check.pair("ImageFolder", "size", size, 1)
        self.grey = bool(grey)
        if not self.folder.is_dir():
            raise FileNotFoundError(f"ImageFolder: there is no folder {folder}")
        folders = sorted(f for f in self.folder.iterdir() if f.is_dir() and not f.name.startswith("."))
        if not folders:
            raise ValueError(f"ImageFolder: {folder} has no folders in it; each class needs one, named after it")
        self.classes = [f.name for f in folders]
        self.class_to_idx = {name: label for label, name in enumerate(self.classes)}
        self.samples = [(file, label) for label, f in enumerate(folders) for file in _pictures(f)]
        self.targets = np.array([label for _, label in self.samples], np.int64)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: Any) -> tuple[np.ndarray, Any]:
        if isinstance(index, (int, np.integer)):
            file, label = self.samples[index]
            return self._read(file), label
        chosen = np.arange(len(self))[index].reshape(-1)
        images = [self._read(self.samples[i][0]) for i in chosen]
        for i, image in zip(chosen, images):
            if image.shape != images[0].shape:
                raise ValueError(
                    f"ImageFolder: the pictures of a batch must have one shape: {self.samples[chosen[0]][0]} has "
                    f"{images[0].shape}, {self.samples[i][0]} {image.shape}; give size="
                )
        empty = (0, *(self.size or (0, 0)), 1 if self.grey else 3)
        return np.stack(images) if images else np.zeros(empty, np.float32), self.targets[chosen]

    def _read(self, file: Path) -> np.ndarray:
        return read_picture(file, self.size, grey=self.grey)

    def __repr__(self) -> str:
        return f"ImageFolder({str(self.folder)!r}: {len(self)} pictures of {len(self.classes)} classes)"


def read_picture(file: Path, size: tuple[int, int] | None = None, *, grey: bool = False) -> np.ndarray:
    """One picture file as float32 (H, W, 3) in 0..1, or (H, W, 1) with `grey`; size as in `ImageFolder`."""
    image_module, ops = _pillow()
    try:
        with image_module.open(file) as picture:
            if picture.mode.startswith(_DEEP):
                raise ValueError(f"it has more than 8 bits a value (mode {picture.mode}); convert it")
            image = picture.convert("L" if grey else "RGB")
        if size is not None and image.size != size[::-1]:
            image = ops.fit(image, size[::-1], image_module.Resampling.BILINEAR)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, SyntaxError, EOFError, image_module.DecompressionBombError) as error:
        raise ValueError(f"ImageFolder: cannot read the picture {file}: {error}") from error
    x = np.array(image, np.float32)
    x /= 255
    return x[..., None] if grey else x


def _pictures(folder: Path) -> list[Path]:
    """All pictures in a folder and its folders, in the order of their names."""
    found = sorted(f for f in folder.rglob("*") if f.suffix.lower() in ENDINGS and f.is_file())
    if not found:
        raise ValueError(f"ImageFolder: {folder} has no pictures; known endings are {', '.join(ENDINGS)}")
    return found


def _pillow() -> tuple[Any, Any]:
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise ImportError("ImageFolder needs Pillow: install dlfast with its extra `images`") from error
    return Image, ImageOps
