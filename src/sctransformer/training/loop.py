"""The training loop: the same for both phases, on one process or many, on CPU and GPU. Knows nothing of Ray, MLflow."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from sctransformer.data.arrays import CellArrays
from sctransformer.errors import UserError
from sctransformer.model import PriorBiasedTransformer
from sctransformer.model.decoder import ExpressionDecoder
from sctransformer.training.batches import Batch, batches, steps_a_pass
from sctransformer.training.checkpoint import (
    Checkpoint,
    Progress,
    copy_of_weights,
    flat_optimizer_state,
    made_with,
    require_same_run,
    restore_optimizer_state,
)
from sctransformer.training.config import TrainConfig
from sctransformer.training.objectives import learning_rate
from sctransformer.training.phases import Phase, PhaseName, Pretraining, Probing, Supervised
from sctransformer.training.principal_start import start_from_principal_components
from sctransformer.training.world import World


class NonFiniteLossError(Exception):
    """The loss is no number any more."""


@dataclass(frozen=True)
class EpochReport:
    """Figures of one epoch; those that its phase does not have are None."""

    epoch: int
    """0-based, counted over both phases."""
    epochs: int
    """Of both phases together, if none ends early."""
    phase: PhaseName
    train_loss: float
    """Mean objective over the training cells. Pretraining: squared error over hidden genes. Supervised: cross-entropy
    (class-weighted, smoothed, genes hidden)."""
    val_loss: float
    """Over the validation cells. Pretraining: the same error, with hidden genes that stay the same. Supervised: mean
    cross-entropy, unweighted."""
    learning_rate: float
    """At the last step."""
    gradient_norm: float
    """Mean over steps, before clipping."""
    cells_per_second: float
    """Training cells over the seconds of training, all workers together."""
    val_r2: float | None = None
    """Pretraining: share of the variance of hidden genes about their means that is explained."""
    val_accuracy: float | None = None
    val_macro_f1: float | None = None

    def metrics(self) -> dict[str, float]:
        """The figures that this phase has, under names that tell the phases apart."""
        prefix = "" if self.phase == "supervised" else f"{self.phase}_"
        figures = dataclasses.asdict(self)
        return {
            prefix + name: value
            for name, value in figures.items()
            if name not in ("epoch", "epochs", "phase") and value is not None
        }

    def summary(self) -> str:
        """The figure by which the phase is judged, for people."""
        if self.val_macro_f1 is not None:
            return f"validation macro-F1 {self.val_macro_f1:.3f}"
        return f"pretraining: {self.val_r2 or 0.0:.1%} of hidden expression explained"


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
    unlabelled: CellArrays | None = None,
) -> None:
    """Train `model`; on return it holds the best weights by validation macro-F1.

    With `config.pretrain_epochs` the first epochs are self-supervised: masked expression on the labelled and the
    unlabelled cells. Classification goes on from the epoch with the lowest validation loss, with a new optimizer and
    schedule.

    With torch.distributed running, each process takes its share of every batch. Order of cells and hidden genes are
    drawn for the whole batch from (seed, phase, epoch, step), so the result does not depend on the number of processes
    beyond float32 noise, nor on an interruption.

    Args:
        model: with fresh weights; those of `resume` replace them.
        training, validation: labelled cells; validation chooses the epochs and nothing else.
        config: optimisation.
        on_epoch: see `OnEpoch`.
        resume: goes on after the last epoch of this checkpoint.
        device: where to compute; the CPU by default.
        unlabelled: cells without a label, for pretraining.

    Raises:
        NonFiniteLossError: with epoch and step, before `on_epoch` is given what came of it.
        UserError: `resume` belongs to another run.
    """
    world = World.current()
    device = device or torch.device("cpu")
    if (training.labels_N < 0).any() or (validation.labels_N < 0).any():
        raise UserError(
            "training or validation cells without a label were given as labelled; they are for pretraining."
        )
    model.to(device)
    parts = [training] if unlabelled is None or len(unlabelled) == 0 else [training, unlabelled]
    decoder = _decoder(model, config, device)
    if resume is not None:
        require_same_run(resume, model, config)
        model.load_state_dict(resume.weights)
        progress, best = resume.progress, resume.best
        if decoder is not None:
            decoder.load_state_dict(resume.decoder)
    else:
        if config.start == "principal":
            loading_EG = start_from_principal_components(model, parts, config.seed)
            if decoder is not None:
                decoder.start_from(loading_EG)
        progress, best = Progress(), copy_of_weights(model)
    phases: list[Phase] = []
    if decoder is not None:
        phases.append(Pretraining(model, decoder, parts, validation, config))
    classification = Probing if config.finetune == "frozen" else Supervised
    phases.append(classification(model, training, validation, config))
    total_epochs = sum(phase.epochs for phase in phases)

    marks = made_with(model, config)
    for phase in phases:
        last_epoch = phase.first_epoch + phase.epochs
        if progress.epochs_done >= last_epoch:
            continue
        if progress.epochs_done == phase.first_epoch:  # a phase begins where the one before was best
            model.load_state_dict(best)
            progress = Progress(epochs_done=phase.first_epoch)
        with _trained_alone(phase):
            optimizer = torch.optim.AdamW(phase.parameter_groups(), lr=phase.lr, weight_decay=phase.weight_decay)
            if resume is not None and progress.epochs_done > phase.first_epoch:
                restore_optimizer_state(optimizer, resume.optimizer)
            module = DistributedDataParallel(phase.module) if world.size > 1 else phase.module
            for epoch in range(progress.epochs_done, last_epoch):
                if _out_of_patience(phase, progress):
                    break
                figures = _train_epoch(phase, module, optimizer, epoch, config, world, device)
                model.eval()
                validated = phase.validate(world, device)
                model.train()
                macro_f1, val_loss = validated.get("val_macro_f1", -1.0), validated["val_loss"]
                if not np.isfinite(val_loss):
                    raise NonFiniteLossError(f"the validation loss is {val_loss} after epoch {epoch}")
                if progress.improved_by(macro_f1, val_loss):
                    best = copy_of_weights(model)
                    progress = dataclasses.replace(
                        progress, best_epoch=epoch, best_macro_f1=macro_f1, best_loss=val_loss
                    )
                progress = dataclasses.replace(progress, epochs_done=epoch + 1)
                report = EpochReport(epoch=epoch, epochs=total_epochs, phase=phase.name, **figures, **validated)
                state = Checkpoint(
                    weights=copy_of_weights(model),
                    best=best,
                    optimizer=flat_optimizer_state(optimizer),
                    progress=progress,
                    decoder={} if decoder is None else copy_of_weights(decoder),
                    made_with=marks,
                )
                on_epoch(report, state)
    model.load_state_dict(best)


def _train_epoch(
    phase: Phase,
    module: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    epoch: int,
    config: TrainConfig,
    world: World,
    device: torch.device,
) -> dict[str, float]:
    """One epoch of steps; its figures."""
    started = time.perf_counter()
    n_cells = sum(map(len, phase.parts))
    steps = steps_a_pass(n_cells, phase.batch_size)
    first_pass, total_steps = (epoch - phase.first_epoch) * phase.passes, steps * phase.passes * phase.epochs
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    losses, norms, rate = [], [], phase.lr
    for number, batch in _batches_of_epoch(phase, first_pass, config.seed, world):
        step = number * steps + batch.index
        rate = learning_rate(step, total_steps, phase.lr, config.warmup_fraction)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        loss = phase.loss(module, batch, device)
        optimizer.zero_grad(set_to_none=True)
        (loss * world.size).backward()  # DDP averages gradients; the objective is a sum
        norm = float(torch.nn.utils.clip_grad_norm_(trained, config.clip_norm))
        total = float(world.total(loss.detach().clone()))
        if not np.isfinite(total) or not np.isfinite(norm):
            raise NonFiniteLossError(f"the loss is {total} in epoch {epoch}, step {step}")
        optimizer.step()
        losses.append(total * batch.size)
        norms.append(norm)
    return {
        "train_loss": sum(losses) / (n_cells * phase.passes),
        "learning_rate": rate,
        "gradient_norm": float(np.mean(norms)),
        "cells_per_second": n_cells * phase.passes / (time.perf_counter() - started),
    }


def _batches_of_epoch(phase: Phase, first_pass: int, seed: int, world: World) -> Iterator[tuple[int, Batch]]:
    """The batches of all passes over the cells that an epoch makes, with the number of the pass in its phase."""
    for number in range(first_pass, first_pass + phase.passes):
        key = (seed, number, *phase.key)
        for batch in batches(phase.parts, phase.batch_size, phase.hidden_share, key, world):
            yield number, batch


def _out_of_patience(phase: Phase, progress: Progress) -> bool:
    waited = progress.epochs_done - 1 - progress.best_epoch
    return phase.patience > 0 and progress.epochs_done > phase.first_epoch and waited >= phase.patience


def _decoder(model: PriorBiasedTransformer, config: TrainConfig, device: torch.device) -> ExpressionDecoder | None:
    """The decoder of a run with pretraining; its first weights follow from the seed alone."""
    if config.pretrain_epochs == 0:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return ExpressionDecoder(model.config).to(device)


@contextmanager
def _trained_alone(phase: Phase) -> Iterator[None]:
    """Only what the phase trains asks for gradients, which several processes need and one saves time by."""
    trained: set[int] = {id(parameter) for group in phase.parameter_groups() for parameter in group["params"]}
    others: list[Tensor] = [
        parameter for parameter in phase.module.parameters() if id(parameter) not in trained and parameter.requires_grad
    ]
    for parameter in others:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in others:
            parameter.requires_grad_(True)
