"""Data: small real data sets that ship with the package, larger ones to fetch, and the loader that cuts batches."""

from .datasets import ArrayDataset, Series, Text, load
from .fetching import data_folder, fetch
from .loader import DataLoader

__all__ = ["ArrayDataset", "DataLoader", "Series", "Text", "data_folder", "fetch", "load"]
