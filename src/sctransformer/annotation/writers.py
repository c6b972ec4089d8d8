"""Writing annotations into a copy of the input, new elements beside the old ones. X is copied, never read."""

import logging
import os
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from anndata.io import read_elem, write_elem

from sctransformer._constants import OBS, OBSM, UNS
from sctransformer.annotation.results import Annotation
from sctransformer.annotation.voting import GROUPS, MAJORITY

logger = logging.getLogger(__name__)

_SLACK_BYTES = 2**20
"""For names, categories and the tables of HDF5."""
_OURS = {OBS.predicted_labels, OBS.conf_score, OBS.ontology_term, GROUPS, MAJORITY}
"""Columns of obs that may be written, of at most four bytes a cell."""
_COLUMNS_WRITTEN = "obs_columns"
"""Member of `uns["sctransformer"]`: the columns that are ours, so that a later run knows which it may replace."""


def write_annotated(
    source: Path, target: Path, annotation: Annotation, columns: dict[str, Any], provenance: dict[str, Any]
) -> None:
    """Copy an h5ad file or a zarr folder and add what the model says of its cells.

    Sets `obs["predicted_labels"]` (categorical), `obs["conf_score"]` (float32),
    `obs["cell_type_ontology_term_id"]` (categorical; only if the model knows any id and the input has no such column of
    its own), `obsm["X_sctransformer"]` (float32) and `uns["sctransformer"]`. Everything else stays as in the input.
    The same input and annotation give the same bytes.

    Args:
        source: the input; only read.
        target: the copy; must not exist. It is half-written while this runs: rename it afterwards.
        columns: of obs, see `label_columns`.
        provenance: content of `uns["sctransformer"]`.

    Raises:
        OSError, RuntimeError: the copy cannot be written, for example because the disk is full (HDF5 reports that as
            either).
    """
    columns = dict(columns)
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
    _reserve(target, annotation)
    with h5py.File(target, "r+") as file:  # closing it cuts off what was reserved and not used
        _add_elements(file, source, columns, annotation, provenance)


def _copy_folder(source: Path, target: Path) -> None:
    """Copy files and folders, not their modes: what is made of a read-only folder must be written to, and removed."""
    target.mkdir()
    for child in source.iterdir():
        if child.is_dir():
            _copy_folder(child, target / child.name)
        else:
            shutil.copyfile(child, target / child.name)


def _add_elements(
    root: Any, source: Path, columns: dict[str, Any], annotation: Annotation, provenance: dict[str, Any]
) -> None:
    _replace_columns(root["obs"], columns, _columns_of_ours(root), source)
    for group, kind in (("obsm", "dict"), ("uns", "dict")):
        if group not in root:
            root.create_group(group).attrs.update({"encoding-type": kind, "encoding-version": "0.1.0"})
    _write_embedding(root["obsm"], annotation)
    write_elem(root["uns"], UNS.annotation, {**provenance, _COLUMNS_WRITTEN: np.array(list(columns), dtype=object)})


def _write_embedding(obsm: Any, annotation: Annotation) -> None:
    """As `write_elem` would, but a shard at a time."""
    if OBSM.embedding in obsm:
        del obsm[OBSM.embedding]
    shape = (len(annotation), annotation.embedding_size)
    create = obsm.create_dataset if isinstance(obsm, h5py.Group) else obsm.create_array
    array = create(OBSM.embedding, shape=shape, dtype=np.float32)
    array.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    for start, embedding_NE in annotation.embeddings():
        array[start : start + len(embedding_NE)] = embedding_NE


def _reserve(target: Path, annotation: Annotation) -> None:
    """Make the copy as long as it will be at most: HDF5 that meets a full disk may crash the process.

    Raises:
        OSError: there is not enough space.
    """
    if not hasattr(os, "posix_fallocate"):  # macOS
        return
    needed = len(annotation) * (4 * annotation.embedding_size + 4 * len(_OURS)) + _SLACK_BYTES
    with target.open("r+b") as stream:
        size = target.stat().st_size
        os.posix_fallocate(stream.fileno(), size, needed)


def _columns_of_ours(root: Any) -> set[str]:
    written = root.get(f"uns/{UNS.annotation}/{_COLUMNS_WRITTEN}")
    if written is None:
        return set()
    return {str(name) for name in np.atleast_1d(read_elem(written))} & _OURS  # it may say anything


def _replace_columns(obs: Any, columns: dict[str, Any], ours: set[str], source: Path) -> None:
    """Write `columns` and drop what an earlier run of ours left; a column of the input's own leaves `columns`.

    The labels and confidences of any earlier annotation are replaced, CellTypist's too: they bear the same names.
    """
    if OBS.ontology_term in obs and OBS.ontology_term not in ours and columns.pop(OBS.ontology_term, None) is not None:
        logger.warning("%s: keeps its own obs[%r]; the model's ids are not written.", source, OBS.ontology_term)
    earlier = {OBS.predicted_labels, OBS.conf_score, *columns, *ours} & set(obs)
    if earlier:
        names = ", ".join(sorted(earlier))
        logger.warning("%s: obs columns of an earlier annotation are replaced in the output: %s.", source, names)
    order = [name.decode() if isinstance(name, bytes) else str(name) for name in obs.attrs["column-order"]]
    for name in earlier - set(columns):
        del obs[name]
    order = [name for name in order if name in obs or name in columns]
    for name, values in columns.items():
        write_elem(obs, name, values)
    order += [name for name in columns if name not in order]
    text = isinstance(obs, h5py.Group)
    obs.attrs["column-order"] = np.array(order, dtype=h5py.string_dtype()) if text else order
