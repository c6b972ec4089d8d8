"""What the loop says of an epoch, and of a loss that is no number any more."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sctransformer.training.phases import PhaseName

_NOT_METRICS = ("epoch", "epochs", "phase", "val_f1_C")


class NonFiniteLossError(Exception):
    """The loss is no number any more.

    Args:
        message: what is no number, and in which epoch and step.
        epoch: 0-based, over both phases.
        step: 0-based, of the phase; None if validation found it.
        rows: the batch's cells, by position among the cells of the phase: the labelled ones, in pretraining followed by
            the unlabelled ones.
    """

    def __init__(self, message: str, epoch: int, step: int | None = None, rows: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.epoch, self.step, self.rows = epoch, step, list(rows)


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
    """Training cells over the seconds of training, all workers together; after an interruption, since then."""
    memory_mib: float = 0.0
    """Most resident memory of a worker up to now."""
    gpu_memory_mib: float | None = None
    """Most memory allocated on a worker's GPU up to now."""
    val_r2: float | None = None
    """Pretraining: share of the variance of hidden genes about their means that is explained."""
    val_accuracy: float | None = None
    val_macro_f1: float | None = None
    val_f1_C: list[float | None] | None = None
    """F1 of each class; None for one that is neither among the labels nor predicted."""

    def metrics(self, class_names: Sequence[str] = ()) -> dict[str, float]:
        """The figures that this phase has, under names that tell the phases apart; `val_f1/NAME` for each class.

        Args:
            class_names: of the classes, in order; without them no figures by class are given.
        """
        prefix = "" if self.phase == "supervised" else f"{self.phase}_"
        figures = {
            prefix + name: value
            for name, value in dataclasses.asdict(self).items()
            if name not in _NOT_METRICS and value is not None
        }
        if self.val_f1_C is not None and class_names:
            by_class = zip(class_names, self.val_f1_C, strict=True)
            figures |= {f"val_f1/{name}": f1 for name, f1 in by_class if f1 is not None}
        return figures

    def row(self) -> dict[str, Any]:
        """All figures but those by class, for a table of epochs."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name != "val_f1_C"}

    def summary(self) -> str:
        """The figure by which the phase is judged, for people."""
        if self.val_macro_f1 is not None:
            return f"validation macro-F1 {self.val_macro_f1:.3f}"
        return f"pretraining: {self.val_r2 or 0.0:.1%} of hidden expression explained"
