"""Formats of cells that are not read, how each is recognised, and the line that converts it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FIRST_BYTES = 64


def _never(root: Any) -> bool:
    return False


@dataclass(frozen=True)
class OtherFormat:
    """A format that is not read."""

    what: str
    """As in "this is {what}"."""
    conversion: str
    """What to do, with `file` for the file."""
    suffixes: tuple[str, ...] = ()
    """Ends of the names of such files, in lower case; `.gz` after them is accepted too."""
    starts: tuple[bytes, ...] = ()
    """First bytes of such files."""
    holds: Callable[[Any], bool] = _never
    """Whether the root group of an HDF5 file shows this format."""


def _by_python(line: str) -> str:
    return f"convert it with `{line}.write_h5ad('cells.h5ad')`"


FORMATS = (
    # what a file holds and how it starts is looked at before its name
    OtherFormat(
        "a pointer of Git LFS, not the file itself",
        "fetch it with `git lfs pull`",
        starts=(b"version https://git-lfs",),
    ),
    OtherFormat(
        "a web page",
        "the download failed: download the file again",
        starts=(b"<!DOCTYPE", b"<!doctype", b"<html", b"<HTML"),
    ),
    OtherFormat("a .dvc file", "fetch its data with `dvc pull file`, and give the data", (".dvc",), (b"outs:",)),
    OtherFormat(
        "a MuData file (h5mu)",
        _by_python("mudata.read_h5mu(file).mod['rna']").replace("convert it", "convert its genes"),
        (".h5mu",),
        holds=lambda root: "mod" in root,
    ),
    OtherFormat(
        "a 10x file", _by_python("scanpy.read_10x_h5(file)"), (".h5",), holds=lambda root: "matrix/barcodes" in root
    ),
    OtherFormat(
        "a loom file",
        "`pip install loompy`, and " + _by_python("scanpy.read_loom(file)"),
        (".loom",),
        holds=lambda root: "row_attrs" in root and "col_attrs" in root,
    ),
    OtherFormat(
        "a file of Seurat (h5Seurat)",
        "convert it with `SeuratDisk::Convert(file, dest = 'h5ad')` in R",
        (".h5seurat",),
        holds=lambda root: "cell.names" in root and "assays" in root,
    ),
    OtherFormat(
        "an R object",
        "convert it in R with "
        "`zellkonverter::writeH5AD(Seurat::as.SingleCellExperiment(readRDS(file)), 'cells.h5ad')`, for a "
        "SingleCellExperiment without `Seurat::as.SingleCellExperiment`",
        (".rds",),
        (b"RDX", b"RDA", b"X\n\x00\x00\x00"),
    ),
    OtherFormat("a compressed h5ad file", "unpack it with `gunzip --keep file`", (".h5ad.gz",)),
    OtherFormat(
        "a table in Matrix Market format (mtx)",
        _by_python("scanpy.read_10x_mtx(folder)") + ", where folder holds the names of cells and genes too",
        (".mtx",),
        (b"%%MatrixMarket",),
    ),
    OtherFormat(
        "a table (CSV)",
        _by_python("scanpy.read_csv(file)") + "; if genes are rows, with `scanpy.read_csv(file).T`",
        (".csv",),
    ),
    OtherFormat(
        "a table (text)",
        _by_python("scanpy.read_csv(file, delimiter='\\t')") + "; if genes are rows, with `scanpy.read_csv(...).T`",
        (".txt", ".tsv", ".tab"),
    ),
    OtherFormat("a Parquet table", _by_python("anndata.AnnData(pandas.read_parquet(file))"), (".parquet",), (b"PAR1",)),
    OtherFormat("an Excel workbook", "save it as CSV, and convert that with `scanpy.read_csv`", (".xlsx", ".xls")),
    OtherFormat(
        "an archive", "unpack it, and give the file of cells in it", (".zip", ".tar", ".tgz"), (b"PK\x03\x04",)
    ),
    OtherFormat("a file compressed with gzip", "unpack it with `gunzip --keep file`", (".gz",), (b"\x1f\x8b",)),
    OtherFormat("a file compressed with bzip2", "unpack it with `bunzip2 --keep file`", (".bz2",), (b"BZh",)),
)


def format_of_hdf5(root: Any) -> str:
    """The format of an HDF5 file that is not an AnnData, and how to convert it; empty if it is not known.

    Args:
        root: the root group.
    """
    if "X" in root:
        return ""
    for one in FORMATS:
        if one.holds(root):
            return _phrase(one)
    genomes = [name for name in root if hasattr(root[name], "keys") and "barcodes" in root[name]]
    if genomes:
        line = _by_python(f"scanpy.read_10x_h5(file, genome={str(genomes[0])!r})")
        return f"this is a 10x file of Cell Ranger 2: {line}"
    return ""


def format_of_file(path: Path) -> str:
    """The format of a file that is not HDF5, and how to convert it; empty if it is not known.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as stream:
        first = stream.read(_FIRST_BYTES)
    for one in FORMATS:
        if (one.starts and first.startswith(one.starts)) or (one.holds is _never and _is_named(one, path.name)):
            return _phrase(one)
    return ""


def other_files(folder: Path) -> str:
    """The first file of another format in a folder, and how to convert it; empty if there is none.

    Text files are left out: most are notes.
    """
    for path in sorted(path for path in folder.iterdir() if path.is_file() and path.suffix != ".txt"):
        for one in FORMATS:
            if _is_named(one, path.name):
                return f"{path.name} is {one.what}: {one.conversion}"
    return ""


def _is_named(one: OtherFormat, name: str) -> bool:
    return name.lower().endswith((*one.suffixes, *(f"{suffix}.gz" for suffix in one.suffixes)))


def _phrase(one: OtherFormat) -> str:
    return f"this is {one.what}: {one.conversion}"
