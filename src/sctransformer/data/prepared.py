"""Prepared cells: counts of the gene panel with labels and splits, written by the stage `prepare` for training."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from sctransformer._constants import OBS, SPLITS, UNLABELLED
from sctransformer.data.arrays import NO_LABEL, CellArrays, CellSource, TrainingCells
from sctransformer.data.backed_cells import BackedCells
from sctransformer.data.cells import CellFile, read_cells
from sctransformer.data.count_search import X
from sctransformer.data.h5ad_writer import open_h5ad_writer
from sctransformer.data.moments import GeneMoments

TRAINING_SPLITS = ("train", "validation", UNLABELLED)
"""The splits used in training, in the order of `TrainingCells`."""
MAX_BYTES_IN_MEMORY = 2**29
"""Largest size in bytes of dense counts that a worker keeps in memory; larger data are streamed."""


def training_moments(
    file: CellFile, training_N: NDArray[np.bool_], on_progress: Callable[[int, int], None] = lambda done, total: None
) -> GeneMoments:
    """Mean and variance of each gene over the training cells.

    Args:
        file: a file under the data contract.
        training_N: mask of the training cells.
        on_progress: called with the number of cells done and the number of all cells.
    """
    moments = GeneMoments(len(file.genes))
    library_size_N = file.obs[OBS.library_size].to_numpy(dtype=np.float64)
    for start, chunk in file.chunks():
        part = slice(start, start + chunk.shape[0])
        moments.add(chunk[training_N[part]], library_size_N[part][training_N[part]])
        on_progress(part.stop, file.n_cells)
    return moments


def write_prepared(
    file: CellFile,
    split: pd.Categorical,
    panel: pd.DataFrame,
    target: Path,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write the counts of the panel's genes, in its order, with the obs of the file and `obs["split"]` (categorical).

    Args:
        file: a file under the data contract.
        split: split of each cell.
        panel: see `choose_panel`.
        target: the h5ad file to write.
        on_progress: called with the number of cells done and the number of all cells.
    """
    columns = file.genes.get_indexer(pd.Index(panel["gene"]))
    with open_h5ad_writer(target, panel["gene"].tolist()) as cells:
        for start, chunk in file.chunks():
            cells.append(chunk[:, columns])
            on_progress(start + chunk.shape[0], file.n_cells)
        cells.finish(file.obs.assign(**{OBS.split: split}))


def class_names(cells: AnnData) -> list[str]:
    """Names of the cell types, sorted; position i is class i of the model."""
    return sorted(cells.obs[OBS.cell_type].cat.categories)


def read_class_names(path: Path) -> list[str]:
    """Names of the cell types of a prepared file, sorted; counts are not read."""
    with CellFile(path, X) as file:
        return sorted(file.obs[OBS.cell_type].cat.categories)


def read_donors(path: Path, splits: Sequence[str] = ("train",)) -> NDArray[np.object_] | None:
    """Donor of each cell of these splits of a prepared file, in file order; None if the file has no donors."""
    with CellFile(path, X) as file:
        return donor_names(file.obs[file.obs[OBS.split].isin(splits)])


def donor_names(obs: pd.DataFrame) -> NDArray[np.object_] | None:
    """Donor of each cell; None if they are not known."""
    if OBS.donor not in obs:
        return None
    donors: NDArray[np.object_] = obs[OBS.donor].astype(str).to_numpy(dtype=object)
    return donors


def ontology_ids(obs: pd.DataFrame) -> dict[str, str]:
    """Cell Ontology id of each cell type whose cells all have the same id, from cells under the data contract."""
    if OBS.ontology_term not in obs:
        return {}
    pairs = obs[[OBS.cell_type, OBS.ontology_term]].dropna().astype(str).drop_duplicates()
    unique = pairs[~pairs[OBS.cell_type].duplicated(keep=False)]
    return dict(zip(unique[OBS.cell_type], unique[OBS.ontology_term], strict=True))


def select_split(cells: AnnData, *splits: str) -> CellArrays:
    """The cells of one or more splits as arrays, in file order; cells of the split `unlabelled` get no label."""
    part = cells[cells.obs[OBS.split].isin(splits).to_numpy()]
    position = {name: index for index, name in enumerate(class_names(cells))}
    if splits == (UNLABELLED,):
        labels_N = np.full(part.n_obs, NO_LABEL, dtype=np.int64)
    else:
        labels_N = part.obs[OBS.cell_type].map(position).to_numpy(dtype=np.int64)
    return CellArrays(
        counts_NG=part.X.toarray().astype(np.float32),
        library_size_N=part.obs[OBS.library_size].to_numpy(dtype=np.float32),
        labels_N=labels_N,
    )


def load_training_cells(path: Path) -> TrainingCells:
    """The cells of a prepared file for training, in memory; see `open_training_cells`."""
    cells = read_cells(path, counts=X)
    return TrainingCells(*(select_split(cells, split) for split in TRAINING_SPLITS))


def open_training_cells(path: Path) -> TrainingCells:
    """The cells of a prepared file for training, read from disk on demand.

    Raises:
        UserError: the file was not written by `write_prepared`.
    """
    return TrainingCells(*_open(path, [(split,) for split in TRAINING_SPLITS]))


def labelled_cells(path: Path, in_memory: bool) -> TrainingCells:
    """All cells of a prepared file, with all labelled ones as training cells and none for validation.

    Args:
        path: the prepared file.
        in_memory: whether they are held in memory, or read from disk on demand.
    """
    groups: list[tuple[str, ...]] = [SPLITS, (UNLABELLED,)]
    parts: Sequence[CellSource]
    if in_memory:
        cells = read_cells(path, counts=X)
        parts = [select_split(cells, *splits) for splits in groups]
    else:
        parts = _open(path, groups)
    return TrainingCells(parts[0], None, parts[1])


def _open(path: Path, groups: Sequence[tuple[str, ...]]) -> list[BackedCells]:
    """The cells of each group of splits, read from disk on demand."""
    with CellFile(path, X) as file:
        obs, n_genes = file.obs, len(file.genes)
    position = {name: index for index, name in enumerate(sorted(obs[OBS.cell_type].cat.categories))}
    labels_N = np.array([position.get(label, NO_LABEL) for label in obs[OBS.cell_type]], dtype=np.int64)
    library_size_N = obs[OBS.library_size].to_numpy(dtype=np.float32)
    parts = []
    for splits in groups:
        rows_N = np.flatnonzero(obs[OBS.split].isin(splits).to_numpy())
        own_N = labels_N[rows_N]
        if splits == (UNLABELLED,):
            own_N = np.full_like(own_N, NO_LABEL)
        parts.append(BackedCells(path, rows_N, library_size_N[rows_N], own_N, n_genes))
    return parts


def fits_in_memory(n_cells: int, n_genes: int) -> bool:
    """Whether a dense float32 matrix of this size is kept in memory rather than read again in each epoch."""
    return n_cells * n_genes * 4 <= MAX_BYTES_IN_MEMORY
