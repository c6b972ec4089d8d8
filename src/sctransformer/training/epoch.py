"""The steps of one epoch, from wherever it was left."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from sctransformer.training.batches import Batch, batches, steps_a_pass
from sctransformer.training.checkpoint import Progress
from sctransformer.training.config import TrainConfig
from sctransformer.training.distributed import World
from sctransformer.training.execution import Execution
from sctransformer.training.memory import most_allocated_mib, most_resident_mib
from sctransformer.training.objectives import learning_rate
from sctransformer.training.parallel import average_whole_gradients, clip_gradients, gradient_sync
from sctransformer.training.phases import Phase
from sctransformer.training.report import NonFiniteLossError

OnStep = Callable[[Progress], None]
"""Called after each step but the last of an epoch, which validation follows."""


def train_epoch(
    phase: Phase,
    module: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    config: TrainConfig,
    world: World,
    device: torch.device,
    on_step: OnStep,
    execution: Execution,
) -> dict[str, Any]:
    """Take the steps of an epoch that are not done.

    Args:
        phase: what is trained, on which cells.
        module: of the phase, wrapped for several processes.
        optimizer: over the parameters of the phase.
        progress: which epoch, and how many of its steps are done.
        config: optimisation.
        world: this process's share.
        device: where to compute.
        on_step: see `OnStep`.
        execution: how it is computed.

    Returns:
        Figures of an `EpochReport`, those of the steps done before included.

    Raises:
        NonFiniteLossError: with epoch, step and cells; the weights are as they were before that step.
    """
    epoch, started = progress.epochs_done, time.perf_counter()
    n_cells = sum(map(len, phase.parts))
    steps = steps_a_pass(n_cells, phase.batch_size)
    first_step, total_steps = (epoch - phase.first_epoch) * phase.passes * steps, steps * phase.passes * phase.epochs
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    rate, seen = phase.lr, 0
    for done, batch in _batches_left(phase, epoch, progress.steps_done, steps, config.seed, world):
        step = first_step + done
        rate = learning_rate(step, total_steps, phase.lr, config.warmup_fraction)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        optimizer.zero_grad(set_to_none=True)
        loss = _accumulated_loss(phase, module, batch, execution, world, device)
        if execution.shared_weights:
            average_whole_gradients(trained, world)
        norm = clip_gradients(trained, config.clip_norm)
        total = float(world.total(loss))
        if not np.isfinite(total) or not np.isfinite(norm):
            what = "the loss" if not np.isfinite(total) else f"the loss is {total}, but the norm of its gradient"
            value = total if not np.isfinite(total) else norm
            raise NonFiniteLossError(
                f"{what} is {value} in epoch {epoch}, step {step}", epoch, step, batch.all_rows_N.tolist()
            )
        optimizer.step()
        seen += batch.size
        progress = replace(
            progress,
            steps_done=done + 1,
            loss_sum=progress.loss_sum + total * batch.size,
            norm_sum=progress.norm_sum + norm,
        )
        if progress.steps_done < steps * phase.passes:
            on_step(progress)
    return {
        "train_loss": progress.loss_sum / (n_cells * phase.passes),
        "learning_rate": rate,
        "gradient_norm": progress.norm_sum / (steps * phase.passes),
        "cells_per_second": seen / (time.perf_counter() - started),
        "memory_mib": world.most(most_resident_mib(), device),
        "gpu_memory_mib": most_allocated_mib(device),
    }


def _accumulated_loss(
    phase: Phase, module: torch.nn.Module, batch: Batch, execution: Execution, world: World, device: torch.device
) -> torch.Tensor:
    """What this process adds to the objective; gradients are averaged over processes once, after the last part."""
    parts = list(batch.split(execution.accumulate)) if execution.accumulate > 1 else [batch]
    total = torch.zeros((), device=device)
    for number, part in enumerate(parts, start=1):
        with gradient_sync(module, number == len(parts)):
            with execution.autocast(device):
                loss = phase.loss(module, part, device)
            (loss * world.size).backward()  # gradients are averaged; the objective is a sum
        total += loss.detach()
    return total


def _batches_left(
    phase: Phase, epoch: int, done: int, steps: int, seed: int, world: World
) -> Iterator[tuple[int, Batch]]:
    """The batches of an epoch after the first `done`, each with the number of steps before it.

    An epoch goes over the cells `phase.passes` times; passes are counted over all epochs of the phase.
    """
    first_pass = (epoch - phase.first_epoch) * phase.passes
    for number in range(done // steps, phase.passes):
        key = (seed, first_pass + number, *phase.key)
        first = max(0, done - number * steps)
        drawn = batches(phase.parts, phase.batch_size, phase.hidden_share, key, world, first, phase.thinning)
        for batch in drawn:
            yield number * steps + batch.index, batch
