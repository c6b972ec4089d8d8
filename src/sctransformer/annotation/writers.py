"""Annotated copies of h5ad files and zarr folders: fields are added to a copy of the input, and X is never read."""

import os
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from anndata.io import read_elem, write_elem

from sctransformer._constants import OBS, OBSM, UNS
from sctransformer.annotation.fields import (
    CELL_TYPES,
    COLUMNS_WRITTEN,
    MOST_COLUMNS,
    REGULATORS,
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
_NAME_BYTES = 64
"""Space for a category beside its text."""


def write_annotated(
    source: Path, target: Path, annotation: Annotation, columns: dict[str, Any], provenance: dict[str, Any]
) -> None:
    """Copy an h5ad file or a zarr folder and add the annotation of its cells.

    Sets the columns in obs, `obsm["X_sctransformer"]` (float32), `uns["sctransformer"]` and, if that names cell types,
    `obsm["sctransformer_probabilities"]` (float32); if it names regulators, `obsm["X_regulators"]` and
    `obsm["X_regulators_mrna"]` (float32). Everything else is as in the input. The same input and annotation give the
    same bytes.

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
    _reserve(target, annotation, columns, provenance)
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
    had_regulators = f"uns/{UNS.annotation}/{REGULATORS}" in root
    before = written_before(None if written is None else read_elem(written))
    changes = replace_columns(columns, set(_column_order(root["obs"])), before, str(source))
    columns = changes.written
    _require_free_index(root["obs"], columns)
    _change_columns(root["obs"], changes)
    for group, kind in (("obsm", "dict"), ("uns", "dict")):
        if group not in root:
            root.create_group(group).attrs.update({"encoding-type": kind, "encoding-version": "0.1.0"})
    obsm = root["obsm"]
    embedding = _new_array(obsm, OBSM.embedding, (len(annotation), annotation.embedding_size))
    for start, embedding_NE in annotation.embeddings():
        embedding[start : start + len(embedding_NE)] = embedding_NE
    _remove(obsm, OBSM.probabilities)  # those of an earlier annotation
    if cell_types := provenance.get(CELL_TYPES):
        probabilities = _new_array(obsm, OBSM.probabilities, (len(annotation), len(cell_types)))
        for start, probabilities_NC in annotation.probabilities():
            probabilities[start : start + len(probabilities_NC)] = probabilities_NC
    if had_regulators:
        _remove(obsm, OBSM.regulators)
        _remove(obsm, OBSM.regulators_mrna)
    if REGULATORS in provenance:
        _write_regulators(obsm, annotation, len(provenance[REGULATORS]["name"]))
    write_elem(root["uns"], UNS.annotation, {**provenance, COLUMNS_WRITTEN: np.array(list(columns), dtype=object)})


def _write_regulators(obsm: Any, annotation: Annotation, n_regulators: int) -> None:
    shape = (len(annotation), n_regulators)
    activities, mrna = (_new_array(obsm, name, shape) for name in (OBSM.regulators, OBSM.regulators_mrna))
    for start, activity_NR, mrna_NR in annotation.activities():
        rows = slice(start, start + len(activity_NR))
        activities[rows], mrna[rows] = activity_NR, mrna_NR


def _remove(group: Any, name: str) -> None:
    if name in group:
        del group[name]


def _new_array(obsm: Any, name: str, shape: tuple[int, int]) -> Any:
    """An array like those of `write_elem`, for rows that are written one shard at a time."""
    _remove(obsm, name)
    create = obsm.create_dataset if isinstance(obsm, h5py.Group) else obsm.create_array
    array = create(name, shape=shape, dtype=np.float32)
    array.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    return array


def _reserve(target: Path, annotation: Annotation, columns: dict[str, Any], provenance: dict[str, Any]) -> None:
    """Extend the copy to its largest possible size: HDF5 may crash the process when the disk is full.

    Raises:
        OSError: there is not enough space.
    """
    if not hasattr(os, "posix_fallocate"):  # macOS
        return
    n_regulators = len(provenance.get(REGULATORS, {}).get("name", []))
    per_cell = annotation.embedding_size + len(provenance.get(CELL_TYPES, [])) + 2 * n_regulators + MOST_COLUMNS
    names = columns[OBS.top_regulators].categories if OBS.top_regulators in columns else []
    needed = 4 * per_cell * len(annotation) + sum(len(name) + _NAME_BYTES for name in names) + _SLACK_BYTES
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
