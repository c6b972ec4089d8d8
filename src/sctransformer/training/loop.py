"""The training loop: the same for both phases, on one process or many, on CPU and GPU. Knows nothing of Ray, MLflow."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace

import numpy as np
import torch
from torch import Tensor

from sctransformer.data.arrays import CellSource
from sctransformer.errors import UserError
from sctransformer.model import PriorBiasedTransformer
from sctransformer.model.decoder import ExpressionDecoder
from sctransformer.training.checkpoint import (
    Checkpoint,
    Progress,
    flat_optimizer_state,
    made_with,
    require_same_run,
    restore_optimizer_state,
)
from sctransformer.training.config import TrainConfig
from sctransformer.training.distributed import World
from sctransformer.training.epoch import train_epoch
from sctransformer.training.execution import Execution
from sctransformer.training.parallel import apply_ddp, apply_fsdp, load_whole_weights, whole_weights
from sctransformer.training.pca_init import start_from_principal_components
from sctransformer.training.phases import Phase, Pretraining, Probing, Supervised
from sctransformer.training.report import EpochReport, NonFiniteLossError

OnEpoch = Callable[[EpochReport, Checkpoint], None]
"""Called on every process after each epoch, with all that is needed to go on from there."""
OnCheckpoint = Callable[[Checkpoint], None]
"""Called on every process in the middle of an epoch, with all that is needed to go on from there."""


def fit(
    model: PriorBiasedTransformer,
    training: CellSource,
    validation: CellSource,
    config: TrainConfig,
    on_epoch: OnEpoch,
    resume: Checkpoint | None = None,
    device: torch.device | None = None,
    unlabelled: CellSource | None = None,
    execution: Execution | None = None,
    on_checkpoint: OnCheckpoint = lambda state: None,
) -> None:
    """Train `model`; on return it holds the best weights by validation macro-F1 (each process its part, where they
    are shared out).

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
        resume: goes on after the last step of this checkpoint.
        device: where to compute; the CPU by default.
        unlabelled: cells without a label, for pretraining.
        execution: how it is computed.
        on_checkpoint: see `OnCheckpoint`; called every `execution.checkpoint_steps` steps.

    Raises:
        NonFiniteLossError: with epoch, step and cells, before `on_epoch` is given what came of it.
        UserError: `resume` belongs to another run.
    """
    execution = execution or Execution()
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
        progress, best, history = resume.progress, resume.best, list(resume.history)
        if decoder is not None:
            decoder.load_state_dict(resume.decoder)
    else:
        if config.start == "principal":
            loading_EG = start_from_principal_components(model, parts, config.seed)
            if decoder is not None:
                decoder.start_from(loading_EG)
        progress, best, history = Progress(), whole_weights(model), []
    shared_out = execution.shared_weights and world.size > 1
    if shared_out:
        apply_fsdp(model, decoder, world, device)
    phases: list[Phase] = []
    if decoder is not None:
        phases.append(Pretraining(model, decoder, parts, validation, config))
    classification = Probing if config.finetune == "frozen" else Supervised
    phases.append(classification(model, training, validation, config))
    total_epochs = sum(phase.epochs for phase in phases)

    marks = made_with(model, config)

    def state(progress: Progress, optimizer: torch.optim.Optimizer) -> Checkpoint:
        return Checkpoint(
            weights=whole_weights(model),
            best=best,
            optimizer=flat_optimizer_state(optimizer),
            progress=progress,
            decoder={} if decoder is None else whole_weights(decoder),
            made_with=marks,
            history=list(history),
        )

    for phase in phases:
        last_epoch = phase.first_epoch + phase.epochs
        if progress.epochs_done >= last_epoch:
            continue
        begun = progress.position > (phase.first_epoch, 0)
        if not begun:  # a phase begins where the one before was best
            load_whole_weights(model, best)
            progress = Progress(epochs_done=phase.first_epoch)
        with _trained_alone(phase):
            optimizer = torch.optim.AdamW(
                phase.parameter_groups(), lr=phase.lr, weight_decay=phase.weight_decay, fused=not shared_out
            )
            if resume is not None and begun:
                restore_optimizer_state(optimizer, resume.optimizer)
            module = execution.prepared(phase.module)
            module = module if shared_out else apply_ddp(module, world)
            for epoch in range(progress.epochs_done, last_epoch):
                if _out_of_patience(phase, progress):
                    break

                def on_step(progress: Progress, optimizer: torch.optim.Optimizer = optimizer) -> None:
                    every = execution.checkpoint_steps
                    if every and progress.steps_done % every == 0:
                        on_checkpoint(state(progress, optimizer))

                figures = train_epoch(phase, module, optimizer, progress, config, world, device, on_step, execution)
                model.eval()
                with execution.autocast(device):
                    validated = phase.validate(world, device)
                model.train()
                macro_f1, val_loss = validated.get("val_macro_f1", -1.0), validated["val_loss"]
                if not np.isfinite(val_loss):
                    raise NonFiniteLossError(f"the validation loss is {val_loss} after epoch {epoch}", epoch)
                if progress.improved_by(macro_f1, val_loss):
                    best = whole_weights(model)
                    progress = replace(progress, best_epoch=epoch, best_macro_f1=macro_f1, best_loss=val_loss)
                progress = replace(progress, epochs_done=epoch + 1, steps_done=0, loss_sum=0.0, norm_sum=0.0)
                report = EpochReport(epoch=epoch, epochs=total_epochs, phase=phase.name, **figures, **validated)
                history.append(asdict(report))
                on_epoch(report, state(progress, optimizer))
    load_whole_weights(model, best)


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
