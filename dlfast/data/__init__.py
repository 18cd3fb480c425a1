"""Data: small real data sets that ship with the package, larger ones to fetch, and the loader that cuts batches."""

import typing as _typing

from .._suggest import missing as _missing
from . import transforms
from .archives import read_npz
from .datasets import ArrayDataset, Series, load
from .fetching import data_folder, fetch
from .folders import ImageFolder
from .labels import WeightedRandomSampler, class_counts, class_weights
from .loader import DataLoader
from .splitting import Dataset, Subset, Transformed, k_fold, random_split, split
from .tables import Table, TableFormat, read_csv
from .text import Text, Windows

TensorDataset = ArrayDataset  # PyTorch's name

__all__ = [
    "ArrayDataset",
    "DataLoader",
    "Dataset",
    "ImageFolder",
    "Series",
    "Subset",
    "Table",
    "TableFormat",
    "TensorDataset",
    "Text",
    "Transformed",
    "WeightedRandomSampler",
    "Windows",
    "class_counts",
    "class_weights",
    "data_folder",
    "fetch",
    "k_fold",
    "load",
    "random_split",
    "read_csv",
    "read_npz",
    "split",
    "transforms",
]

if not _typing.TYPE_CHECKING:
    __getattr__ = _missing(__name__)
