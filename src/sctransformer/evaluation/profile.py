"""A profile of cells: summary statistics of fixed size, used to compare annotated batches with the training cells.

The bundle holds the profile of the training cells, and every annotation writes the profile of its cells. Needs numpy
only.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

LIBRARY_EDGES = np.linspace(0.0, 7.0, 141)
"""Bin edges of log10(library size), 0.05 apart."""
CONFIDENCE_EDGES = np.linspace(0.0, 1.0, 21)
"""Bin edges of the confidence."""
SMALLEST_LABEL = 30
"""Labels with fewer cells have no mean activities."""
MAX_TYPE_CELLS = 1024
"""Training cells of a type from which the statistics of its activities come, evenly spaced."""
_DIGITS = 5


@dataclass(frozen=True)
class Profile:
    """Summary statistics of cells. The values of a gene that was not measured are NaN."""

    cells: int
    detection_G: NDArray[np.float64]
    """Share of cells that express the gene."""
    expression_G: NDArray[np.float64]
    """Mean log1p of counts per 10,000."""
    library_size_B: NDArray[np.int64]
    """Histogram of log10(library size) with the bins of LIBRARY_EDGES."""
    confidence_B: NDArray[np.int64]
    """Histogram of the confidence with the bins of CONFIDENCE_EDGES."""
    labels: dict[str, int]
    """Number of cells by label, without rejected cells."""
    rejected: int
    """Number of rejected cells (`unknown`)."""
    embedding_mean_E: NDArray[np.float64]
    embedding_std_E: NDArray[np.float64]
    best_labels: dict[str, int] = field(default_factory=dict)
    """Number of cells by most likely label, rejected cells included; empty in profiles of earlier versions."""
    activity_by_label: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    """Mean activity of each regulator by most likely label, in standard deviations of the training cells, for labels of
    at least SMALLEST_LABEL cells; NaN for a regulator of which too few targets are measured. Empty without activities,
    and in profiles of earlier versions."""

    def to_json(self) -> dict[str, Any]:
        """A JSON object; NaN becomes null."""
        return {
            "cells": self.cells,
            "detection": listed(self.detection_G),
            "expression": listed(self.expression_G),
            "library_size": self.library_size_B.tolist(),
            "confidence": self.confidence_B.tolist(),
            "labels": self.labels,
            "rejected": self.rejected,
            "embedding_mean": listed(self.embedding_mean_E),
            "embedding_std": listed(self.embedding_std_E),
            "best_labels": self.best_labels,
            "activity_by_label": {name: listed(values_R) for name, values_R in self.activity_by_label.items()},
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Profile":
        """The inverse of `to_json`.

        Raises:
            KeyError, TypeError, ValueError: the content is not a profile.
        """
        return cls(
            cells=int(content["cells"]),
            detection_G=array(content["detection"]),
            expression_G=array(content["expression"]),
            library_size_B=np.asarray(content["library_size"], dtype=np.int64),
            confidence_B=np.asarray(content["confidence"], dtype=np.int64),
            labels=_counts(content["labels"]),
            rejected=int(content["rejected"]),
            embedding_mean_E=array(content["embedding_mean"]),
            embedding_std_E=array(content["embedding_std"]),
            best_labels=_counts(content.get("best_labels", {})),
            activity_by_label={
                str(name): array(values) for name, values in content.get("activity_by_label", {}).items()
            },
        )


def library_size_bins(library_size_N: NDArray[np.floating]) -> NDArray[np.int64]:
    """Number of cells in each bin of LIBRARY_EDGES; values outside count in the first or last bin."""
    log_N = np.log10(np.maximum(library_size_N.astype(np.float64), 1.0))
    return np.histogram(np.clip(log_N, LIBRARY_EDGES[0], LIBRARY_EDGES[-1]), LIBRARY_EDGES)[0].astype(np.int64)


def confidence_bins(confidence_N: NDArray[np.floating]) -> NDArray[np.int64]:
    """Number of cells in each bin of CONFIDENCE_EDGES."""
    return np.histogram(np.clip(confidence_N, 0.0, 1.0), CONFIDENCE_EDGES)[0].astype(np.int64)


def listed(values: NDArray[np.float64]) -> list[float | None]:
    """Rounded values for JSON; NaN becomes None."""
    return [None if np.isnan(value) else round(float(value), _DIGITS) for value in values]


def array(values: list[float | None]) -> NDArray[np.float64]:
    """The inverse of `listed`, up to rounding."""
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _counts(cells: dict[str, Any]) -> dict[str, int]:
    return {str(name): int(number) for name, number in cells.items()}
