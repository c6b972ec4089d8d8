"""The regulators of a model: how active they are in the training cells, and how far training moved them."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from sctransformer._constants import BEATS_SHUFFLES, TYPE_DONORS, TYPE_MEAN, TYPE_STD
from sctransformer.data.arrays import CellArrays, CellSource
from sctransformer.evaluation.profile import MAX_TYPE_CELLS
from sctransformer.model import ActivityTransformer
from sctransformer.model.edge_attention import EdgeAttention

MAX_CELLS = 4096
"""Training cells from which the statistics come, evenly spaced."""
_DONOR_CELLS = 20
"""Donors with fewer of these cells are left out of the spread between donors."""
_FEWEST_DONORS = 3
"""Number of donors from which on their spread is known."""
_BATCH = 256


@torch.no_grad()
def regulator_table(model: ActivityTransformer, cells: CellSource) -> pd.DataFrame:
    """One row per regulator; see `sctransformer.export.bundle.Bundle.regulators`.

    The signed mean is the activity before training: the sum of the targets' standardised expression, relative to the
    mean of the cell, weighted by sign and confidence of the edges, as decoupler's univariate linear model
    (Badia-i-Mompel et al. 2022, Bioinformatics Advances 2:vbac016) ranks cells.

    Args:
        model: the trained model.
        cells: training cells.
    """
    rows_N = np.unique(np.linspace(0, len(cells) - 1, min(len(cells), MAX_CELLS)).astype(int))
    parts = [_activities(model, cells, rows_N[start : start + _BATCH]) for start in range(0, len(rows_N), _BATCH)]
    trained_NR, signed_mean_NR = (np.concatenate([part[index] for part in parts]) for index in (0, 1))
    edges = model.edges
    layer = cast(EdgeAttention, model.activities[-1])
    squared_J = layer.departure_J().square().numpy()
    targets_R = np.bincount(edges.regulator_J, minlength=edges.n_regulators)
    return pd.DataFrame(
        {
            "regulator": edges.regulators,
            "targets": np.bincount(edges.regulator_J[edges.weight_J != 0], minlength=edges.n_regulators),
            "mean": trained_NR.mean(axis=0, dtype=np.float64),
            "std": trained_NR.std(axis=0, dtype=np.float64),
            "departure": np.sqrt(
                np.bincount(edges.regulator_J, squared_J, minlength=edges.n_regulators) / np.maximum(targets_R, 1)
            ),
            "agreement": correlation(trained_NR, signed_mean_NR),
        }
    )


@torch.no_grad()
def type_statistics(
    model: ActivityTransformer,
    cells: CellArrays,
    class_names: Sequence[str],
    donor_N: NDArray[np.object_] | None = None,
) -> pd.DataFrame:
    """Activities in the training cells of each type, a row per regulator.

    Args:
        model: the trained model.
        cells: labelled training cells.
        class_names: the cell types; the values of a type without cells are NaN.
        donor_N: donor of each cell; None if unknown.

    Returns:
        Columns `mean:<type>`, `std:<type>` and, if donors are known, `donors:<type>`, see `spread_of_means`.
    """
    columns = {}
    for label, name in enumerate(class_names):
        own_N = np.flatnonzero(cells.labels_N == label)
        rows_N = own_N[np.unique(np.linspace(0, len(own_N) - 1, min(len(own_N), MAX_TYPE_CELLS)).astype(int))]
        parts = [
            _activities(model, cells, rows_N[start : start + _BATCH])[0] for start in range(0, len(rows_N), _BATCH)
        ]
        activity_NR = np.concatenate(parts) if parts else np.full((1, model.edges.n_regulators), np.nan)
        columns[TYPE_MEAN + name] = activity_NR.mean(axis=0, dtype=np.float64)
        columns[TYPE_STD + name] = activity_NR.std(axis=0, dtype=np.float64)
        if donor_N is not None:
            columns[TYPE_DONORS + name] = spread_of_means(activity_NR, donor_N[rows_N])
    return pd.DataFrame(columns)


def spread_of_means(activity_NR: NDArray[np.floating], donor_N: NDArray[np.object_]) -> NDArray[np.float64]:
    """Standard deviation of the donors' mean activities, without what the number of cells explains.

    Args:
        activity_NR: activities of cells of one type.
        donor_N: donor of each cell.

    Returns:
        A value per regulator; NaN if fewer than three donors have 20 cells.
    """
    donors, cells = np.unique(donor_N.astype(str), return_counts=True)
    large = [donor for donor, number in zip(donors.tolist(), cells.tolist(), strict=True) if number >= _DONOR_CELLS]
    if len(large) < _FEWEST_DONORS:
        return np.full(activity_NR.shape[1], np.nan)
    own = [activity_NR[donor_N.astype(str) == donor].astype(np.float64) for donor in large]
    chance_R = np.mean([values_NR.var(axis=0, ddof=1) / len(values_NR) for values_NR in own], axis=0)
    found_R = np.var([values_NR.mean(axis=0) for values_NR in own], axis=0, ddof=1)
    return np.asarray(np.sqrt(np.maximum(found_R - chance_R, 0.0)))


@torch.no_grad()
def top_regulators(
    model: ActivityTransformer,
    cells: CellArrays,
    class_names: Sequence[str],
    evidence_R: pd.Series | None = None,
    count: int = 5,
) -> dict[str, list[dict[str, Any]]]:
    """The regulators whose activity is highest in each class, compared with all other cells.

    Args:
        model: the trained model.
        cells: labelled training cells.
        class_names: the cell types.
        evidence_R: evidence of each regulator, see `prior_score.Scorecard`; regulators that do not beat shuffled
            networks are left out. None: all count.
        count: number of regulators per class.

    Returns:
        By class, a list of `regulator` and `difference`: of the mean activities, in standard deviations of all cells,
        above 0. A class without cells has none.
    """
    rows_N = np.arange(len(cells))
    parts = [_activities(model, cells, rows_N[start : start + _BATCH])[0] for start in range(0, len(rows_N), _BATCH)]
    activity_NR = np.concatenate(parts).astype(np.float64)
    std_R = activity_NR.std(axis=0)
    found = {}
    for label, name in enumerate(class_names):
        inside_N = cells.labels_N == label
        if not 0 < inside_N.sum() < len(cells):
            continue
        change_R = activity_NR[inside_N].mean(axis=0) - activity_NR[~inside_N].mean(axis=0)
        change_R = np.divide(change_R, std_R, out=np.zeros_like(change_R), where=std_R > 0)
        if evidence_R is not None:
            change_R[~(evidence_R.to_numpy() >= BEATS_SHUFFLES)] = -np.inf
        best = [index for index in np.argsort(-change_R, kind="stable")[:count] if change_R[index] > 0]
        found[name] = [
            {"regulator": model.edges.regulators[index], "difference": round(float(change_R[index]), 3)}
            for index in best
        ]
    return found


def correlation(first_NR: NDArray[np.floating], second_NR: NDArray[np.floating]) -> NDArray[np.float64]:
    """Pearson correlation of each column; NaN for a constant column."""
    first, second = (values - values.mean(axis=0, dtype=np.float64) for values in (first_NR, second_NR))
    norm_R = np.sqrt((first**2).sum(axis=0) * (second**2).sum(axis=0))
    products_R: NDArray[np.float64] = (first * second).sum(axis=0)
    return np.divide(products_R, norm_R, out=np.full_like(products_R, np.nan), where=norm_R > 0)


def _activities(
    model: ActivityTransformer, cells: CellSource, rows_N: NDArray[np.integer]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Activities after training, and signed means of the targets, cells x regulators."""
    batch = cells.take(rows_N)
    z_NG = model.tokens.standardised(torch.from_numpy(batch.counts_NG), torch.from_numpy(batch.library_size_N))
    return model.activity(z_NG).T.numpy(), _signed_mean(model, z_NG)


def _signed_mean(model: ActivityTransformer, z_NG: Tensor) -> NDArray[np.float32]:
    """Signed mean of the targets of each regulator, cells x regulators."""
    edges = model.edges
    shape = (edges.n_regulators, edges.n_genes)
    weight_RG = sparse.csr_matrix((edges.weight_J, (edges.regulator_J, edges.target_J)), shape=shape)
    signed_mean_NR: NDArray[np.float32] = (weight_RG @ model.relative(z_NG).numpy()).T
    return signed_mean_NR
