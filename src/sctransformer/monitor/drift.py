"""Comparison of a batch with the training cells, and the rule that turns drifted batches into an alarm."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sctransformer.evaluation.profile import Profile
from sctransformer.monitor.genes import GeneChange, changed_genes
from sctransformer.monitor.regulators import RegulatorShift, regulator_shifts, sentence, why_not_compared
from sctransformer.monitor.settings import AlarmRule, Limits

_SMALLEST_BIN = 0.1
"""Neighbouring bins are merged until each holds at least this fraction of the reference."""
_SMOOTHING = 0.5
"""Pseudocount per bin: a bin that is empty in a small batch would otherwise outweigh all others."""
_GENES_NAMED = 5
"""Number of changed genes in the sentence."""
_GENES_KEPT = 30
"""Number of changed genes that a verdict lists."""
_ALWAYS_ALLOWED = 3
"""Number of genes that may change in any batch: a few, as XIST, RPS26 or HLA genes, differ between any two donors."""


@dataclass(frozen=True)
class Verdict:
    """Result of comparing a batch with the training cells."""

    judged: bool
    """Whether the batch was compared."""
    values: dict[str, float]
    """Measured drift, by name; empty if the batch was not judged."""
    limits: dict[str, float]
    """Limit of each value."""
    why_not: str = ""
    """Why the batch was not judged."""
    genes: list[GeneChange] = field(default_factory=list)
    """Genes whose mean expression changed, the most changed first."""
    regulators: list[RegulatorShift] = field(default_factory=list)
    """Regulators whose activity in a label shifted, see `Shifts.listed`."""
    regulators_note: str = ""
    """Why regulators were not compared; empty if they were."""

    @property
    def exceeded(self) -> list[str]:
        """Names of the values above their limit."""
        return [name for name, value in self.values.items() if value > self.limits[name]]

    @property
    def drifted(self) -> bool:
        """Whether any value is above its limit."""
        return bool(self.exceeded)

    def sentence(self) -> str:
        """The result in one line."""
        if not self.judged:
            return f"not judged: {self.why_not}"
        if not self.drifted:
            return "like the training cells"
        found = [f"{name} {self.values[name]:.2g} (limit {self.limits[name]:.2g})" for name in self.exceeded]
        named = [f"{one.gene} {one.difference:+.1f}" for one in self.genes[:_GENES_NAMED]]
        genes = f"; most changed genes, in standard deviations: {', '.join(named)}" if "genes" in self.exceeded else ""
        shifted = f"; regulators: {sentence(self.regulators)}" if "regulators" in self.exceeded else ""
        return f"drifted: {', '.join(found)}{genes}{shifted}"


def judge(
    reference: dict[str, Any],
    vocabulary: pd.DataFrame,
    batch: dict[str, Any],
    limits: Limits,
    regulators: pd.DataFrame | None = None,
) -> Verdict:
    """Compare a batch with the training cells.

    Args:
        reference: content of the bundle's reference.json.
        vocabulary: genes of the bundle, with the standard deviation of each in the training cells.
        batch: JSON of the batch's profile.
        limits: how far the batch may be from the training cells.
        regulators: those of the bundle, see `Bundle.regulators`; None for a model without activities.
    """
    try:
        expected, found = Profile.from_json(reference["profile"]), Profile.from_json(batch)
        judged_cells = int(reference["profile"]["judged_cells"])
    except (KeyError, TypeError, ValueError):
        return Verdict(False, {}, {}, "the bundle has no profile of its training cells; export it again")
    if found.cells < limits.min_cells:
        return Verdict(False, {}, {}, f"{found.cells} cells are too few (drift.min_cells is {limits.min_cells})")
    names = sorted(set(expected.labels) | set(found.labels))
    pairs = {
        "library_size": (expected.library_size_B, found.library_size_B),
        "confidence": (expected.confidence_B, found.confidence_B),
        "labels": tuple(np.array([one.labels.get(name, 0) for name in names]) for one in (expected, found)),
    }
    values, allowed = {}, {}
    for name, (expected_B, found_B) in pairs.items():
        if found_B.sum() == 0:  # no cell has a label; `rejected` covers this
            continue
        value, noise = stability_index(expected_B, found_B, ordered=name != "labels")
        values[f"psi_{name}"], allowed[f"psi_{name}"] = value, limits.psi + noise
    difference_G = np.abs(found.detection_G - expected.detection_G)
    if not np.isnan(difference_G).all():
        values["detection"], allowed["detection"] = float(np.nanmean(difference_G)), limits.detection
    usual = expected.rejected / max(judged_cells, 1)
    values["rejected"], allowed["rejected"] = found.rejected / found.cells, usual + limits.rejected
    values["embedding"], allowed["embedding"] = embedding_distance(expected, found), limits.embedding
    changed, measured = changed_genes(reference["profile"], vocabulary, found, limits.gene_shift)
    if measured:
        values["genes"], allowed["genes"] = len(changed) / measured, limits.genes + _ALWAYS_ALLOWED / measured
    note, shifted = why_not_compared(regulators, found), list[RegulatorShift]()
    if regulators is not None and not note:
        shifted = regulator_shifts(regulators, reference["profile"], found, limits.regulator_shift).listed()
        values["regulators"] = len({one.regulator for one in shifted})
        allowed["regulators"] = limits.regulators
    return Verdict(True, values, allowed, genes=changed[:_GENES_KEPT], regulators=shifted, regulators_note=note)


def stability_index(
    expected_B: NDArray[np.integer], found_B: NDArray[np.integer], ordered: bool = True
) -> tuple[float, float]:
    """Population stability index of two histograms over the same bins, and its value expected by chance.

    The index is the sum over bins of (found - expected) * log(found / expected), in fractions; below 0.1 the change is
    small, above 0.25 large. For two samples of the same cells it is about (bins - 1) * (1 / cells + 1 / cells)
    (Yurdakul 2018, "Statistical Properties of Population Stability Index", Western Michigan University), which is large
    for a small batch.

    Args:
        expected_B, found_B: number of cells per bin.
        ordered: whether neighbouring bins may be merged, so that each holds some cells of the reference.

    Returns:
        The index, and its value expected by chance.
    """
    if ordered:
        expected_B, found_B = _joined(expected_B, found_B)
    smoothed = [counts_B + _SMOOTHING for counts_B in (expected_B, found_B)]
    shares = [counts_B / counts_B.sum() for counts_B in smoothed]
    index = float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())
    used = int(((expected_B > 0) | (found_B > 0)).sum())
    return index, (used - 1) * (1 / expected_B.sum() + 1 / found_B.sum())


def embedding_distance(expected: Profile, found: Profile) -> float:
    """Root mean square, over dimensions, of the difference of the mean embeddings in training standard deviations."""
    deviation_E = np.maximum(expected.embedding_std_E, 1e-6)
    return float(np.sqrt((((found.embedding_mean_E - expected.embedding_mean_E) / deviation_E) ** 2).mean()))


def alarm(drifted: Sequence[bool], rule: AlarmRule) -> bool:
    """Whether drifted batches are an alarm.

    Args:
        drifted: whether each judged batch drifted, the oldest first.
        rule: number of drifted batches among the latest ones that raises the alarm.
    """
    return bool(drifted) and drifted[-1] and sum(drifted[-rule.window :]) >= rule.raised_by


def _joined(
    expected_B: NDArray[np.integer], found_B: NDArray[np.integer]
) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Merge neighbouring bins until each holds `_SMALLEST_BIN` of the reference; the rest goes to the last bin."""
    smallest, starts, held = _SMALLEST_BIN * expected_B.sum(), [0], 0
    for index, cells in enumerate(expected_B[:-1]):
        held += int(cells)
        if held >= smallest and expected_B[index + 1 :].sum() >= smallest:
            starts.append(index + 1)
            held = 0
    return np.add.reduceat(expected_B, starts), np.add.reduceat(found_B, starts)
