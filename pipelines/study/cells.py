"""The cells of a study: read once, with a panel for each set of training cells, and their splits."""

import functools
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from pipelines.study.config import DatasetSection, NetworkSection, StudyConfig
from sctransformer._constants import OBS, UNLABELLED
from sctransformer.data.arrays import NO_LABEL, CellArrays
from sctransformer.data.cells import CellFile, read_cells, require_unique_names
from sctransformer.data.gene_map import GeneMap, read_gene_map
from sctransformer.data.genes import identify
from sctransformer.data.h5ad_writer import open_h5ad_writer
from sctransformer.data.ingest import ingest
from sctransformer.data.library_size import choose_library_sizes
from sctransformer.data.moments import GeneMoments
from sctransformer.data.panel import choose_panel
from sctransformer.data.prepared import class_names, training_moments
from sctransformer.data.settings import CellColumns
from sctransformer.data.split_table import read_split_table, table_splits
from sctransformer.data.splits import (
    TEST,
    TRAIN,
    TRAINED_ON,
    VALIDATION,
    as_splits,
    hide_labels,
    require_every_type_in_training,
    require_no_leakage,
    without_labels_aside,
)
from sctransformer.errors import UserError
from sctransformer.files import atomic_write, sha256_file, sha256_json
from sctransformer.prior.merging import vote, votes_needed
from sctransformer.prior.network import Network, read_network_table, write_network
from sctransformer.prior.readers import read_network
from sctransformer.prior.settings import PriorSettings

CELLS, MORE_CELLS, NETWORK, PANEL = "cells.h5ad", "unlabelled.h5ad", "network.tsv", "panel.parquet"


@dataclass(frozen=True)
class Sources:
    """Folders of prepared files, named by digests of everything that decides their content."""

    cells: Path
    """Holds CELLS: all genes of the file, in the form of the data contract."""
    panels: dict[int, Path]
    """Seed -> folder with PANEL, NETWORK (the edges among the panel) and, if the study has more cells, MORE_CELLS."""


def prepare(study: StudyConfig, seeds: list[int], out: Path) -> Sources:
    """Read cells and network and choose panels; existing files are reused.

    Panel and standardisation come from all cells of the file but the test cells of the seed, labelled or not. With a
    second file of unlabelled cells the panel is chosen among the genes of both files: a gene that one file does not
    measure would look like a count of zero. Seeds with the same training cells share a panel.

    Args:
        study: the study.
        seeds: seeds of all percentages.
        out: parent of the folders.

    Raises:
        UserError: a file is not valid, or the split table does not fit the cells.
    """
    known = read_gene_map()
    cells = out / _digest({"cells": sha256_file(study.dataset.cells), "columns": _columns_of(study.dataset)})
    if not cells.is_dir():
        with atomic_write(cells) as folder:
            folder.mkdir()
            _read_labelled(study.dataset, known, folder / CELLS)
    network_key = {
        name: [sha256_file(one.file), one.format, list(one.levels), one.weight]
        for name, one in study.network.files.items()
    }
    merge_key = [study.network.merge, study.network.min_votes]
    network = functools.cache(lambda: read_networks(study.network))
    panels: dict[int, Path] = {}
    with CellFile(cells / CELLS) as file:
        for seed in seeds:
            # the test cells do not depend on the percentage
            trained_N = np.isin(np.asarray(assign_splits(study, file.obs, 100.0, seed), dtype=object), TRAINED_ON)
            more = study.dataset.unlabelled
            key = {
                "cells": cells.name,
                "network": [network_key, merge_key],
                "budget": study.gene_budget,
                "trained_on": sha256_json(file.obs.index[trained_N].tolist()),
                "more": None if more is None else sha256_file(more),
            }
            panels[seed] = out / _digest(key)
            if not panels[seed].is_dir():
                with atomic_write(panels[seed]) as folder:
                    folder.mkdir()
                    _write_panel(study, file, trained_N, network(), known, folder)
    return Sources(cells, panels)


def assign_splits(study: StudyConfig, obs: pd.DataFrame, percent: float, seed: int) -> pd.Categorical:
    """The split of each cell: `train` (labelled), `unlabelled` or `test`; a search takes validation cells from `train`.

    Raises:
        UserError: the table does not fit the cells, or a donor is in training and test cells.
    """
    source = study.dataset.split_table
    split, chosen = table_splits(_table(source), obs.index, percent / 100, seed, str(source))
    split_N = np.asarray(split, dtype=object)
    split_N[split_N == VALIDATION] = TRAIN
    split = without_labels_aside(as_splits(split_N), obs[OBS.cell_type])
    if not chosen:
        split = hide_labels(split, obs[OBS.cell_type], percent / 100, seed)
    if OBS.donor in obs and not study.dataset.shared_donors:
        require_no_leakage(split, obs[OBS.donor])
    if not (split == TEST).any():
        raise UserError(f"{source}: no labelled test cell for seed {seed}.")
    require_every_type_in_training(split, obs[OBS.cell_type])
    return split


def read_networks(section: NetworkSection) -> Network:
    """The prior of a study.

    Raises:
        UserError: a file is not a network, or `merge` does not fit the number of files.
    """
    aliases = read_gene_map().alias_of
    networks = {
        name: read_network(one.file, name=name, file_format=one.format, levels=one.levels, aliases=aliases)
        for name, one in section.files.items()
    }
    votes = votes_needed(section.merge, len(networks), section.min_votes)
    return vote(networks, votes, {name: one.weight for name, one in section.files.items()})


@dataclass(frozen=True)
class PanelCells:
    """The cells of a study over a panel."""

    cells: AnnData
    """All cells of the labelled file, over the panel."""
    panel: pd.DataFrame
    network: Network
    """The edges among the panel."""
    more: AnnData | None
    """Cells of the unlabelled file, over the panel."""


@functools.lru_cache(maxsize=1)
def all_genes(folder: Path) -> AnnData:
    """The cells of a study over all genes of the file; `folder` as `Sources.cells`."""
    return read_cells(folder / CELLS)


@functools.lru_cache(maxsize=2)
def panel_cells(cells_folder: Path, panel_folder: Path) -> PanelCells:
    """The cells of a study over a panel; folders as in `Sources`."""
    panel = pd.read_parquet(panel_folder / PANEL)
    more = panel_folder / MORE_CELLS
    return PanelCells(
        cells=all_genes(cells_folder)[:, panel["gene"].tolist()].copy(),
        panel=panel,
        network=read_network_table(panel_folder / NETWORK, PriorSettings().confidence),
        more=read_cells(more) if more.is_file() else None,
    )


def labelled_arrays(cells: AnnData, rows_N: NDArray[np.bool_]) -> CellArrays:
    """Some of the cells, with their labels."""
    position = {name: index for index, name in enumerate(class_names(cells))}
    return _arrays(cells[rows_N], cells.obs.loc[rows_N, OBS.cell_type].map(position).to_numpy(dtype=np.int64))


def most_variable(cells: AnnData, trained_N: NDArray[np.bool_], number: int) -> list[str]:
    """The genes with the largest standard deviation of log expression among training cells, in file order."""
    moments = GeneMoments(cells.n_vars)
    part = cells[trained_N]
    moments.add(sparse.csr_matrix(part.X), part.obs[OBS.library_size].to_numpy(dtype=np.float64))
    chosen = np.sort(np.argsort(-moments.std_G, kind="stable")[:number])
    return [str(gene) for gene in cells.var_names[chosen]]


def unlabelled_arrays(
    prepared: PanelCells, split: pd.Categorical, except_N: NDArray[np.bool_] | None = None
) -> CellArrays:
    """All training cells but some, without their labels (NO_LABEL)."""
    rows_N = np.isin(np.asarray(split, dtype=object), [TRAIN, UNLABELLED])
    if except_N is not None:
        rows_N &= ~except_N
    parts = [prepared.cells[rows_N], *([] if prepared.more is None else [prepared.more])]
    arrays = [_arrays(part, np.full(part.n_obs, NO_LABEL, dtype=np.int64)) for part in parts]
    return CellArrays(
        *(
            np.concatenate([getattr(one, name) for one in arrays])
            for name in ("counts_NG", "library_size_N", "labels_N")
        )
    )


def _arrays(cells: AnnData, labels_N: NDArray[np.int64]) -> CellArrays:
    counts = sparse.csr_matrix(cells.X)
    library_size_N = cells.obs[OBS.library_size].to_numpy(dtype=np.float32)
    return CellArrays(counts.toarray().astype(np.float32), library_size_N, labels_N)


def _read_labelled(section: DatasetSection, known: GeneMap, target: Path) -> None:
    columns = section.part(CellColumns)
    with CellFile(section.cells, section.counts) as file, tempfile.TemporaryDirectory() as aside:
        identity = identify(file.var, known, str(section.cells), section.gene_column)
        ingest(file, identity, columns, target, Path(aside) / CELLS, 0.0, 0)


def _write_panel(
    study: StudyConfig, file: CellFile, trained_N: NDArray[np.bool_], network: Network, known: GeneMap, folder: Path
) -> None:
    genes, pairs = file.genes.tolist(), network.pairs
    if study.dataset.unlabelled is None:
        panel = choose_panel(training_moments(file, trained_N), genes, pairs, study.gene_budget)
    else:
        with CellFile(study.dataset.unlabelled) as more:
            require_unique_names(more)
            identity = identify(more.var, known, str(study.dataset.unlabelled))
            shared_G = np.flatnonzero(file.genes.isin(identity.genes))
            moments = _moments_among(file, trained_N, shared_G)
            panel = choose_panel(moments, [genes[index] for index in shared_G], pairs, study.gene_budget)
            sizes = choose_library_sizes(more.obs, None, str(study.dataset.unlabelled))
            columns, library_sizes = identity.genes.get_indexer(pd.Index(panel["gene"])), []
            with open_h5ad_writer(folder / MORE_CELLS, panel["gene"].tolist()) as cells:
                for start, chunk in more.chunks():
                    cells.append(identity.gather(chunk)[:, columns])
                    library_sizes.append(sizes.of_chunk(start, chunk))
                cells.finish(pd.DataFrame({OBS.library_size: np.concatenate(library_sizes)}, index=more.obs.index))
    panel.to_parquet(folder / PANEL, index=False)
    write_network(network.among(set(panel["gene"])), folder / NETWORK)


def _moments_among(file: CellFile, trained_N: NDArray[np.bool_], genes_G: NDArray[np.int64]) -> GeneMoments:
    """Like `training_moments`, for some of the genes."""
    moments = GeneMoments(len(genes_G))
    library_size_N = file.obs[OBS.library_size].to_numpy(dtype=np.float64)
    for start, chunk in file.chunks():
        part = slice(start, start + chunk.shape[0])
        moments.add(chunk[trained_N[part]][:, genes_G], library_size_N[part][trained_N[part]])
    return moments


@functools.lru_cache(maxsize=4)
def _table(path: Path) -> pd.DataFrame:
    return read_split_table(path)


def _columns_of(section: DatasetSection) -> dict[str, object]:
    return section.model_dump(mode="json", exclude={"cells", "split_table", "unlabelled", "shared_donors"})


def _digest(content: object) -> str:
    return sha256_json(content)[:16]
