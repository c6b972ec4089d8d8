"""A profile of cells: what they look like to a model, in figures of a fixed size, to hold batches against training.

Needs numpy alone. Made in the same way of training cells, for the bundle, and of every batch that is labelled.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LIBRARY_EDGES = np.linspace(0.0, 7.0, 141)
"""Bins of log10 of the library size, a twentieth of a decade wide."""
CONFIDENCE_EDGES = np.linspace(0.0, 1.0, 21)
_DIGITS = 5


@dataclass(frozen=True)
class Profile:
    """G: genes of the vocabulary, E: embedding. A gene that was not measured is NaN."""

    cells: int
    detection_G: NDArray[np.float64]
    """Share of cells that express the gene."""
    expression_G: NDArray[np.float64]
    """Mean log1p of counts per 10,000."""
    library_size_B: NDArray[np.int64]
    """Cells by log10 of their library size, in the bins of LIBRARY_EDGES."""
    confidence_B: NDArray[np.int64]
    """Cells by confidence, in the bins of CONFIDENCE_EDGES."""
    labels: dict[str, int]
    """Cells by label, without the rejected."""
    rejected: int
    """Cells without a label."""
    embedding_mean_E: NDArray[np.float64]
    embedding_std_E: NDArray[np.float64]

    def to_json(self) -> dict[str, Any]:
        """As JSON holds it; NaN becomes null."""
        return {
            "cells": self.cells,
            "detection": _listed(self.detection_G),
            "expression": _listed(self.expression_G),
            "library_size": self.library_size_B.tolist(),
            "confidence": self.confidence_B.tolist(),
            "labels": self.labels,
            "rejected": self.rejected,
            "embedding_mean": _listed(self.embedding_mean_E),
            "embedding_std": _listed(self.embedding_std_E),
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Profile":
        """The inverse of `to_json`.

        Raises:
            KeyError, TypeError, ValueError: it is no profile.
        """
        return cls(
            cells=int(content["cells"]),
            detection_G=_array(content["detection"]),
            expression_G=_array(content["expression"]),
            library_size_B=np.asarray(content["library_size"], dtype=np.int64),
            confidence_B=np.asarray(content["confidence"], dtype=np.int64),
            labels={str(name): int(cells) for name, cells in content["labels"].items()},
            rejected=int(content["rejected"]),
            embedding_mean_E=_array(content["embedding_mean"]),
            embedding_std_E=_array(content["embedding_std"]),
        )


def library_size_bins(library_size_N: NDArray[np.floating]) -> NDArray[np.int64]:
    """Cells in each bin of LIBRARY_EDGES; what lies outside counts in the first or last."""
    log_N = np.log10(np.maximum(library_size_N.astype(np.float64), 1.0))
    return np.histogram(np.clip(log_N, LIBRARY_EDGES[0], LIBRARY_EDGES[-1]), LIBRARY_EDGES)[0].astype(np.int64)


def confidence_bins(confidence_N: NDArray[np.floating]) -> NDArray[np.int64]:
    """Cells in each bin of CONFIDENCE_EDGES."""
    return np.histogram(np.clip(confidence_N, 0.0, 1.0), CONFIDENCE_EDGES)[0].astype(np.int64)


def _listed(values: NDArray[np.float64]) -> list[float | None]:
    return [None if np.isnan(value) else round(float(value), _DIGITS) for value in values]


def _array(values: list[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
