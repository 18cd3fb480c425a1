"""`dlfast.functional` where PyTorch has it."""

from ..functional import *  # noqa: F403
