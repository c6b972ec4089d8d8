"""The trainer: both phases of training, on one process or several, on CPU or GPU. Independent of Ray and MLflow."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from sctransformer.data.arrays import CellSource, TrainingCells
from sctransformer.errors import UserError
from sctransformer.model import ActivityTransformer, Model, PriorBiasedTransformer
from sctransformer.model.activity import ActivityDecoder
from sctransformer.model.decoder import ExpressionDecoder
from sctransformer.training.batches import Batch
from sctransformer.training.checkpoint import Checkpoint, TrainingProgress, require_same_run, run_config
from sctransformer.training.classification import Classification, LinearProbe
from sctransformer.training.config import TrainConfig
from sctransformer.training.distributed import ProcessGroup
from sctransformer.training.execution import Execution
from sctransformer.training.memory import peak_gpu_mib, peak_resident_mib
from sctransformer.training.parallel import apply_fsdp
from sctransformer.training.pca_init import init_from_pca
from sctransformer.training.phase import Phase
from sctransformer.training.pretraining import Pretraining
from sctransformer.training.report import EpochReport, NonFiniteLossError
from sctransformer.training.state_dicts import full_state_dict, load_full_state_dict
from sctransformer.training.step import Stepper


@dataclass(frozen=True)
class Callbacks:
    """Functions that the trainer calls, on every process."""

    on_epoch_end: Callable[[EpochReport, Checkpoint], None] | None = None
    """After each epoch."""
    on_checkpoint: Callable[[Checkpoint], None] | None = None
    """Every `Execution.checkpoint_steps` steps within an epoch."""


class Trainer:
    """Train a model: optional pretraining on masked expression, then classification of the labelled cells.

    With torch.distributed initialized, the processes share every batch. Batches and hidden genes are sampled for the
    whole batch from (seed, phase, epoch, step), so the result depends on the number of processes only by float32
    rounding, and a resumed run ends with the same weights as an uninterrupted one.

    Args:
        model: with fresh weights, on any device.
        cells: the training cells. Validation cells choose the best epoch of each phase; without them the last epoch is
            kept. Unlabelled cells take part in pretraining and in the initialization with principal components.
        config: optimization.
        execution: how it is computed; it does not change the result.
        device: where to compute; default: the CPU.
        callbacks: see `Callbacks`.
        pretrain_only: stop after pretraining; labels are not used.

    Raises:
        UserError: cells without a label were given as labelled.
        ValueError: a setting needs validation cells or pretraining, and there are none.

    Examples:
        >>> checkpoint = Trainer(model, TrainingCells(training, validation), TrainConfig(epochs=3)).fit()
    """

    def __init__(
        self,
        model: Model,
        cells: TrainingCells,
        config: TrainConfig,
        execution: Execution | None = None,
        device: torch.device | None = None,
        callbacks: Callbacks | None = None,
        pretrain_only: bool = False,
    ) -> None:
        self.model, self.cells, self.config = model, cells, config
        self.execution = execution or Execution()
        self.device = device or torch.device("cpu")
        self.callbacks = callbacks or Callbacks()
        self.pretrain_only = pretrain_only or isinstance(model, ActivityTransformer)
        self.group = ProcessGroup.current()
        self.progress = TrainingProgress()
        self.history: list[dict[str, Any]] = []
        self._best: dict[str, Tensor] = {}
        self._decoder = self._new_decoder()
        self._require_usable()

    def fit(self, resume: Checkpoint | None = None) -> Checkpoint:
        """Train; afterwards the model holds the weights of the best epoch (each process its part, if sharded).

        Args:
            resume: checkpoint to resume from; its tensors are needed on every process.

        Returns:
            The last checkpoint.

        Raises:
            NonFiniteLossError: with epoch, step and cells; `on_epoch_end` is not called for that epoch.
            UserError: `resume` belongs to another run.
        """
        self.model.to(self.device)
        if resume is None:
            self._initialize()
        else:
            self._restore(resume)
        if self.execution.shared_weights and self.group.size > 1:
            apply_fsdp(self.model, self._decoder, self.group, self.device)
        last = resume
        for phase in self._phases():
            last = self._fit_phase(phase, resume) or last
        load_full_state_dict(self.model, self._best, self.group)
        assert last is not None  # without `resume` at least one epoch was trained
        return last

    def _fit_phase(self, phase: Phase, resume: Checkpoint | None) -> Checkpoint | None:
        """Train what is left of a phase; returns its last checkpoint, None if nothing was left."""
        last_epoch = phase.first_epoch + phase.epochs
        if self.progress.epochs_done >= last_epoch:
            return None
        starts = self.progress.position <= (phase.first_epoch, 0)
        if starts:  # from the best weights of the phase before
            load_full_state_dict(self.model, self._best, self.group)
            self.progress = TrainingProgress(epochs_done=phase.first_epoch)
        checkpoint = None
        with phase.others_frozen():
            steps_done = (self.progress.epochs_done - phase.first_epoch) * phase.steps_per_epoch
            steps_done += self.progress.steps_done
            optimizer_state = resume.optimizer if resume is not None and not starts else None
            stepper = Stepper(phase, self.config, self.execution, self.device, steps_done, optimizer_state)
            while self.progress.epochs_done < last_epoch and not self._is_out_of_patience(phase):
                checkpoint = self._run_epoch(phase, stepper)
        return checkpoint

    def _run_epoch(self, phase: Phase, stepper: Stepper) -> Checkpoint:
        epoch = self.progress.epochs_done
        metrics = self._train_epoch(phase, stepper) | self._validate(phase)
        loss, macro_f1 = metrics["val_loss"], metrics.get("val_macro_f1", -1.0)
        if loss is None or self.progress.is_improved_by(macro_f1, loss):
            self._best = full_state_dict(self.model)
            self.progress = replace(
                self.progress, best_epoch=epoch, best_macro_f1=macro_f1, best_loss=math.inf if loss is None else loss
            )
        self.progress = replace(self.progress, epochs_done=epoch + 1, steps_done=0, loss_sum=0.0, norm_sum=0.0)
        report = EpochReport(epoch=epoch, epochs=self._total_epochs, phase=phase.name, **metrics)
        self.history.append(asdict(report))
        checkpoint = self._checkpoint(stepper)
        if self.callbacks.on_epoch_end is not None:
            self.callbacks.on_epoch_end(report, checkpoint)
        return checkpoint

    def _train_epoch(self, phase: Phase, stepper: Stepper) -> dict[str, Any]:
        """Run the steps of the current epoch that are left; the metrics include the steps before an interruption."""
        epoch, started, n_seen, rate = self.progress.epochs_done, time.perf_counter(), 0, stepper.learning_rate
        for step, batch in phase.remaining_batches(epoch, self.progress.steps_done, self.config.seed, self.group):
            rate = stepper.learning_rate
            loss, norm = stepper.backward(batch)
            self._require_finite(loss, norm, phase, step, batch)
            stepper.update()
            n_seen += batch.size
            self.progress = replace(
                self.progress,
                steps_done=step + 1,
                loss_sum=self.progress.loss_sum + loss * batch.size,
                norm_sum=self.progress.norm_sum + norm,
            )
            self._checkpoint_if_due(phase, stepper)
        return {
            "train_loss": self.progress.loss_sum / (phase.n_cells * phase.passes),
            "learning_rate": rate,
            "gradient_norm": self.progress.norm_sum / phase.steps_per_epoch,
            "cells_per_second": n_seen / (time.perf_counter() - started),
            "memory_mib": self.group.max(peak_resident_mib(), self.device),
            "gpu_memory_mib": peak_gpu_mib(self.device),
        }

    def _validate(self, phase: Phase) -> dict[str, Any]:
        if phase.validation is None:
            return {"val_loss": None}
        self.model.eval()
        with self.execution.autocast(self.device):
            metrics = phase.validate(self.group, self.device)
        self.model.train()
        if not math.isfinite(metrics["val_loss"]):
            epoch = self.progress.epochs_done
            raise NonFiniteLossError(f"the validation loss is {metrics['val_loss']} after epoch {epoch}", epoch)
        return metrics

    def _checkpoint_if_due(self, phase: Phase, stepper: Stepper) -> None:
        """Report a checkpoint within an epoch; the last step is left out, since the epoch ends with a checkpoint."""
        every, steps_done = self.execution.checkpoint_steps, self.progress.steps_done
        if self.callbacks.on_checkpoint is None or not every:
            return
        if steps_done % every == 0 and steps_done < phase.steps_per_epoch:
            self.callbacks.on_checkpoint(self._checkpoint(stepper))

    def _checkpoint(self, stepper: Stepper) -> Checkpoint:
        return Checkpoint(
            weights=full_state_dict(self.model),
            best=self._best,
            optimizer=stepper.optimizer_state,
            progress=self.progress,
            decoder={} if self._decoder is None else full_state_dict(self._decoder),
            run_config=run_config(self.model, self.config),
            history=list(self.history),
        )

    def _initialize(self) -> None:
        if self.config.start == "principal" and isinstance(self.model, PriorBiasedTransformer):
            loading_EG = init_from_pca(self.model, self._all_cells, self.config.seed)
            if isinstance(self._decoder, ExpressionDecoder):
                self._decoder.start_from(loading_EG)
        self._best = full_state_dict(self.model)

    def _restore(self, checkpoint: Checkpoint) -> None:
        require_same_run(checkpoint, self.model, self.config)
        self.model.load_state_dict(checkpoint.weights)
        if self._decoder is not None:
            self._decoder.load_state_dict(checkpoint.decoder)
        self.progress, self._best, self.history = checkpoint.progress, checkpoint.best, list(checkpoint.history)

    def _phases(self) -> list[Phase]:
        phases: list[Phase] = []
        if self._decoder is not None:
            validation = self.cells.validation
            phases.append(Pretraining(self.model, self._decoder, self._all_cells, validation, self.config))
        if not self.pretrain_only:
            assert isinstance(self.model, PriorBiasedTransformer)  # labels of the other are fitted in closed form
            kind = LinearProbe if self.config.finetune == "frozen" else Classification
            phases.append(kind(self.model, self.cells.training, self.cells.validation, self.config))
        return phases

    @property
    def _all_cells(self) -> list[CellSource]:
        unlabelled = self.cells.unlabelled
        return [self.cells.training] if unlabelled is None or not len(unlabelled) else [self.cells.training, unlabelled]

    @property
    def _total_epochs(self) -> int:
        return self.config.pretrain_epochs + (0 if self.pretrain_only else self.config.epochs)

    def _new_decoder(self) -> ExpressionDecoder | ActivityDecoder | None:
        """The decoder of a run with pretraining; its initial weights follow from the seed alone."""
        if self.config.pretrain_epochs == 0:
            return None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            if isinstance(self.model, ActivityTransformer):
                return self.model.new_decoder().to(self.device)
            return ExpressionDecoder(self.model.config).to(self.device)

    def _is_out_of_patience(self, phase: Phase) -> bool:
        done = self.progress.epochs_done
        return phase.patience > 0 and done > phase.first_epoch and done - 1 - self.progress.best_epoch >= phase.patience

    def _require_usable(self) -> None:
        if self.pretrain_only and self.config.pretrain_epochs == 0:
            raise ValueError("pretrain_only needs pretrain_epochs above 0")
        if self.config.patience > 0 and self.cells.validation is None:
            raise ValueError(f"patience is {self.config.patience}; early stopping needs validation cells")
        labelled = [] if self.pretrain_only else [self.cells.training, self.cells.validation]
        if any((source.labels_N < 0).any() for source in labelled if source is not None):
            raise UserError("training or validation cells without a label; pass them as unlabelled cells.")

    def _require_finite(self, loss: float, norm: float, phase: Phase, step: int, batch: Batch) -> None:
        if math.isfinite(loss) and math.isfinite(norm):
            return
        epoch = self.progress.epochs_done
        step += (epoch - phase.first_epoch) * phase.steps_per_epoch
        what = f"the loss is {loss}" if not math.isfinite(loss) else f"the norm of the gradient is {norm}"
        raise NonFiniteLossError(f"{what} in epoch {epoch}, step {step}", epoch, step, batch.all_rows.tolist())
