"""Regulators whose activity in a label of a batch differs from that in the training cells of the label."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr

from sctransformer._constants import BEATS_SHUFFLES, TYPE_DONORS, TYPE_MEAN, TYPE_STD
from sctransformer.evaluation.profile import MAX_TYPE_CELLS, Profile
from sctransformer.wording import counted, some

_DONORS = 3.0
"""Multiple of the spread between the training donors that a new donor may differ."""
_FALSE = 0.05
"""False discovery rate over labels and regulators."""
_NAMED = 5
"""Regulators that a sentence names per label and direction."""
_LABELS_NAMED = 2
"""Labels that a sentence names."""
_TOGETHER = 3
"""Number of regulators that are up together in a label, from which on the sentence asks for a stimulation."""


@dataclass(frozen=True)
class RegulatorShift:
    """A regulator whose activity in a label has shifted."""

    label: str
    regulator: str
    shift: float
    """Difference of the mean activities, in standard deviations of the training cells of the label."""
    allowed: float
    """Largest difference that is not a shift."""


class Shifts(NamedTuple):
    """All compared regulators. C: labels with enough cells, R: regulators that beat shuffled networks."""

    labels: list[str]
    regulators: list[str]
    shift_CR: NDArray[np.float64]
    """Difference of the mean activities, in standard deviations of the training cells of the label; NaN where not
    compared."""
    allowed_CR: NDArray[np.float64]
    """Difference that is explained by a small effect or by donors."""
    shifted_CR: NDArray[np.bool_]
    """Whether the difference is larger than that."""

    def listed(self) -> list[RegulatorShift]:
        """The shifted regulators, the label with the largest shift first, and the largest shift of a label first."""
        found, size_CR = [], np.where(self.shifted_CR, np.abs(self.shift_CR), 0.0)
        for label in np.argsort(-size_CR.max(axis=1, initial=0.0), kind="stable"):
            columns = np.flatnonzero(self.shifted_CR[label])
            for regulator in columns[np.argsort(-size_CR[label, columns], kind="stable")]:
                shift, allowed = (float(values_CR[label, regulator]) for values_CR in (self.shift_CR, self.allowed_CR))
                name = self.regulators[regulator]
                found.append(RegulatorShift(self.labels[label], name, round(shift, 2), round(allowed, 2)))
        return found


def why_not_compared(table: pd.DataFrame | None, batch: Profile) -> str:
    """Why the regulators of a batch cannot be compared, as a sentence; empty if they can.

    Args:
        table: see `Bundle.regulators`.
        batch: profile of the batch.
    """
    if table is None:
        return "Regulators were not compared: the model has no activities."
    if not any(str(name).startswith(TYPE_STD) for name in table.columns):
        return (
            "Regulators were not compared: the bundle has no spread of activities within labels, because an earlier "
            "version made it; export it again."
        )
    if "evidence" not in table:
        return "Regulators were not compared: the bundle has no evidence of its regulators against rewired networks."
    if not batch.activity_by_label:
        return "Regulators were not compared: no label has enough cells, or their activities were not computed."
    return ""


def regulator_shifts(table: pd.DataFrame, reference: Mapping[str, Any], batch: Profile, least: float) -> Shifts:
    """Compare the mean activities of a batch, by label, with those of the training cells.

    Only regulators whose evidence beats shuffled networks are compared. A regulator has shifted if its difference is
    significantly larger than `least` and than the spread between the training donors explains: cells of a batch are not
    independent, so a difference that is merely significant tells nothing. The false discovery rate over all labels and
    regulators is 5 % (Benjamini and Hochberg 1995, JRSS B 57:289).

    Args:
        table: see `Bundle.regulators`, with the columns of `why_not_compared`.
        reference: `profile` of the bundle's reference.json.
        batch: profile of the batch.
        least: smallest difference, see `Limits.regulator_shift`.
    """
    own = table[table["evidence"].to_numpy(dtype=np.float64) >= BEATS_SHUFFLES]
    labels = [name for name in batch.activity_by_label if TYPE_STD + name in own]
    shape = (len(labels), len(own))
    shift_CR, allowed_CR, error_CR = np.full(shape, np.nan), np.full(shape, np.nan), np.full(shape, np.nan)
    scale_R, mean_R = (own[name].to_numpy(dtype=np.float64) for name in ("std", "mean"))
    for row, name in enumerate(labels):
        std_R = own[TYPE_STD + name].to_numpy(dtype=np.float64)
        std_R = np.where(std_R > 0, std_R, np.nan)
        activity_R = batch.activity_by_label[name][own.index.to_numpy()] * scale_R + mean_R
        shift_CR[row] = (activity_R - own[TYPE_MEAN + name].to_numpy(dtype=np.float64)) / std_R
        donors_R = own[TYPE_DONORS + name].to_numpy(dtype=np.float64) if TYPE_DONORS + name in own else 0.0
        allowed_CR[row] = np.fmax(least, _DONORS * donors_R / std_R)
        training = min(int(reference["labels"].get(name, 0)), MAX_TYPE_CELLS)
        error_CR[row] = np.sqrt(1 / max(batch.best_labels.get(name, 0), 1) + 1 / max(training, 1))
    p_CR = ndtr(-(np.abs(shift_CR) - allowed_CR) / error_CR)
    return Shifts(labels, own["regulator"].astype(str).tolist(), shift_CR, allowed_CR, discoveries(p_CR, _FALSE))


def discoveries(p_CR: NDArray[np.float64], rate: float) -> NDArray[np.bool_]:
    """The hypotheses that Benjamini and Hochberg's procedure rejects.

    Args:
        p_CR: p-values of any shape; NaN is no hypothesis.
        rate: false discovery rate.
    """
    known = np.sort(p_CR[np.isfinite(p_CR)])
    passed = np.flatnonzero(known <= rate * np.arange(1, len(known) + 1) / max(len(known), 1))
    if not len(passed):
        return np.zeros(p_CR.shape, dtype=bool)
    with np.errstate(invalid="ignore"):
        return np.asarray(p_CR <= known[passed[-1]])


def sentence(shifts: Sequence[RegulatorShift]) -> str:
    """The shifted regulators in a phrase, such as `STAT1, STAT2, IRF9 up in CD14+ Monocytes (stimulation?)`.

    Args:
        shifts: in the order of `Shifts.listed`.
    """
    labels = list(dict.fromkeys(one.label for one in shifts))
    parts = []
    for label in labels[:_LABELS_NAMED]:
        for direction, sign in (("up", 1), ("down", -1)):
            names = [one.regulator for one in shifts if one.label == label and one.shift * sign > 0]
            if names:
                asks = " (stimulation?)" if len(names) >= _TOGETHER and sign > 0 else ""
                parts.append(f"{some(names, _NAMED)} {direction} in {label}{asks}")
    if len(labels) > _LABELS_NAMED:
        parts.append(f"more in {counted(len(labels) - _LABELS_NAMED, 'other label')}")
    return "; ".join(parts)
