"""Plots of a model card as HTML: confusion matrix, embedding of the test cells, regulators by cell type."""

import base64
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from sctransformer import layout
from sctransformer.reports.matrices import confusion_matrix, regulator_heatmap
from sctransformer.reports.regulons import regulators_in


def card_plots(labels: list[str], regulators: pd.DataFrame | None) -> list[tuple[str, Markup]]:
    """Captions and plots, from the files of the evaluation.

    Args:
        labels: names of the cell types.
        regulators: see `Bundle.regulators`.
    """
    predictions = pd.read_csv(layout.PREDICTIONS, dtype=str, keep_default_na=False)
    plots = [
        ("Test cells by true type (row) and predicted type (column), before rejection.", confusion_matrix(predictions)),
        ("Embedding of the test cells (t-SNE), by true type.", _picture(layout.EMBEDDING_PLOT)),
    ]
    if regulators is not None:
        caption = (
            "Mean activity of regulators in the training cells of each type, in standard deviations: red is high, blue "
            "is low."
        )
        if "evidence" in regulators:
            caption += " Hatched regulators do not beat networks that were rewired at random."
        plots.append((caption, regulator_heatmap(regulators_in(regulators, labels, ""))))
    return plots


def _picture(path: Path) -> Markup:
    content = base64.b64encode(path.read_bytes()).decode("ascii")
    return Markup(f'<img alt="" src="data:image/png;base64,{content}">')
