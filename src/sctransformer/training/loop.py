"""The training loop: the same on one process, on many, on CPU and GPU. Knows torch, nothing of Ray or MLflow."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from sctransformer.data.arrays import CellArrays
from sctransformer.model import PriorBiasedTransformer
from sctransformer.training.checkpoint import (
    Checkpoint,
    Progress,
    copy_of_weights,
    flat_optimizer_state,
    restore_optimizer_state,
)
from sctransformer.training.config import TrainConfig
from sctransformer.training.objectives import class_weights, kept_genes, learning_rate, weighted_cross_entropy
from sctransformer.training.scores import accuracy_and_macro_f1


class NonFiniteLossError(Exception):
    """The loss is no number any more."""


@dataclass(frozen=True)
class EpochReport:
    """Figures of one epoch."""

    epoch: int
    """0-based."""
    train_loss: float
    """Mean objective over the training cells (class-weighted, smoothed, genes hidden)."""
    val_loss: float
    """Mean cross-entropy over the validation cells, unweighted."""
    val_accuracy: float
    val_macro_f1: float
    learning_rate: float
    """At the last step."""
    gradient_norm: float
    """Mean over steps, before clipping."""
    cells_per_second: float
    """Training cells over the seconds of training, all workers together."""


@dataclass(frozen=True)
class World:
    """Which of how many processes this is."""

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> "World":
        """From torch.distributed where it runs, else one process."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls()

    def total(self, values: Tensor) -> Tensor:
        """Sum over all processes."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def gathered(self, values: Tensor) -> Tensor:
        """Concatenation over all processes, rank 0 first; every process gives as many rows."""
        if self.size == 1:
            return values
        parts = [torch.empty_like(values) for _ in range(self.size)]
        dist.all_gather(parts, values.contiguous())
        return torch.cat(parts)


OnEpoch = Callable[[EpochReport, Checkpoint], None]
"""Called on every process after each epoch, with all that is needed to go on from there."""


def fit(
    model: PriorBiasedTransformer,
    training: CellArrays,
    validation: CellArrays,
    config: TrainConfig,
    on_epoch: OnEpoch,
    resume: Checkpoint | None = None,
    device: torch.device | None = None,
) -> None:
    """Train `model`; on return it holds the best weights by validation macro-F1.

    With torch.distributed running, each process takes its share of every batch. Order of cells and hidden genes are
    drawn for the whole batch from (seed, epoch, step), so the result does not depend on the number of processes beyond
    float32 noise, nor on an interruption.

    Args:
        model: with fresh weights; those of `resume` replace them.
        training, validation: cells; validation chooses the epoch and nothing else.
        config: optimisation.
        on_epoch: see `OnEpoch`.
        resume: goes on after the last epoch of this checkpoint.
        device: where to compute; the CPU by default.

    Raises:
        NonFiniteLossError: with epoch and step.
    """
    world = World.current()
    device = device or torch.device("cpu")
    model.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    progress, best = Progress(), copy_of_weights(model)
    if resume is not None:
        model.load_state_dict(resume.weights)
        restore_optimizer_state(optimizer, resume.optimizer)
        progress, best = resume.progress, resume.best
    wrapped = DistributedDataParallel(model) if world.size > 1 else model
    weight_C = class_weights(training.labels_N, model.config.n_classes, config.class_weight_power).to(device)

    for epoch in range(progress.epochs_done, config.epochs):
        started = time.perf_counter()
        losses, norms = [], []
        rate = config.lr
        for batch in _batches(training, config, epoch, world):
            rate = learning_rate(batch.step, batch.total_steps, config.lr, config.warmup_fraction)
            for group in optimizer.param_groups:
                group["lr"] = rate
            labels_N = batch.labels_N.to(device)
            output = wrapped(batch.counts_NG.to(device), batch.library_size_N.to(device))
            loss = weighted_cross_entropy(
                output.logits_NC,
                labels_N,
                batch.weight_N.to(device),
                weight_C,
                config.label_smoothing,
                batch.batch_size,
            )
            optimizer.zero_grad(set_to_none=True)
            (loss * world.size).backward()  # DDP averages gradients; the objective is a sum
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
            total = float(world.total(loss.detach().clone()))
            if not np.isfinite(total) or not np.isfinite(float(norm)):
                raise NonFiniteLossError(f"the loss is {total} in epoch {epoch}, step {batch.step}")
            optimizer.step()
            losses.append(total * batch.batch_size)
            norms.append(float(norm))
        seconds = time.perf_counter() - started

        val_loss, accuracy, macro_f1 = evaluate(model, validation, config.batch_size, world, device)
        if progress.improved_by(macro_f1, val_loss):
            best = copy_of_weights(model)
            progress = dataclasses.replace(progress, best_epoch=epoch, best_macro_f1=macro_f1, best_loss=val_loss)
        progress = dataclasses.replace(progress, epochs_done=epoch + 1)
        report = EpochReport(
            epoch=epoch,
            train_loss=sum(losses) / len(training),
            val_loss=val_loss,
            val_accuracy=accuracy,
            val_macro_f1=macro_f1,
            learning_rate=rate,
            gradient_norm=float(np.mean(norms)),
            cells_per_second=len(training) / seconds,
        )
        on_epoch(report, Checkpoint(copy_of_weights(model), best, flat_optimizer_state(optimizer), progress))
    model.load_state_dict(best)


@torch.no_grad()
def evaluate(
    model: PriorBiasedTransformer, cells: CellArrays, batch_size: int, world: World, device: torch.device
) -> tuple[float, float, float]:
    """Mean cross-entropy, accuracy and macro-F1 of `cells`, each process scoring its share; the same on all of them."""
    model.eval()
    share = -(-len(cells) // world.size)
    mine = np.arange(world.rank * share, (world.rank + 1) * share) % len(cells)  # the last share wraps to equal length
    logits = []
    for start in range(0, share, batch_size):
        rows = mine[start : start + batch_size]
        counts_NG = torch.as_tensor(cells.counts_NG[rows], device=device)
        library_size_N = torch.as_tensor(cells.library_size_N[rows], device=device)
        logits.append(model(counts_NG, library_size_N).logits_NC)
    logits_NC = world.gathered(torch.cat(logits))[: len(cells)].cpu()
    model.train()
    loss = float(cross_entropy(logits_NC, torch.as_tensor(cells.labels_N)))
    predicted_N = logits_NC.argmax(dim=1).numpy()
    return loss, *accuracy_and_macro_f1(cells.labels_N, predicted_N, model.config.n_classes)


@dataclass(frozen=True)
class _Batch:
    """One process's share of a batch."""

    step: int
    total_steps: int
    batch_size: int
    """Cells of the whole batch, over all processes."""
    counts_NG: Tensor
    library_size_N: Tensor
    labels_N: Tensor
    weight_N: Tensor
    """1 for a cell, 0 where the share was padded to be no emptier than the others."""


def _batches(cells: CellArrays, config: TrainConfig, epoch: int, world: World) -> Iterator[_Batch]:
    order = np.random.default_rng((config.seed, epoch)).permutation(len(cells))
    steps_per_epoch = -(-len(cells) // config.batch_size)
    for index in range(steps_per_epoch):
        rows = order[index * config.batch_size : (index + 1) * config.batch_size]
        step = epoch * steps_per_epoch + index
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        shown_NG = kept_genes(generator, len(rows), cells.counts_NG.shape[1], config.gene_dropout)
        mine = np.arange(world.rank, len(rows), world.size)
        weight_N = torch.ones(max(1, len(mine)))
        if len(mine) == 0:  # a last batch smaller than the world: compute, and count for nothing
            mine, weight_N = np.zeros(1, dtype=int), torch.zeros(1)
        yield _Batch(
            step=step,
            total_steps=steps_per_epoch * config.epochs,
            batch_size=len(rows),
            counts_NG=torch.as_tensor(cells.counts_NG[rows[mine]]) * shown_NG[mine],
            library_size_N=torch.as_tensor(cells.library_size_N[rows[mine]]),
            labels_N=torch.as_tensor(cells.labels_N[rows[mine]]),
            weight_N=weight_N,
        )
