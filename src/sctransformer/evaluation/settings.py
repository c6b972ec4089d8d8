"""Settings of calibration and evaluation."""

from pydantic import Field

from sctransformer.settings import Settings


class EvaluationSettings(Settings):
    """Rejection threshold, chosen on validation cells, and baseline."""

    rejection_error: float = Field(default=0.05, gt=0.0, lt=1.0)
    """Largest fraction of wrong labels among the validation cells that are not rejected; sets the rejection
    threshold."""
    withheld_share: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Fraction of validation cells, the least confident ones, that is rejected even if fewer labels are wrong than
    `rejection_error` allows; 0: the error alone sets the threshold."""
    novel_share: float = Field(default=0.01, gt=0.0, lt=1.0)
    """Fraction of validation cells above the novelty threshold; cells above it are rejected as unlike the training
    cells."""
    baseline_folds: int = Field(default=5, ge=2)
    """Folds of the inner cross-validation that chooses C of the logistic regression."""
