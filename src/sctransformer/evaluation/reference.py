"""Statistics of the training cells that a bundle carries, against which later batches can be held."""

from typing import Any

import numpy as np
from anndata import AnnData

from sctransformer._constants import OBS
from sctransformer.data.arrays import CellArrays

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
