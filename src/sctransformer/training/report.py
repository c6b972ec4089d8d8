"""The metrics of an epoch, and the error of a non-finite loss."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sctransformer.training.phase import PhaseName

_NOT_METRICS = ("epoch", "epochs", "phase", "val_f1_C")


class NonFiniteLossError(Exception):
    """The loss or the norm of its gradient is NaN or infinite.

    Args:
        message: what is not finite, in which epoch and step.
        epoch: 0-based, over both phases.
        step: 0-based, within the phase; None if it was found in validation.
        rows: positions of the cells of the batch among the cells of the phase: labelled cells, in pretraining followed
            by unlabelled ones.
    """

    def __init__(self, message: str, epoch: int, step: int | None = None, rows: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.epoch, self.step, self.rows = epoch, step, list(rows)


@dataclass(frozen=True)
class EpochReport:
    """Metrics of one epoch; None for those that its phase does not have."""

    epoch: int
    """0-based, counted over both phases."""
    epochs: int
    """Number of epochs of both phases without early stopping."""
    phase: PhaseName
    train_loss: float
    """Mean objective over the training cells. Pretraining: squared error over hidden genes. Supervised: cross-entropy
    with class weights, label smoothing, hidden genes and the penalty."""
    val_loss: float | None
    """Over the validation cells, None without any. Pretraining: the same error, with the same hidden genes in each
    epoch. Supervised: mean cross-entropy without weights."""
    learning_rate: float
    """At the last step; that of the classifier if only the classifier is trained."""
    gradient_norm: float
    """Mean over steps, before clipping."""
    cells_per_second: float
    """Training cells per second of training, all workers together; after an interruption, since then."""
    memory_mib: float = 0.0
    """Peak resident memory of a worker so far."""
    gpu_memory_mib: float | None = None
    """Peak memory allocated on the GPU of a worker so far."""
    val_r2: float | None = None
    """Pretraining: fraction of the variance of hidden genes about their means that is explained."""
    val_accuracy: float | None = None
    val_macro_f1: float | None = None
    val_f1_C: list[float | None] | None = None
    """F1 per class; None for a class that is neither among the labels nor predicted."""

    def metrics(self, class_names: Sequence[str] = ()) -> dict[str, float]:
        """The metrics of this phase; those of pretraining have a prefix, those per class are `val_f1/NAME`.

        Args:
            class_names: names of the classes, in order; without them metrics per class are left out.
        """
        prefix = "" if self.phase == "supervised" else f"{self.phase}_"
        metrics = {
            prefix + name: value
            for name, value in dataclasses.asdict(self).items()
            if name not in _NOT_METRICS and value is not None
        }
        if self.val_f1_C is not None and class_names:
            by_class = zip(class_names, self.val_f1_C, strict=True)
            metrics |= {f"val_f1/{name}": f1 for name, f1 in by_class if f1 is not None}
        return metrics

    def row(self) -> dict[str, Any]:
        """All fields but those per class, for a table of epochs."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name != "val_f1_C"}

    def summary(self) -> str:
        """The metric that compares the epochs of this phase, as text."""
        if self.val_macro_f1 is not None:
            return f"validation macro-F1 {self.val_macro_f1:.3f}"
        if self.val_r2 is not None:
            return f"pretraining: {self.val_r2:.1%} of hidden expression explained"
        return f"training loss {self.train_loss:.3f}"


class EpochListener:
    """Calls a function once per epoch, in order; epochs that are repeated after a restart are skipped.

    Args:
        on_epoch: the function.
    """

    failure: Exception | None = None
    """Error of the function, which is not called again. Training continues: weights matter more than metrics."""

    def __init__(self, on_epoch: Callable[[EpochReport], None]) -> None:
        self._on_epoch, self._last = on_epoch, -1

    def __call__(self, report: EpochReport) -> None:
        """Pass on the report of an epoch."""
        if report.epoch > self._last and self.failure is None:
            self._last = report.epoch
            try:
                self._on_epoch(report)
            except Exception as error:
                self.failure = error
