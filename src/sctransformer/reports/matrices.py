"""Matrices of a report and of a model card: regulators by cell type, true and predicted types."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from markupsafe import Markup

from sctransformer import charts
from sctransformer.reports.content import Regulators
from sctransformer.reports.packing import beats, clean, preferred

MOST_COLUMNS = 48
"""Regulators in the heatmap."""
_LIMIT = 2.0
"""Standard deviations from which on the colour does not change."""


def heatmap_columns(regulators: Regulators) -> list[int]:
    """The regulators of the heatmap: those that beat rewired networks first, each part ordered by the type in which
    the mean is highest, so that types with their own regulators form blocks.
    """
    chosen = preferred(regulators)[:MOST_COLUMNS]
    mean_CR = np.where(np.isfinite(regulators.mean_CR), regulators.mean_CR, -np.inf)
    best_R, high_R = mean_CR.argmax(axis=0), mean_CR.max(axis=0)
    is_strong = beats(regulators)
    return sorted(chosen.tolist(), key=lambda r: (not is_strong[r], best_R[r], -high_R[r]))


def regulator_heatmap(regulators: Regulators, links: Sequence[str] | None = None) -> Markup:
    """Mean activity of each cell type; regulators that do not beat rewired networks are hatched and last.

    Args:
        regulators: with means.
        links: where each column of `heatmap_columns` leads.
    """
    columns, is_strong = heatmap_columns(regulators), beats(regulators)
    return charts.heatmap(
        [clean(name) for name in regulators.types],
        [clean(regulators.names[r]) for r in columns],
        regulators.mean_CR[:, columns],
        limit=_LIMIT,
        hatched=[not is_strong[r] for r in columns],
        links=links,
    )


def confusion_matrix(predictions: pd.DataFrame) -> Markup:
    """Number of test cells by true and predicted type.

    Args:
        predictions: columns cell_type and predicted.
    """
    names = sorted({*predictions["cell_type"], *predictions["predicted"]})
    table = pd.crosstab(predictions["cell_type"], predictions["predicted"])
    counts_CC = table.reindex(index=names, columns=names, fill_value=0).to_numpy()
    return charts.confusion([clean(name) for name in names], counts_CC)
