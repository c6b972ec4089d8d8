"""Checks of a file of cells before a model labels them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sctransformer.data.statistics import CountStatistics
from sctransformer.data.validation.limits import BatchLimits
from sctransformer.data.validation.report import Report
from sctransformer.data.validation.validate import run_suites

DEFAULT_LIMITS = BatchLimits()


def check_batch(
    source: str,
    cells: Sequence[str] | pd.Index,
    genes: Sequence[str] | pd.Index,
    statistics: CountStatistics,
    panel: Sequence[str],
    weights_G: NDArray[np.floating],
    library_size_N: NDArray[np.floating] | None = None,
    limits: BatchLimits = DEFAULT_LIMITS,
    data_docs: Path | None = None,
) -> Report:
    """Check cells to annotate: the panel's genes, library sizes, and whether X still holds raw counts.

    Args:
        source: name of the file in the results.
        cells: names of the cells.
        genes: names of the columns of X.
        statistics: statistics of X, see `count_statistics`.
        panel: genes that the model reads.
        weights_G: weight of each panel gene in the coverage, for example its mean expression in training cells;
            negative weights count as 0, and if no weight is positive all genes have the same weight.
        library_size_N: total counts per cell; None uses the row sums of X.
        limits: thresholds of the expectations.
        data_docs: folder for HTML pages; None writes none.

    Returns:
        The report; the caller decides what to do about `critical` and `warnings`.
    """
    sizes_N = statistics.counts_N if library_size_N is None else np.asarray(library_size_N, dtype=np.float64)
    tables = {
        "batch_file": _file(source, genes, statistics, panel, weights_G),
        "batch_cells": _cells(cells, statistics, sizes_N),
        "batch_genes": pd.DataFrame({"gene": pd.Index(genes).astype(str)}),
        "batch_panel": _panel(genes, panel, weights_G),
    }
    return run_suites(tables, limits.model_dump(), data_docs, dict.fromkeys(tables, source))


def _panel(genes: Sequence[str] | pd.Index, panel: Sequence[str], weights_G: NDArray[np.floating]) -> pd.DataFrame:
    """Genes of the panel with their fractions of the total weight, largest first."""
    weight_G = np.clip(np.asarray(weights_G, dtype=np.float64), 0.0, None)
    if not weight_G.sum() > 0:
        weight_G = np.ones(len(panel))
    table = pd.DataFrame({"gene": list(panel), "weight": weight_G / weight_G.sum()})
    table["in_file"] = table["gene"].isin(genes)
    return table.sort_values("weight", ascending=False, kind="stable", ignore_index=True)


def _file(
    source: str,
    genes: Sequence[str] | pd.Index,
    statistics: CountStatistics,
    panel: Sequence[str],
    weights_G: NDArray[np.floating],
) -> pd.DataFrame:
    by_gene = _panel(genes, panel, weights_G)
    return pd.DataFrame(
        {
            "file": [source],
            "cells": [statistics.n_cells],
            "coverage": [by_gene["weight"][by_gene["in_file"]].sum()],
            "largest_count": [statistics.largest_N.max(initial=0.0)],
            "median_zeros": [np.median(statistics.zero_share()) if statistics.n_cells else 1.0],
        }
    )


def _cells(
    cells: Sequence[str] | pd.Index, statistics: CountStatistics, library_size_N: NDArray[np.float64]
) -> pd.DataFrame:
    positive_N = library_size_N[library_size_N > 0]
    median = float(np.median(positive_N)) if len(positive_N) else 1.0
    return pd.DataFrame(
        {
            "cell": pd.Index(cells).astype(str),
            "counts": statistics.counts_N,
            "library_size": library_size_N,
            "times_median": library_size_N / median,
            "lowest_count": statistics.lowest_N,
            "fractional_values": statistics.fractional_N,
        }
    )
