"""How far a batch is from the training cells, and the rule that turns drifted batches into an alarm."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sctransformer.evaluation.profile import Profile

_SMALLEST_BIN = 0.1
"""Bins are joined until each holds at least this share of the reference."""
_SMOOTHING = 0.5
"""Added to every bin: a bin that a small batch leaves empty would otherwise outweigh all others."""


@dataclass(frozen=True)
class Limits:
    """What is still like the training cells."""

    psi: float = 0.25
    """Largest population stability index, beyond what chance makes of a batch of its size."""
    detection: float = 0.1
    """Largest mean difference of the share of cells that express a gene."""
    rejected: float = 0.2
    """Largest excess of the share of rejected cells over that of validation cells."""
    embedding: float = 0.4
    """Largest distance of the mean embedding, in standard deviations of the training cells."""
    min_cells: int = 50
    """A smaller batch is not judged."""


@dataclass(frozen=True)
class Verdict:
    """What the watch says of a batch."""

    judged: bool
    figures: dict[str, float]
    """Each figure that was compared; empty where nothing was judged."""
    limits: dict[str, float]
    """What each figure may be."""
    why_not: str = ""
    """Why nothing was judged."""

    @property
    def exceeded(self) -> list[str]:
        """Figures over their limit."""
        return [name for name, value in self.figures.items() if value > self.limits[name]]

    @property
    def drifted(self) -> bool:
        """Whether any figure is over its limit."""
        return bool(self.exceeded)

    def sentence(self) -> str:
        """One line for people."""
        if not self.judged:
            return f"not judged: {self.why_not}"
        found = [f"{name} {self.figures[name]:.2f} (limit {self.limits[name]:.2f})" for name in self.exceeded]
        return "drifted: " + ", ".join(found) if found else "like the training cells"


def judge(reference: dict[str, Any], batch: dict[str, Any], limits: Limits) -> Verdict:
    """Hold a batch against the training cells.

    Args:
        reference: content of the bundle's reference.json.
        batch: JSON of the batch's profile.
        limits: what is still well.
    """
    try:
        expected, found = Profile.from_json(reference["profile"]), Profile.from_json(batch)
        judged_cells = int(reference["profile"]["judged_cells"])
    except (KeyError, TypeError, ValueError):
        return Verdict(False, {}, {}, "the bundle carries no profile of its training cells; export it again")
    if found.cells < limits.min_cells:
        return Verdict(False, {}, {}, f"{found.cells} cells are too few (drift.min_cells is {limits.min_cells})")
    names = sorted(set(expected.labels) | set(found.labels))
    pairs = {
        "library_size": (expected.library_size_B, found.library_size_B),
        "confidence": (expected.confidence_B, found.confidence_B),
        "labels": tuple(np.array([one.labels.get(name, 0) for name in names]) for one in (expected, found)),
    }
    figures, allowed = {}, {}
    for name, (expected_B, found_B) in pairs.items():
        if found_B.sum() == 0:  # no cell got a label: the share of rejected cells says so
            continue
        value, noise = stability_index(expected_B, found_B, ordered=name != "labels")
        figures[f"psi_{name}"], allowed[f"psi_{name}"] = value, limits.psi + noise
    difference_G = np.abs(found.detection_G - expected.detection_G)
    if not np.isnan(difference_G).all():
        figures["detection"], allowed["detection"] = float(np.nanmean(difference_G)), limits.detection
    usual = expected.rejected / max(judged_cells, 1)
    figures["rejected"], allowed["rejected"] = found.rejected / found.cells, usual + limits.rejected
    figures["embedding"], allowed["embedding"] = embedding_distance(expected, found), limits.embedding
    return Verdict(True, figures, allowed)


def stability_index(
    expected_B: NDArray[np.integer], found_B: NDArray[np.integer], ordered: bool = True
) -> tuple[float, float]:
    """The population stability index of two counts over the same bins, and what chance alone makes of it.

    Sum over bins of (found - expected) * log(found / expected), in shares; under 0.1 little, over 0.25 much changed. Of
    two samples of the same cells it is about (bins - 1) * (1 / cells + 1 / cells) (Yurdakul 2018, "Statistical
    Properties of Population Stability Index", Western Michigan University), which for a small batch is a lot.

    Args:
        expected_B, found_B: cells by bin.
        ordered: whether neighbouring bins may be joined, so that each holds some cells of the reference.

    Returns:
        The index, and its value by chance.
    """
    if ordered:
        expected_B, found_B = _joined(expected_B, found_B)
    smoothed = [counts_B + _SMOOTHING for counts_B in (expected_B, found_B)]
    shares = [counts_B / counts_B.sum() for counts_B in smoothed]
    index = float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())
    used = int(((expected_B > 0) | (found_B > 0)).sum())
    return index, (used - 1) * (1 / expected_B.sum() + 1 / found_B.sum())


def embedding_distance(expected: Profile, found: Profile) -> float:
    """Distance of the mean embeddings: root mean square over dimensions, each in the training cells' deviations."""
    deviation_E = np.maximum(expected.embedding_std_E, 1e-6)
    return float(np.sqrt((((found.embedding_mean_E - expected.embedding_mean_E) / deviation_E) ** 2).mean()))


def alarm(drifted: Sequence[bool], window: int, raised_by: int) -> bool:
    """Whether drift is an alarm: `raised_by` of the last `window` batches drifted, and the last is one of them.

    Args:
        drifted: of every batch that was judged, the oldest first.
    """
    return bool(drifted) and drifted[-1] and sum(drifted[-window:]) >= raised_by


def _joined(
    expected_B: NDArray[np.integer], found_B: NDArray[np.integer]
) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Neighbouring bins put together until each holds a share of the reference; the rest goes to the last."""
    smallest, starts, held = _SMALLEST_BIN * expected_B.sum(), [0], 0
    for index, cells in enumerate(expected_B[:-1]):
        held += int(cells)
        if held >= smallest and expected_B[index + 1 :].sum() >= smallest:
            starts.append(index + 1)
            held = 0
    return np.add.reduceat(expected_B, starts), np.add.reduceat(found_B, starts)
