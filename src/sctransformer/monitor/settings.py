"""Settings of drift monitoring: limits for a batch, and the rule for an alarm."""

from typing import Self

from pydantic import Field, model_validator

from sctransformer.settings import Settings


class Limits(Settings):
    """How far a batch may be from the training cells."""

    psi: float = Field(default=0.25, gt=0.0)
    """Largest population stability index of library sizes, confidences or labels, beyond what chance gives for a batch
    of this size; 0.25 is the usual limit."""
    detection: float = Field(default=0.1, gt=0.0, le=1.0)
    """Largest mean difference, over genes, of the fraction of cells that express a gene."""
    rejected: float = Field(default=0.2, gt=0.0, le=1.0)
    """Largest excess of the fraction of rejected cells over that of the validation cells."""
    embedding: float = Field(default=0.4, gt=0.0)
    """Largest distance of the mean embedding from that of the training cells: root mean square over dimensions, in
    standard deviations of the training cells."""
    gene_shift: float = Field(default=0.5, gt=0.0)
    """A gene has changed if its mean expression differs by more than this number of standard deviations of the training
    cells from the mean that the batch's cell types have in training, beyond chance and the spread between donors."""
    genes: float = Field(default=0.005, gt=0.0, le=1.0)
    """Largest share of the panel's genes that may have changed; three genes always may."""
    regulator_shift: float = Field(default=1.0, gt=0.0)
    """A regulator has shifted in a label if its mean activity differs by more than this number of standard deviations
    of the label's training cells, beyond chance and the spread between donors."""
    regulators: int = Field(default=0, ge=0)
    """Largest number of regulators that may have shifted."""
    min_cells: int = Field(default=50, ge=1)
    """Smaller batches are not judged: their fractions are noise."""


class AlarmRule(Settings):
    """When drifted batches are an alarm."""

    window: int = Field(default=5, ge=1)
    """Number of latest batches that count, all labelled by the same model version."""
    raised_by: int = Field(default=2, ge=1)
    """Number of drifted batches among them that raises the alarm, if the latest is one of them."""

    @model_validator(mode="after")
    def _require_reachable(self) -> Self:
        if self.raised_by > self.window:
            raise ValueError(f"raised_by is {self.raised_by}; expected at most window ({self.window})")
        return self
