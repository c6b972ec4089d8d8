"""Inspection of a file of cells before it is used: its counts, genes and labels, and the validation suites."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from sctransformer._constants import OBS
from sctransformer.data.cells import CellFile, require_unique_names
from sctransformer.data.gene_map import GeneMap
from sctransformer.data.genes import GeneIdentity, identify
from sctransformer.data.ingest import contract_columns
from sctransformer.data.library_size import choose_library_sizes
from sctransformer.data.prepared import ontology_ids
from sctransformer.data.settings import CellColumns
from sctransformer.data.statistics import CountStatistics, count_statistics
from sctransformer.data.validation.limits import TrainingLimits
from sctransformer.data.validation.report import Report
from sctransformer.data.validation.tables import network_tables, training_tables
from sctransformer.data.validation.validate import run_suites
from sctransformer.data.zero_blocks import find_panels, sampled_blocks
from sctransformer.wording import counted

_MOST_TYPES = 60
"""Cell types that are listed, the most frequent first."""


@dataclass(frozen=True)
class InspectedCells:
    """Content of a file of cells."""

    path: Path
    counts_in: str
    identity: GeneIdentity
    obs: pd.DataFrame
    """Table of cells under the data contract, in file order."""
    statistics: CountStatistics
    """Statistics of the counts by gene."""
    library_size_source: str
    notes: tuple[str, ...] = ()
    """What the user should know about how the file is read, see `Cells.notes`."""

    def summary(self) -> Iterator[tuple[str, str]]:
        """Names and values that describe the file, for printing."""
        statistics, obs = self.statistics, self.obs
        zeros = 1 - int(statistics.genes_detected_N.sum()) / (statistics.n_cells * len(self.identity.genes))
        empty = int((statistics.genes_detected_N == 0).sum())
        low, median, high = np.percentile(obs[OBS.library_size], (0, 50, 100))
        yield "cells", f"{statistics.n_cells:,}"
        yield "genes", self.identity.summary()
        yield "counts", f"raw, in {self.counts_in}; {zeros:.1%} zeros; {empty:,} cells without counts"
        yield "library size", f"{self.library_size_source}; median {median:,.0f}, from {low:,.0f} to {high:,.0f}"
        for note in self.notes:
            yield "note", note
        if OBS.donor in obs:
            yield "donors", f"{obs[OBS.donor].nunique():,}"
        if OBS.cell_type not in obs:
            yield "labels", "none"
            return
        labels = obs[OBS.cell_type]
        types, cells_C = counted(labels.nunique(), "type"), labels.value_counts()
        yield "labels", f"{types}; {int(labels.isna().sum()):,} cells without a label"
        ids = ontology_ids(obs)
        for name, number in cells_C.head(_MOST_TYPES).items():
            yield f"  {name}", f"{number:,}" + (f"  {ids[str(name)]}" if str(name) in ids else "")
        if len(cells_C) > _MOST_TYPES:
            yield "  ...", f"{len(cells_C) - _MOST_TYPES:,} rarer types"


def inspect_cells(
    path: Path,
    known: GeneMap,
    columns: CellColumns,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> InspectedCells:
    """Read a file once, in chunks, as ingestion does.

    Args:
        path: an h5ad file or a zarr folder.
        known: gene names to recognise.
        columns: where counts, genes and labels are; the label column `cell_type` may be missing.
        on_progress: called with the number of cells done and the number of all cells.

    Raises:
        UserError: the file would be refused by ingestion.
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
                counts_NG = identity.gather(chunk)
                yield start, counts_NG

        statistics = count_statistics(by_gene(), identity.genes, lambda done: on_progress(done, len(library_size_N)))
        obs.insert(0, OBS.library_size, library_size_N)
        if not labelled:
            obs = obs.drop(columns=OBS.cell_type)
        notes = (*file.notes, *identity.repairs.notes(), *_panel_notes(file, identity))
        return InspectedCells(path, file.counts_in, identity, obs, statistics, str(sizes), notes)


def _panel_notes(file: CellFile, identity: GeneIdentity) -> list[str]:
    block_cells, starts = sampled_blocks(file.n_cells)
    blocks = [(start, identity.gather(chunk)) for start, chunk in file.chunks(block_cells, starts)]
    rows_N = np.concatenate([np.arange(start, start + block.shape[0]) for start, block in blocks])
    panels = find_panels(file.obs, rows_N, sparse.vstack([block for _, block in blocks], format="csr"))
    if panels is None:
        return []
    return [f"{panels.described(identity.genes.tolist())}; training reads these zeros as not expressed"]


def run_training_suites(
    check: InspectedCells,
    limits: TrainingLimits,
    edges: pd.DataFrame | None = None,
    repairs: Mapping[str, int] | None = None,
    data_docs: Path | None = None,
    network: Path | None = None,
) -> Report:
    """Run the suites that the pipeline runs before training, on labelled cells and optionally a prior network.

    Args:
        check: a file with labels, from `inspect_cells`.
        limits: see `TrainingLimits`.
        edges, repairs: edges and repairs of the network, see `network_tables`.
        data_docs: folder for HTML pages; None writes none.
        network: the file of the network.
    """
    tables = training_tables(check.obs, check.identity.genes, check.statistics)
    files = dict.fromkeys(tables, check.path)
    if edges is not None:
        of_network = network_tables(edges, check.identity.genes, repairs)
        tables |= of_network
        files |= {} if network is None else dict.fromkeys(of_network, network)
    return run_suites(tables, limits.model_dump(), data_docs, files)
