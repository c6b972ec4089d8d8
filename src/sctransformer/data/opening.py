"""Opening files of cells: HDF5 or zarr, with what is wrong with a file that is neither an AnnData nor readable."""

from pathlib import Path
from typing import Any

import h5py

from sctransformer.data.obs_table import limit_metadata_cache
from sctransformer.errors import BusyError, UserError, one_line

_HDF5 = b"\x89HDF\r\n\x1a\n"


def open_root(path: Path) -> tuple[Any, h5py.File | None]:
    """The root element of an h5ad file or a zarr folder, and the file to close (None for zarr).

    Raises:
        UserError: the file is missing, cut short, or neither HDF5 nor zarr.
        BusyError: another process is writing it.
    """
    if path.is_dir():
        return _open_folder(path), None
    if not path.is_file():
        raise UserError(f"{path}: no such file.")
    try:
        file = h5py.File(path, "r")
    except BlockingIOError as error:  # HDF5 locks files while it writes them
        raise BusyError(f"{path}: another process is writing it now; try again when it is done.") from error
    except OSError as error:
        raise UserError(f"{path}: is not a readable h5ad file; {_why_unreadable(path, error)}.") from error
    limit_metadata_cache(file)
    return file, file


def other_format(root: Any) -> str:
    """The format of a file that is not an AnnData, and how to convert it; empty if it is not known."""
    if "mod" in root:
        return (
            "this is a MuData file (h5mu): convert its genes with "
            "`mudata.read_h5mu(file).mod['rna'].write_h5ad('cells.h5ad')`"
        )
    if "matrix/barcodes" in root:
        return "this is a 10x file: convert it with `scanpy.read_10x_h5(file).write_h5ad('cells.h5ad')`"
    if "row_attrs" in root and "col_attrs" in root:
        return (
            "this is a loom file: `pip install loompy`, and convert it with "
            "`scanpy.read_loom(file).write_h5ad('cells.h5ad')`"
        )
    genomes = [name for name in root if hasattr(root[name], "keys") and "barcodes" in root[name]]
    if genomes:
        return (
            "this is a 10x file of Cell Ranger 2: convert it with "
            f"`scanpy.read_10x_h5(file, genome={str(genomes[0])!r}).write_h5ad('cells.h5ad')`"
        )
    return ""


def _open_folder(path: Path) -> Any:
    import zarr  # takes half a second

    if any(path.glob("*matrix.mtx*")):
        raise UserError(
            f"{path}: is a folder of Cell Ranger (matrix.mtx): convert it with "
            f"`scanpy.read_10x_mtx({str(path)!r}).write_h5ad('cells.h5ad')`."
        )
    try:
        return zarr.open_group(path, mode="r")
    except Exception as error:
        raise UserError(f"{path}: is a folder, but not a readable zarr group ({one_line(error)}).") from error


def _why_unreadable(path: Path, error: OSError) -> str:
    try:
        with path.open("rb") as stream:
            first_bytes = stream.read(len(_HDF5))
    except OSError:
        return one_line(error)
    if not first_bytes:
        return "it is empty"
    if first_bytes != _HDF5:
        return f"it is not HDF5 (it starts with {first_bytes!r}); expected a file written by `AnnData.write_h5ad`"
    return f"it is cut short or damaged ({one_line(error)})"
