"""Writing simulated cells to an h5ad file, and the true network to a table beside it."""

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import h5py
import pandas as pd
from anndata.io import sparse_dataset, write_elem

from sctransformer._constants import UNS
from sctransformer.data.obs_table import append_rows
from sctransformer.data.simulator import BLOCK, SimulatedCells, Simulation
from sctransformer.errors import UserError, one_line
from sctransformer.files import atomic_write

ROWS = 16 * BLOCK
"""Cells simulated and written at a time, tens of MB with 2,000 genes."""
_CHUNK = 2**17
"""Values of X per HDF5 chunk, half a MB."""
_CACHE_BYTES = 2**22
"""HDF5 chunk cache per dataset, which keeps the current chunk in memory."""
_BYTES_PER_COUNT = 8
_BYTES_PER_CELL = 64
"""Name, library size, codes and row pointer, with the overhead of HDF5."""
_MARGIN = 1.1
_SLACK_BYTES = 2**21
"""For HDF5's tables and the last chunk of each dataset."""
_GROWING = {"maxshape": (None,)}


@dataclass(frozen=True)
class SimulatedFiles:
    """The files of a simulation."""

    cells: Path
    edges: Path
    n_edges: int
    n_counts: int
    """Non-zero values of X."""


def edges_path(cells: Path) -> Path:
    """Path of the true network of a file of cells: `<stem>.edges.tsv` beside it."""
    return cells.with_suffix(".edges.tsv")


def estimated_bytes(simulation: Simulation) -> int:
    """Estimated size of the h5ad in bytes, from the density of the first block, slightly too large."""
    first = simulation.block(0)
    per_cell = first.counts_NG.nnz / len(first) * _BYTES_PER_COUNT + _BYTES_PER_CELL
    return round(simulation.config.cells * per_cell * _MARGIN) + _SLACK_BYTES + 64 * simulation.config.genes


def require_space(simulation: Simulation, folder: Path) -> None:
    """Check that the disk has enough free space, before anything is simulated.

    Raises:
        UserError: there is too little space.
    """
    needed = estimated_bytes(simulation)
    there = next(parent for parent in (folder, *folder.resolve().parents) if parent.is_dir())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise UserError(
            f"{folder}: {simulation.config.cells:,} cells of {simulation.config.genes:,} genes need about "
            f"{needed / 1e9:,.1f} GB, but the disk has {free / 1e9:,.1f} GB left; simulate fewer cells."
        )


def write_simulation(
    simulation: Simulation,
    target: Path,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    compression: str | None = None,
    rows: int = ROWS,
) -> SimulatedFiles:
    """Write all cells of a simulation; memory use does not depend on their number.

    The h5ad holds X (CSR, float32, 64-bit row pointers), `obs["library_size"]` (float64), `obs["cell_type"]` and
    `obs["donor_id"]` (categorical), the gene symbols as index of var, and the settings in `uns["simulation"]`. The
    network is written beside it, see `edges_path`, as a table for `prior.network`. On an error neither file is
    written. Existing files are replaced.

    Args:
        simulation: the simulation.
        target: the h5ad file.
        on_progress: called with the number of cells done and the number of all cells.
        compression: compression of X, by its h5py name (`gzip`, `lzf`); None is fastest.
        rows: cells at a time; the content does not depend on it.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    edges = edges_path(target)
    table = simulation.network.table()
    try:
        with atomic_write(target) as cells_file, atomic_write(edges) as edges_file:
            table.to_csv(edges_file, sep="\t", index=False)
            n_counts = _write_cells(simulation, cells_file, on_progress, compression, rows)
    except (OSError, RuntimeError) as error:  # HDF5 reports a full disk as either
        found = one_line(error)
        raise UserError(f"{target}: cannot be written ({found}); check the space left there.") from error
    return SimulatedFiles(target, edges, len(table), n_counts)


def _write_cells(
    simulation: Simulation, path: Path, on_progress: Callable[[int, int], None], compression: str | None, rows: int
) -> int:
    config = simulation.config
    settings = {name: value for name, value in asdict(config).items() if name != "gene_symbols"}  # they are in var
    with h5py.File(path, "w", rdcc_nbytes=_CACHE_BYTES) as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        for empty in ("layers", "obsm", "obsp", "varm", "varp"):
            write_elem(file, empty, {})
        write_elem(file, "var", pd.DataFrame(index=config.symbols))
        write_elem(file, "uns", {UNS.simulation: settings})
        for start, cells in simulation.chunks(rows):
            if start == 0:
                _create(file, simulation.obs(start, cells), cells, compression)
            else:
                _append(file, simulation.obs(start, cells), cells)
            on_progress(start + len(cells), config.cells)
        return len(file["X/data"])


def _create(file: h5py.File, obs: pd.DataFrame, cells: SimulatedCells, compression: str | None) -> None:
    """Write the first cells in resizable datasets, to which others are appended."""
    chunk = min(_CHUNK, max(1, cells.counts_NG.nnz))  # a small file needs less
    stored = {"indptr_dtype": "int64", "chunks": (chunk,), "compression": compression}
    write_elem(file, "X", cells.counts_NG, dataset_kwargs=stored)
    write_elem(file, "obs", obs, dataset_kwargs=_GROWING)


def _append(file: h5py.File, obs: pd.DataFrame, cells: SimulatedCells) -> None:
    sparse_dataset(file["X"]).append(cells.counts_NG)
    append_rows(file["obs"], obs)
