"""Statistics of the training cells, stored in the bundle, with which later batches are compared."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from sctransformer._constants import OBS
from sctransformer.data.arrays import CellArrays
from sctransformer.data.normalise import log1p_cp10k
from sctransformer.evaluation.profile import Profile, confidence_bins, library_size_bins, listed

_SMALLEST_GROUP = 30
"""Donors with fewer cells are left out of the spread between donors."""
_FEWEST_GROUPS = 3
"""Number of donors from which on their spread is stored."""
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


def reference_statistics(training: CellArrays, cells: AnnData) -> dict[str, Any]:
    """Number of training cells, quantiles of library size, share of each label, share of cells that express each gene.

    Args:
        training: the training cells as arrays; genes are in the order of the vocabulary.
        cells: the same cells, for their labels.
    """
    shares = cells.obs[OBS.cell_type].value_counts(normalize=True)
    return {
        "cells": len(training),
        "library_size_quantiles": dict(
            zip(map(str, QUANTILES), np.quantile(training.library_size_N, QUANTILES).tolist(), strict=True)
        ),
        "label_shares": {str(name): float(share) for name, share in shares.sort_index().items()},
        "detection": [round(float(share), 6) for share in (training.counts_NG > 0).mean(axis=0)],
    }


def reference_profile(
    training: CellArrays,
    embedding_NE: NDArray[np.floating],
    names: Sequence[str],
    validation_confidence_N: NDArray[np.floating],
    threshold: float,
    is_novel_N: NDArray[np.bool_] | None = None,
    donor_N: NDArray[np.object_] | None = None,
) -> dict[str, Any]:
    """Profile of the training cells. Confidences are those of validation cells: on training cells a model is too sure.

    Args:
        training: the training cells.
        embedding_NE: their embedding.
        names: class names.
        validation_confidence_N: calibrated confidence of each validation cell.
        threshold: confidence below which a cell is rejected.
        is_novel_N: validation cells that are rejected because of their novelty; None: no cell.
        donor_N: donor of each training cell; None if unknown.

    Returns:
        A JSON object, see `Profile.to_json`, with `judged_cells`, the number of validation cells; `rejected` is the
        number of rejected validation cells. `expression_by_label` is the mean expression by cell type, in the order of
        the genes, and `expression_between_donors` the spread between donors, see `spread_between_donors`.
    """
    expression_NG = log1p_cp10k(training.counts_NG, training.library_size_N)
    by_label_CG = np.array([_mean(expression_NG[training.labels_N == index]) for index in range(len(names))])
    labels_C = np.bincount(training.labels_N, minlength=len(names))
    rejected_N = validation_confidence_N < threshold
    if is_novel_N is not None:
        rejected_N |= is_novel_N
    profile = Profile(
        cells=len(training),
        detection_G=(training.counts_NG > 0).mean(axis=0),
        expression_G=_mean(expression_NG),
        library_size_B=library_size_bins(training.library_size_N),
        confidence_B=confidence_bins(validation_confidence_N),
        labels=dict(zip(names, labels_C.tolist(), strict=True)),
        rejected=int(rejected_N.sum()),
        embedding_mean_E=embedding_NE.mean(axis=0, dtype=np.float64),
        embedding_std_E=embedding_NE.std(axis=0, dtype=np.float64),
    )
    content = {**profile.to_json(), "judged_cells": len(validation_confidence_N)}
    content["expression_by_label"] = {
        name: listed(values_G) for name, values_G, cells in zip(names, by_label_CG, labels_C, strict=True) if cells
    }
    between_G = (
        None if donor_N is None else spread_between_donors(expression_NG, training.labels_N, by_label_CG, donor_N)
    )
    if between_G is not None:
        content["expression_between_donors"] = listed(between_G)
    return content


def spread_between_donors(
    expression_NG: NDArray[np.floating],
    labels_N: NDArray[np.integer],
    by_label_CG: NDArray[np.float64],
    donor_N: NDArray[np.object_],
) -> NDArray[np.float64] | None:
    """Spread of each gene's mean expression between donors, beyond what their cell types explain.

    It is the root mean square, over donors, of the difference between a donor's mean expression and the mean that its
    cell types give.

    Args:
        expression_NG: log1p of counts per 10,000.
        labels_N: cell type of each cell.
        by_label_CG: mean expression by cell type.
        donor_N: donor of each cell.

    Returns:
        None if fewer than three donors have 30 cells.
    """
    differences = []
    for donor in sorted(set(donor_N.tolist())):
        own_N = donor_N == donor
        if own_N.sum() >= _SMALLEST_GROUP:
            differences.append(_mean(expression_NG[own_N]) - by_label_CG[labels_N[own_N]].mean(axis=0))
    return np.sqrt(np.square(differences).mean(axis=0)) if len(differences) >= _FEWEST_GROUPS else None


def _mean(expression_NG: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean of each gene; NaN without cells."""
    if not len(expression_NG):
        return np.full(expression_NG.shape[1], np.nan)
    return np.asarray(expression_NG.mean(axis=0, dtype=np.float64))
