"""One optimizer step: gradients over all processes, clipping, AdamW, learning-rate schedule."""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from sctransformer.training.batches import Batch
from sctransformer.training.config import TrainConfig
from sctransformer.training.distributed import ProcessGroup
from sctransformer.training.execution import Execution
from sctransformer.training.objectives import warmup_cosine
from sctransformer.training.parallel import apply_ddp, average_replicated_gradients, clip_gradients, gradient_sync
from sctransformer.training.phase import Phase
from sctransformer.training.state_dicts import full_optimizer_state, load_full_optimizer_state


class Stepper:
    """Module, optimizer and learning-rate schedule of a phase.

    Args:
        phase: parameters and objective.
        config: warmup and clipping.
        execution: precision, compilation, gradient accumulation, sharding.
        device: where to compute.
        steps_done: steps of this phase that are done: the position in the schedule.
        optimizer_state: from `optimizer_state`; None starts a new optimizer.
    """

    def __init__(
        self,
        phase: Phase,
        config: TrainConfig,
        execution: Execution,
        device: torch.device,
        steps_done: int = 0,
        optimizer_state: Mapping[str, Tensor] | None = None,
    ) -> None:
        self._phase, self._execution, self._device = phase, execution, device
        self._clip_norm = config.clip_norm
        self._group = ProcessGroup.current()
        self._sharded = execution.shared_weights and self._group.size > 1
        groups = phase.parameter_groups()
        self._parameters = [parameter for group in groups for parameter in group["params"]]
        self._optimizer = torch.optim.AdamW(groups, weight_decay=phase.weight_decay, fused=not self._sharded)
        if optimizer_state is not None:
            load_full_optimizer_state(phase.module, self._optimizer, optimizer_state)
        for group in self._optimizer.param_groups:
            group["initial_lr"] = group["lr"]  # LambdaLR reads it when it starts in the middle of the schedule
        total_steps = phase.steps_per_epoch * phase.epochs
        schedule = partial(warmup_cosine, total_steps=total_steps, warmup_fraction=config.warmup_fraction)
        self._scheduler = LambdaLR(self._optimizer, schedule, last_epoch=steps_done - 1)
        module = execution.prepared(phase.module)
        self._module = module if self._sharded else apply_ddp(module, self._group)

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next step; that of the last parameter group."""
        return float(self._scheduler.get_last_lr()[-1])

    @property
    def optimizer_state(self) -> dict[str, Tensor]:
        """The optimizer's tensors, see `full_optimizer_state`."""
        return full_optimizer_state(self._phase.module, self._optimizer)

    def backward(self, batch: Batch) -> tuple[float, float]:
        """Compute the clipped gradients of a batch; returns its loss and the norm of the gradient before clipping."""
        self._optimizer.zero_grad(set_to_none=True)
        loss = self._accumulate(batch)
        if self._sharded:
            average_replicated_gradients(self._parameters, self._group)
        norm = clip_gradients(self._parameters, self._clip_norm)
        return float(self._group.sum(loss)), norm

    def update(self) -> None:
        """Update the weights and the learning rate."""
        self._optimizer.step()
        self._scheduler.step()

    def _accumulate(self, batch: Batch) -> Tensor:
        """The part of this process in the loss; gradients are synchronized once, after the last part of the batch."""
        n_parts = self._execution.accumulate
        parts = list(batch.split(n_parts)) if n_parts > 1 else [batch]
        total = torch.zeros((), device=self._device)
        for number, part in enumerate(parts, start=1):
            with gradient_sync(self._module, enabled=number == len(parts)):
                with self._execution.autocast(self._device):
                    loss = self._phase.loss(self._module, part, self._device)
                (loss * self._group.size).backward()  # gradients are averaged over processes, the objective is a sum
            total += loss.detach()
        return total
