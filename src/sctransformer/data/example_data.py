"""The example cells: 700 blood cells that are part of scanpy, with their integer counts recovered."""

import warnings

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from sctransformer._constants import OBS, TARGET_SUM
from sctransformer.data.cell_ontology import known_ids
from sctransformer.errors import UserError

ROUNDING_TOLERANCE = 0.1
"""Largest allowed distance of a recovered count from an integer (measured: 0.082)."""


def example_cells() -> AnnData:
    """`scanpy.datasets.pbmc68k_reduced()` (10x Genomics, Zheng et al. 2017; BSD-3) under the data contract.

    scanpy stores log1p of counts per 10,000 of the whole cell in `.raw`, and the total counts in
    `obs["n_counts"]`, so counts = expm1(raw) * n_counts / 10,000. The 765 genes have a fifth of the counts of a cell.

    Returns:
        700 cells x 765 genes: counts as CSR in X; `obs["library_size"]`, `obs["cell_type"]` (10 types) and their
        `obs["cell_type_ontology_term_id"]`; gene symbols.
    """
    import scanpy as sc  # slow to import, and only needed here

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scanpy and anndata warn that the file is in an old format
        source = sc.datasets.pbmc68k_reduced()
    library_size_N = source.obs["n_counts"].to_numpy(dtype=np.float64)
    recovered_NG = np.expm1(source.raw.X.toarray().astype(np.float64)) * library_size_N[:, None] / TARGET_SUM
    counts_NG = np.round(recovered_NG)
    deviation = float(np.abs(recovered_NG - counts_NG).max())
    if deviation > ROUNDING_TOLERANCE:
        raise UserError(
            f"scanpy's pbmc68k_reduced: recovered counts are up to {deviation:.3f} away from integers, expected at "
            f"most {ROUNDING_TOLERANCE}; install the versions of constraints.txt."
        )
    labels = source.obs["bulk_labels"].astype(str)
    obs = pd.DataFrame(
        {
            OBS.library_size: np.round(library_size_N),
            OBS.cell_type: source.obs["bulk_labels"].astype("category"),
            OBS.ontology_term: labels.map(known_ids(labels.unique())).astype("category"),
        },
        index=source.obs_names.astype(str).rename(None),
    )
    var = pd.DataFrame(index=source.raw.var_names.astype(str).rename(None))
    return AnnData(sparse.csr_matrix(counts_NG, dtype=np.float32), obs=obs, var=var)
