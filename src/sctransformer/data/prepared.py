"""Prepared cells: the panel's columns, with labels and splits, as written by `prepare` and read by all that train."""

from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData

from sctransformer._constants import OBS
from sctransformer.data.arrays import CellArrays
from sctransformer.data.cells import read_cells
from sctransformer.files import written_whole


def prepared_cells(cells: AnnData, panel: pd.DataFrame) -> AnnData:
    """The columns of the panel, in its order; obs is kept."""
    return AnnData(
        cells[:, panel["gene"]].X,
        obs=cells.obs,
        var=pd.DataFrame(index=panel["gene"].rename(None)),
    )


def write_cells(cells: AnnData, target: Path) -> None:
    """Write an h5ad, whole or not at all, the same bytes for the same cells."""
    with written_whole(target) as temporary:
        cells.write_h5ad(temporary, compression="gzip")


def labels_of(cells: AnnData) -> list[str]:
    """Names of the classes, sorted: position i is class i of the model."""
    return sorted(cells.obs[OBS.cell_type].cat.categories)


def ontology_of(cells: AnnData) -> dict[str, str]:
    """Cell Ontology id of each class whose cells all carry the same one; empty where the cells carry none."""
    if OBS.ontology_term not in cells.obs:
        return {}
    pairs = cells.obs[[OBS.cell_type, OBS.ontology_term]].dropna().astype(str).drop_duplicates()
    alone = pairs[~pairs[OBS.cell_type].duplicated(keep=False)]
    return dict(zip(alone[OBS.cell_type], alone[OBS.ontology_term], strict=True))


def split_arrays(cells: AnnData, split: str) -> CellArrays:
    """The cells of one split as arrays, in file order."""
    part = cells[(cells.obs[OBS.split] == split).to_numpy()]
    position = {name: index for index, name in enumerate(labels_of(cells))}
    return CellArrays(
        counts_NG=part.X.toarray().astype(np.float32),
        library_size_N=part.obs[OBS.library_size].to_numpy(dtype=np.float32),
        labels_N=part.obs[OBS.cell_type].map(position).to_numpy(dtype=np.int64),
    )


def load_training_arrays(path: Path) -> tuple[CellArrays, CellArrays]:
    """Training and validation cells of a prepared file."""
    cells = read_cells(path)
    return split_arrays(cells, "train"), split_arrays(cells, "validation")
