"""`dlfast.data` where PyTorch has it."""

from ..data import DataLoader, Dataset, Subset, TensorDataset, WeightedRandomSampler, random_split

__all__ = ["DataLoader", "Dataset", "Subset", "TensorDataset", "WeightedRandomSampler", "random_split"]
