"""Data parallel training: every rank has the whole model, its own rows of a batch, and the gradient of all of them."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from .._changes import note
from .._version import __version__
from ..nn import BatchNorm1d, BatchNorm2d, Module
from ..optim import Optimizer
from .communicator import Communicator
from .current import communicator


class DataParallel:
    """A model and its optimizer on several ranks, for a training loop of one's own::

        comm = dl.distributed.initialize()
        ranks = dl.distributed.DataParallel(model, optimizer)
        for x, y in loader.shard(comm):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            ranks.average_gradients(len(x))
            optimizer.step()

    At the start every rank gets the parameters, the buffers and the optimizer's state of rank 0. Then all take the same
    steps, since all have the same gradients, to the last bit. Buffers, such as the running statistics of a batch
    normalisation, go their own ways; `broadcast_buffers` gives everyone those of rank 0. sync_batch_norm: batch
    normalisation while training takes its statistics from the rows of all ranks, so that each rank must run the same
    layers, and one without rows a batch of none.

    Raises ValueError, on every rank, where ranks have other models, optimizers or versions of dlfast.
    """

    def __init__(
        self,
        model: Module,
        optimizer: Optimizer,
        comm: Communicator | None = None,
        *,
        sync_batch_norm: bool = False,
    ):
        self.model, self.optimizer = model, optimizer
        self.comm = communicator() if comm is None else comm
        if self.comm.size == 1:
            return
        same(self.comm, "DataParallel", description(model, optimizer))
        self.synchronise_batch_norm(sync_batch_norm)
        for parameter in model.parameters():
            note(self.comm.broadcast(parameter))
        self.broadcast_buffers()
        state = optimizer.state_dict() if self.comm.rank == 0 else None
        optimizer.load_state_dict(self.comm.broadcast_object(state))

    def synchronise_batch_norm(self, on: bool = True) -> None:
        """Let batch normalisation take its statistics from the rows of all ranks, or of its own rank again."""
        for module in self.model.modules():
            if isinstance(module, (BatchNorm1d, BatchNorm2d)):
                module._comm = self.comm if on else None

    def broadcast_buffers(self) -> None:
        """Give every rank the buffers of rank 0."""
        for module in self.model.modules():
            for name in module._buffer_names:
                if (buffer := getattr(module, name)) is not None:
                    self.comm.broadcast(buffer)

    def average_gradients(self, weight: float = 1.0) -> None:
        """Give every rank the mean of the gradients, each with the weight of its rank:

            g <- sum_r weight_r g_r / sum_r weight_r

        where a loss is the mean over the rows of a batch and the weight their number, the gradient of the loss over the
        rows of all ranks. A rank without rows has the weight 0, and its gradients, if any, do not count. A parameter
        that has a gradient on some rank gets one on all.
        """
        if self.comm.size == 1:
            return
        total = float(self.comm.all_reduce(np.array(weight, np.float64)))
        scale = weight / total if total else 0.0
        for p in _parameters(self.optimizer):
            if p.grad is not None and scale:
                p.grad *= scale
            elif not scale:
                p.grad = None
        self.sum_gradients()

    def sum_gradients(self) -> None:
        """Give every rank the sum of the gradients: g <- sum_r g_r."""
        if self.comm.size == 1:
            return
        self._fill_gaps()
        for stretch in self.optimizer._stretches():
            self.comm.all_reduce(stretch.grad)

    def _fill_gaps(self) -> None:
        """A gradient of zeros where this rank has none and another one has."""
        parameters = _parameters(self.optimizer)
        there = np.array([p.grad is not None for p in parameters])
        if self.comm.all_reduce(np.array(there.all()), "min"):
            return
        for p, wanted, has in zip(parameters, self.comm.all_reduce(there.copy(), "max"), there):
            if wanted and not has:
                p.grad = np.zeros_like(p.data)


def _parameters(optimizer: Optimizer) -> list:
    return [p for group in optimizer.param_groups for p in group["params"]]


def description(model: Module, optimizer: Optimizer) -> dict[str, str]:
    """What must be the same on all ranks, name by name."""
    names = {name: f"{p.dtype} {p.shape}" for name, p in model.state_dict().items()}
    groups = [[tuple(p.shape) for p in group["params"]] for group in optimizer.param_groups]
    return {"dlfast": __version__, **names, "the optimizer": type(optimizer).__name__, "its groups": str(groups)}


def same(comm: Communicator, op: str, facts: dict[str, Any]) -> None:
    """Raise ValueError, on every rank alike, unless the facts are the same on all ranks; it names the first difference.

    Only a digest goes to the others, unless they differ.
    """
    digest = hashlib.sha256(repr(sorted(facts.items())).encode()).hexdigest()
    digests = comm.all_gather_object(digest)
    if len(set(digests)) == 1:
        return
    other = next(r for r, each in enumerate(digests) if each != digests[0])
    everyone = comm.all_gather_object(facts)
    first, second = everyone[0], everyone[other]
    name = next(n for n in (*first, *second) if first.get(n) != second.get(n))
    raise ValueError(
        f"{op}: all ranks must have the same model and options; {name} is {first.get(name, 'missing')} on rank 0 and "
        f"{second.get(name, 'missing')} on rank {other}"
    )
