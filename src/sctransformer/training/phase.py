"""The interface of a training phase: what is trained, on which cells, with which objective."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from sctransformer.data.arrays import CellSource
from sctransformer.training.batches import Batch, Corruption, batches, steps_per_pass
from sctransformer.training.distributed import ProcessGroup

PhaseName = Literal["pretraining", "supervised"]


class Phase(ABC):
    """A phase of training with its own cells, objective, optimizer settings and schedule."""

    name: ClassVar[PhaseName]
    key: ClassVar[tuple[int, ...]] = ()
    """Part of the seed of each pass, distinct from that of the other phase."""
    module: nn.Module
    """What the objective calls; the trainer compiles it and wraps it for several processes."""
    parts: Sequence[CellSource]
    """The training cells."""
    validation: CellSource | None
    first_epoch: int
    """Counted over both phases."""
    epochs: int
    passes: int = 1
    """Passes over all cells per epoch."""
    batch_size: int
    weight_decay: float
    corruption: Corruption
    patience: int = 0

    @abstractmethod
    def parameter_groups(self) -> list[dict[str, Any]]:
        """The trained parameters as groups for the optimizer, each with its peak learning rate."""

    @abstractmethod
    def loss(self, module: nn.Module, batch: Batch, device: torch.device) -> Tensor:
        """The part of this process in the objective of a batch; the parts of all processes add up to it."""

    @abstractmethod
    def validate(self, group: ProcessGroup, device: torch.device) -> dict[str, Any]:
        """Metrics on the validation cells, the same on all processes: `val_loss` and those of the phase."""

    @property
    def n_cells(self) -> int:
        """Number of training cells."""
        return sum(map(len, self.parts))

    @property
    def steps_per_pass(self) -> int:
        """Steps in one pass over the training cells."""
        return steps_per_pass(self.n_cells, self.batch_size)

    @property
    def steps_per_epoch(self) -> int:
        """Steps in one epoch."""
        return self.steps_per_pass * self.passes

    def remaining_batches(
        self, epoch: int, steps_done: int, seed: int, group: ProcessGroup
    ) -> Iterator[tuple[int, Batch]]:
        """The batches of an epoch after `steps_done` steps, each with its step in the epoch."""
        first_pass = (epoch - self.first_epoch) * self.passes
        for number in range(steps_done // self.steps_per_pass, self.passes):
            key = (seed, first_pass + number, *self.key)
            first_step = max(0, steps_done - number * self.steps_per_pass)
            for batch in batches(self.parts, self.batch_size, self.corruption, key, group, first_step):
                yield number * self.steps_per_pass + batch.index, batch

    @contextmanager
    def others_frozen(self) -> Iterator[None]:
        """Disable gradients of the parameters that this phase does not train: DDP requires it, and it saves time."""
        trained = {id(parameter) for group in self.parameter_groups() for parameter in group["params"]}
        others = [
            parameter
            for parameter in self.module.parameters()
            if id(parameter) not in trained and parameter.requires_grad
        ]
        for parameter in others:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in others:
                parameter.requires_grad_(True)
