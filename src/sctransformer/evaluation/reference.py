"""Statistics of the training cells that a bundle carries, against which later batches can be held."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from sctransformer._constants import OBS
from sctransformer.data.arrays import CellArrays
from sctransformer.data.normalise import log1p_cp10k
from sctransformer.evaluation.profile import Profile, confidence_bins, library_size_bins

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


def reference_statistics(training: CellArrays, cells: AnnData) -> dict[str, Any]:
    """Of the training cells: their number, quantiles of library size, share of each label, share of cells that express
    each gene (in vocabulary order).
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
    confidence_M: NDArray[np.floating],
    threshold: float,
) -> dict[str, Any]:
    """The profile of the training cells, with confidences of validation cells: of those it learned a model is too sure.

    Args:
        training: N cells.
        embedding_NE: of the training cells.
        names: of the classes.
        confidence_M: calibrated, of M validation cells.
        threshold: under which those are rejected.

    Returns:
        JSON, see `Profile.to_json`; `judged_cells` is M, and `rejected` counts among those.
    """
    labels_C = np.bincount(training.labels_N, minlength=len(names))
    profile = Profile(
        cells=len(training),
        detection_G=(training.counts_NG > 0).mean(axis=0),
        expression_G=log1p_cp10k(training.counts_NG, training.library_size_N).mean(axis=0, dtype=np.float64),
        library_size_B=library_size_bins(training.library_size_N),
        confidence_B=confidence_bins(confidence_M),
        labels=dict(zip(names, labels_C.tolist(), strict=True)),
        rejected=int((confidence_M < threshold).sum()),
        embedding_mean_E=embedding_NE.mean(axis=0, dtype=np.float64),
        embedding_std_E=embedding_NE.std(axis=0, dtype=np.float64),
    )
    return {**profile.to_json(), "judged_cells": len(confidence_M)}
