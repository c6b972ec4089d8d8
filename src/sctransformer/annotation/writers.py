"""Annotated copies of h5ad files and zarr folders: fields are added to a copy of the input, and X is never read."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from anndata.io import read_elem, write_elem
from numpy.typing import NDArray

from sctransformer._constants import OBSM, UNS
from sctransformer.annotation.fields import (
    CELL_TYPES,
    COLUMNS_WRITTEN,
    MOST_COLUMNS,
    ColumnChanges,
    is_alike,
    replace_columns,
    written_before,
)
from sctransformer.annotation.results import Annotation

_INDEX = "_index"
"""What anndata calls the dataset of an index without a name."""
_SLACK_BYTES = 2**20
"""Space for names, categories and the tables of HDF5."""


def write_annotated(
    source: Path, target: Path, annotation: Annotation, columns: dict[str, Any], provenance: dict[str, Any]
) -> None:
    """Copy an h5ad file or a zarr folder and add the annotation of its cells.

    Sets the columns in obs, `obsm["X_sctransformer"]` (float32), `uns["sctransformer"]` and, if that names cell types,
    `obsm["sctransformer_probabilities"]` (float32). Everything else is as in the input. The same input and annotation
    give the same bytes.

    Args:
        source: the input; only read.
        target: the copy; must not exist. It is incomplete while this runs: rename it afterwards.
        annotation: with the embeddings.
        columns: columns of obs, see `label_columns`.
        provenance: content of `uns["sctransformer"]`.

    Raises:
        OSError, RuntimeError: the copy cannot be written, for example because the disk is full (HDF5 reports that as
            either).
    """
    if source.is_dir():
        import zarr  # half a second

        _copy_folder(source, target)
        consolidated = zarr.open_group(target, mode="r").metadata.consolidated_metadata is not None
        _add_elements(
            zarr.open_group(target, mode="r+", use_consolidated=False), source, columns, annotation, provenance
        )
        if consolidated:
            zarr.consolidate_metadata(target)
        return
    shutil.copyfile(source, target)
    _reserve(target, annotation, len(provenance.get(CELL_TYPES, [])))
    with h5py.File(target, "r+") as file:  # closing it releases reserved space that was not used
        _add_elements(file, source, columns, annotation, provenance)


def _copy_folder(source: Path, target: Path) -> None:
    """Copy files and folders without their modes: the copy of a read-only folder must be writable."""
    target.mkdir()
    for child in source.iterdir():
        if child.is_dir():
            _copy_folder(child, target / child.name)
        else:
            shutil.copyfile(child, target / child.name)


def _add_elements(
    root: Any, source: Path, columns: dict[str, Any], annotation: Annotation, provenance: dict[str, Any]
) -> None:
    written = root.get(f"uns/{UNS.annotation}/{COLUMNS_WRITTEN}")
    before = written_before(None if written is None else read_elem(written))
    changes = replace_columns(columns, set(_column_order(root["obs"])), before, str(source))
    columns = changes.written
    _require_free_index(root["obs"], columns)
    _change_columns(root["obs"], changes)
    for group, kind in (("obsm", "dict"), ("uns", "dict")):
        if group not in root:
            root.create_group(group).attrs.update({"encoding-type": kind, "encoding-version": "0.1.0"})
    obsm = root["obsm"]
    _write_array(obsm, OBSM.embedding, (len(annotation), annotation.embedding_size), annotation.embeddings())
    if OBSM.probabilities in obsm:  # those of an earlier annotation
        del obsm[OBSM.probabilities]
    if cell_types := provenance.get(CELL_TYPES):
        _write_array(obsm, OBSM.probabilities, (len(annotation), len(cell_types)), annotation.probabilities())
    write_elem(root["uns"], UNS.annotation, {**provenance, COLUMNS_WRITTEN: np.array(list(columns), dtype=object)})


def _write_array(
    obsm: Any, name: str, shape: tuple[int, int], parts: Iterator[tuple[int, NDArray[np.float32]]]
) -> None:
    """Write rows of cells as `write_elem` does, but one shard at a time."""
    if name in obsm:
        del obsm[name]
    create = obsm.create_dataset if isinstance(obsm, h5py.Group) else obsm.create_array
    array = create(name, shape=shape, dtype=np.float32)
    array.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    for start, rows in parts:
        array[start : start + len(rows)] = rows


def _reserve(target: Path, annotation: Annotation, n_probabilities: int) -> None:
    """Extend the copy to its largest possible size: HDF5 may crash the process when the disk is full.

    Raises:
        OSError: there is not enough space.
    """
    if not hasattr(os, "posix_fallocate"):  # macOS
        return
    needed = len(annotation) * 4 * (annotation.embedding_size + n_probabilities + MOST_COLUMNS) + _SLACK_BYTES
    with target.open("r+b") as stream:
        size = target.stat().st_size
        os.posix_fallocate(stream.fileno(), size, needed)


def _column_order(obs: Any) -> list[str]:
    return [name.decode() if isinstance(name, bytes) else str(name) for name in obs.attrs["column-order"]]


def _require_free_index(obs: Any, columns: dict[str, Any]) -> None:
    """Rename the index if it is called like a column to be written: both are members of the group `obs`."""
    name = obs.attrs["_index"]
    name = name.decode() if isinstance(name, bytes) else str(name)
    if name in columns or is_alike(name, columns):
        _rename(obs, name, _INDEX)
        obs.attrs["_index"] = _INDEX


def _rename(obs: Any, name: str, new: str) -> None:
    if isinstance(obs, h5py.Group):
        obs.move(name, new)
    else:  # zarr cannot move
        write_elem(obs, new, read_elem(obs[name]))
        del obs[name]


def _change_columns(obs: Any, changes: ColumnChanges) -> None:
    order = _column_order(obs)
    for name in changes.removed:
        del obs[name]
    for name, new in changes.renamed.items():
        _rename(obs, name, new)
    order = [changes.renamed.get(name, name) for name in order if name not in changes.removed]
    for name, values in changes.written.items():
        write_elem(obs, name, values)
    order += [name for name in changes.written if name not in order]
    text = isinstance(obs, h5py.Group)
    obs.attrs["column-order"] = np.array(order, dtype=h5py.string_dtype()) if text else order
