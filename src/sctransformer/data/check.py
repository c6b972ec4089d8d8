"""Looking at a file of cells before it is used: where its counts and genes are, what is in it, what the suites say."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sctransformer._constants import OBS
from sctransformer.data.cells import CellFile, require_unique_names
from sctransformer.data.genes import GeneIdentity, GeneMap, identify
from sctransformer.data.ingest import contract_columns
from sctransformer.data.library_size import choose_library_sizes
from sctransformer.data.settings import CellColumns
from sctransformer.data.statistics import CountStatistics, count_statistics
from sctransformer.data.validation.limits import TrainingLimits
from sctransformer.data.validation.report import Report
from sctransformer.data.validation.tables import network_tables, training_tables
from sctransformer.data.validation.validate import run_suites


@dataclass(frozen=True)
class CellCheck:
    """What is known of a file."""

    path: Path
    counts_in: str
    identity: GeneIdentity
    obs: pd.DataFrame
    """Under the data contract, in the order of the file."""
    statistics: CountStatistics
    """Of the counts by gene."""
    library_size_source: str


def inspect_cells(
    path: Path,
    known: GeneMap,
    columns: CellColumns,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> CellCheck:
    """Read a whole file once, in chunks, as training would.

    Args:
        path: an h5ad file or a zarr folder.
        known: gene names.
        columns: where counts, genes and labels are; the label column may be missing if it is called `cell_type`.

    Raises:
        UserError: the file would not come through ingestion.
    """
    with CellFile(path, columns.counts) as file:
        require_unique_names(file)
        identity = identify(file.var, known, str(path), columns.gene_column)
        sizes = choose_library_sizes(file.obs, columns.library_size_column, str(path), file.counts_in)
        labelled = columns.label_column != OBS.cell_type or OBS.cell_type in file.obs
        source = file.obs if labelled else file.obs.assign(**{OBS.cell_type: None})
        obs = contract_columns(source, columns, str(path))
        library_size_N = np.zeros(file.n_cells)

        def by_gene() -> Any:
            for start, chunk in file.chunks():
                library_size_N[start : start + chunk.shape[0]] = sizes.of_chunk(start, chunk)
                yield start, identity.gather(chunk)

        statistics = count_statistics(by_gene(), identity.genes, lambda done: on_progress(done, len(library_size_N)))
        obs.insert(0, OBS.library_size, library_size_N)
        if not labelled:
            obs = obs.drop(columns=OBS.cell_type)
        return CellCheck(path, file.counts_in, identity, obs, statistics, str(sizes))


def run_training_suites(
    check: CellCheck,
    limits: TrainingLimits,
    edges: pd.DataFrame | None = None,
    repairs: Mapping[str, int] | None = None,
    data_docs: Path | None = None,
    network: Path | None = None,
) -> Report:
    """Check labelled cells as the pipeline does before training; with a network, also whether the two fit together.

    Args:
        check: of a file with labels.
        limits: see `TrainingLimits`.
        edges, repairs: of the network, see `network_tables`.
        data_docs: folder for HTML pages; None writes none.
        network: the file that the edges came from.
    """
    tables = training_tables(check.obs, check.identity.genes, check.statistics)
    files = dict.fromkeys(tables, check.path)
    if edges is not None:
        of_network = network_tables(edges, check.identity.genes, repairs)
        tables |= of_network
        files |= {} if network is None else dict.fromkeys(of_network, network)
    return run_suites(tables, limits.model_dump(), data_docs, files)
