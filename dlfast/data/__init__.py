"""Data: small real data sets that ship with the package, and the loader that cuts any arrays into batches."""

from .datasets import ArrayDataset, Series, Text, load
from .loader import DataLoader

__all__ = ["ArrayDataset", "DataLoader", "Series", "Text", "load"]
