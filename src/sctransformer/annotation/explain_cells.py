"""What the labels of single cells rest on: genes for and against, activities, and the regulators that stand out."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from sctransformer._constants import UNKNOWN_LABEL
from sctransformer.annotation.explain import TOP, near_names, require_top
from sctransformer.annotation.label_weights import LabelWeights, read_label_weights
from sctransformer.annotation.labelling import ACCEPTED, REASONS, UNKNOWN, Calls, Labeller, call_cells
from sctransformer.annotation.limits import Limits
from sctransformer.annotation.reading import CheckedCells, Chunk
from sctransformer.annotation.regulators import Regulators
from sctransformer.annotation.session import Scores
from sctransformer.data.normalise import log1p_cp10k
from sctransformer.errors import UserError
from sctransformer.export.bundle import Bundle

_CHUNK_CELLS = 512
"""Cells read at a time."""


class CellExplanation(NamedTuple):
    """What the labels of cells rest on, as three tables; see `explain_cells`."""

    summary: pd.DataFrame
    """One row per cell, under its name: label, unknown_reason, most_likely, confidence, runner_up,
    runner_up_confidence, novelty, log_odds (of the most likely cell type against the runner-up), and its parts: genes,
    activities, baseline."""
    genes: pd.DataFrame
    """The genes with the largest contributions for (positive) and against (negative) the label: cell, gene,
    contribution, expression and mean (log1p of counts per 10,000 in the cell, and in the training cells)."""
    regulators: pd.DataFrame
    """The regulators that an annotation names for the cell: cell, regulator, activity (in standard deviations of the
    training cells), contribution."""


class Contributions(NamedTuple):
    """What the log odds of one cell type against another are the sum of. N: cells, G: genes, R: regulators."""

    gene_NG: NDArray[np.float64]
    activity_NR: NDArray[np.float64]
    """Relative to the mean activity of the training cells."""
    baseline_N: NDArray[np.float64]
    """Log odds of a cell with the mean expression and the mean activities of the training cells."""

    @property
    def log_odds_N(self) -> NDArray[np.float64]:
        """The sum of all parts."""
        return np.asarray(self.gene_NG.sum(axis=1) + self.activity_NR.sum(axis=1) + self.baseline_N)


def contributions(
    weights: LabelWeights,
    centred_NG: NDArray[np.floating],
    activity_NR: NDArray[np.floating],
    mean_R: NDArray[np.floating],
    pairs_N2: NDArray[np.integer],
) -> Contributions:
    """Split the log odds of one cell type against another, in each cell, into contributions; exact.

    Args:
        weights: the label map.
        centred_NG: log1p of counts per 10,000, minus the mean of the training cells.
        activity_NR: activities; NaN (too few measured targets) counts as 0, as in the ONNX graph.
        mean_R: mean activity of the training cells.
        pairs_N2: positions of the two cell types, cells x 2.
    """
    one_N, other_N = pairs_N2.T
    weight_NG = (weights.gene_GC[:, one_N] - weights.gene_GC[:, other_N]).T
    weight_NR = (weights.activity_RC[:, one_N] - weights.activity_RC[:, other_N]).T
    return Contributions(
        weight_NG * centred_NG,
        weight_NR * (np.nan_to_num(activity_NR) - mean_R),
        weights.bias_C[one_N] - weights.bias_C[other_N] + weight_NR @ mean_R,
    )


def explain_cells(
    bundle: Bundle, read: CheckedCells, labeller: Labeller, limits: Limits, names: Sequence[str], top: int = TOP
) -> CellExplanation:
    """Explain the labels of some cells: what the log odds of the label against the runner-up are the sum of.

    The contribution of a gene is the difference between its weights for the two cell types, times its log expression
    minus the mean of the training cells. Labels are linear in genes and activities, so contributions are exact: genes,
    activities and the baseline add up to log(confidence / runner_up_confidence). For an unknown cell the label is the
    most likely cell type. Regulators are those that `sctransformer.annotate` names in `top_regulators`.

    Args:
        bundle: the model, verified.
        read: the cells.
        labeller: for their genes.
        limits: beyond which a cell is unknown.
        names: names of the cells to explain.
        top: number of genes for, and against, each label.

    Raises:
        UserError: the labels are not linear in expression, there is no such cell, or several cells have the name.
    """
    require_top(top)
    weights = read_label_weights(bundle)
    names = list(dict.fromkeys(map(str, names)))
    chunk = read_rows(read, rows_of(read, names))
    scores = labeller.scores(chunk.counts_NG, chunk.library_size_N)
    calls = called(scores, chunk, limits)
    expression_NG = log1p_cp10k(labeller.filled(chunk.counts_NG, chunk.library_size_N), chunk.library_size_N)
    activity_NR, mean_R = _activities(weights, scores, labeller.regulators)
    pairs_N2 = np.stack([calls.best_N, calls.second_N], axis=1)
    parts = contributions(weights, expression_NG - weights.mean_G, activity_NR, mean_R, pairs_N2)
    genes = [
        _gene_table(name, np.array(bundle.genes, dtype=object), parts.gene_NG[row], expression_NG[row], weights, top)
        for row, name in enumerate(names)
    ]
    return CellExplanation(
        _summary(names, bundle.labels["name"].tolist(), calls, parts),
        pd.concat(genes, ignore_index=True),
        _regulator_table(names, labeller.regulators, scores, calls, parts),
    )


def called(scores: Scores, chunk: Chunk, limits: Limits) -> Calls:
    """The labels of cells, from what the graph computed for them."""
    return call_cells(scores.probabilities_NC, np.diff(chunk.counts_NG.indptr) > 0, scores.novelty_N, limits)


def rows_of(read: CheckedCells, names: Sequence[str]) -> NDArray[np.int64]:
    """Positions of cells.

    Raises:
        UserError: there is no such cell, or several cells have the name.
    """
    index = pd.Index(read.cells.obs.index.astype(str))
    rows = []
    for name in names:
        found = np.flatnonzero(index == name)
        if not len(found):
            near = near_names(name, index.tolist())
            hint = f"did you mean {' or '.join(near)}?" if near else f"the first cell is {index[0]}."
            raise UserError(f"{read.source}: has no cell {name!r}; {hint}")
        if len(found) > 1:
            raise UserError(
                f"{read.source}: {len(found):,} cells have the name {name!r}; make the names of cells unique."
            )
        rows.append(int(found[0]))
    return np.array(rows, dtype=np.int64)


def read_rows(read: CheckedCells, rows_N: NDArray[np.integer]) -> Chunk:
    """Read some cells, in the given order; only chunks that hold one of them are read.

    Args:
        read: the cells.
        rows_N: positions, each once and at least one.
    """
    order_N = np.argsort(rows_N)
    sorted_N = rows_N[order_N]
    starts = np.unique(rows_N // _CHUNK_CELLS * _CHUNK_CELLS).tolist()
    counts, sizes = [], []
    for start, chunk in zip(starts, read.chunks(_CHUNK_CELLS, starts), strict=True):
        own = sorted_N[(sorted_N >= start) & (sorted_N < start + _CHUNK_CELLS)] - start
        counts.append(chunk.counts_NG[own])
        sizes.append(chunk.library_size_N[own])
    back_N = np.argsort(order_N)
    return Chunk(sparse.vstack(counts, format="csr")[back_N], np.concatenate(sizes)[back_N], None)


def _activities(
    weights: LabelWeights, scores: Scores, regulators: Regulators | None
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Activities of the cells, and their mean in the training cells; no columns for a model without activities."""
    if scores.activity_NR is None or regulators is None:
        n_regulators = len(weights.activity_RC)
        return np.zeros((len(scores.novelty_N), n_regulators)), np.zeros(n_regulators)
    return scores.activity_NR.astype(np.float64), regulators.mean_R.astype(np.float64)


def _summary(names: Sequence[str], labels: Sequence[str], calls: Calls, parts: Contributions) -> pd.DataFrame:
    label_of = [*labels, UNKNOWN_LABEL]  # UNKNOWN, -1, selects the last
    assert UNKNOWN == -1
    values = {
        "label": [label_of[label] for label in calls.label_N],
        "unknown_reason": [None if reason == ACCEPTED else REASONS[reason] for reason in calls.reason_N],
        "most_likely": [label_of[label] for label in calls.best_N],
        "confidence": calls.confidence_N,
        "runner_up": [label_of[label] for label in calls.second_N],
        "runner_up_confidence": calls.second_confidence_N,
        "novelty": calls.novelty_N,
        "log_odds": parts.log_odds_N,
        "genes": parts.gene_NG.sum(axis=1),
        "activities": parts.activity_NR.sum(axis=1),
        "baseline": parts.baseline_N,
    }
    return pd.DataFrame(values, index=pd.Index(names, name="cell"))


def _gene_table(
    name: str,
    genes: NDArray[np.object_],
    contribution_G: NDArray[np.float64],
    expression_G: NDArray[np.floating],
    weights: LabelWeights,
    top: int,
) -> pd.DataFrame:
    """The genes for, then those against the label of one cell, each with the largest first."""
    order = np.argsort(-contribution_G, kind="stable")
    in_favour, against = order[:top], order[::-1][:top]
    order = np.concatenate([in_favour[contribution_G[in_favour] > 0], against[contribution_G[against] < 0]])
    return pd.DataFrame(
        {
            "cell": name,
            "gene": genes[order],
            "contribution": contribution_G[order],
            "expression": expression_G[order],
            "mean": weights.mean_G[order],
        }
    )


def _regulator_table(
    names: Sequence[str], regulators: Regulators | None, scores: Scores, calls: Calls, parts: Contributions
) -> pd.DataFrame:
    """The regulators that stand out in each cell; no rows for a model without activities."""
    rows: list[tuple[str, str, float, float]] = []
    if regulators is not None and scores.activity_NR is not None:
        z_NR = regulators.standardised(scores.activity_NR)
        typical_N3, alone_N3 = regulators.top(z_NR, calls.best_N)
        top_N3 = np.where(calls.label_N[:, None] == UNKNOWN, alone_N3, typical_N3)
        rows = [
            (name, regulators.names[one], float(z_NR[row, one]), float(parts.activity_NR[row, one]))
            for row, name in enumerate(names)
            for one in (abs(place) - 1 for place in top_N3[row] if place)
        ]
    return pd.DataFrame(rows, columns=["cell", "regulator", "activity", "contribution"])
