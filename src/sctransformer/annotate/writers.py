"""Writing annotations: a copy of the input with new elements beside the old ones. X is copied, never read."""

import logging
import os
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem, write_elem
from numpy.typing import NDArray

from sctransformer._constants import OBS, OBSM, UNKNOWN_LABEL, UNS
from sctransformer.annotate.stream import UNKNOWN, Annotation
from sctransformer.errors import UserError

logger = logging.getLogger(__name__)

_SLACK_BYTES = 2**20
"""For names, categories and the tables of HDF5."""
_COLUMNS_WRITTEN = "obs_columns"
"""Member of `uns["sctransformer"]`: the columns that are ours, so that a later run knows which it may replace."""


def write_annotated(
    source: Path, target: Path, annotation: Annotation, labels: pd.DataFrame, provenance: dict[str, Any]
) -> None:
    """Copy an h5ad file and add what the model says of its cells.

    Sets `obs["predicted_labels"]` (categorical), `obs["conf_score"]` (float32),
    `obs["cell_type_ontology_term_id"]` (categorical; only if the model knows any id and the input has no such column of
    its own), `obsm["X_sctransformer"]` (float32) and `uns["sctransformer"]`. Everything else stays as in the input.

    Args:
        source: the input; only read.
        target: the copy; must not exist. It is half-written while this runs: rename it afterwards.
        labels: classes with their Cell Ontology ids, see `Bundle.labels`.
        provenance: content of `uns["sctransformer"]`.

    Raises:
        UserError: the copy cannot be written, for example because the disk is full.
    """
    try:
        shutil.copyfile(source, target)
        columns = _columns(annotation, labels)
        _reserve(target, annotation)
        with h5py.File(target, "r+") as file:  # closing it cuts off what was reserved and not used
            _replace_columns(file["obs"], columns, _columns_of_ours(file), source)
            write_elem(file.require_group("obsm"), OBSM.embedding, annotation.embedding_NE)
            write_elem(
                file.require_group("uns"), UNS.annotation, {**provenance, _COLUMNS_WRITTEN: np.array(list(columns))}
            )
    except (OSError, RuntimeError) as error:  # HDF5 reports a full disk as either
        folder = target.parent.parent  # the parent is the temporary folder
        found = " ".join(str(error).split())  # HDF5 breaks lines
        raise UserError(f"{folder / target.name}: cannot be written ({found}); check the space left there.") from error


def _reserve(target: Path, annotation: Annotation) -> None:
    """Make the copy as long as it will be at most: HDF5 that meets a full disk may crash the process.

    Raises:
        OSError: there is not enough space.
    """
    if not hasattr(os, "posix_fallocate"):  # macOS
        return
    columns = annotation.confidence_N.nbytes + 2 * annotation.label_N.nbytes
    with target.open("r+b") as stream:
        size = target.stat().st_size
        os.posix_fallocate(stream.fileno(), size, annotation.embedding_NE.nbytes + columns + _SLACK_BYTES)


def _columns(annotation: Annotation, labels: pd.DataFrame) -> dict[str, Any]:
    names = labels["name"].tolist()
    columns = {
        OBS.predicted_labels: _categorical(annotation.label_N, names),
        OBS.conf_score: annotation.confidence_N,
    }
    ids = labels[OBS.ontology_term].replace("", UNKNOWN_LABEL).tolist()
    if set(ids) != {UNKNOWN_LABEL}:
        columns[OBS.ontology_term] = _categorical(annotation.label_N, ids)
    return columns


def _categorical(label_N: NDArray[np.int64], names: list[str]) -> "pd.Categorical[str]":
    """Each cell's name; `unknown` where it was rejected or its class has no name.

    All of the model's names are categories, in its order, so that the outputs of several files fit together.
    """
    categories = list(dict.fromkeys([*names, UNKNOWN_LABEL]))
    position = {name: index for index, name in enumerate(categories)}
    code_C = np.array([position[name] for name in [*names, UNKNOWN_LABEL]])  # UNKNOWN, -1, takes the last
    assert UNKNOWN == -1
    return pd.Categorical.from_codes(code_C[label_N].tolist(), categories=pd.Index(categories))


def _columns_of_ours(file: h5py.File) -> set[str]:
    written = file.get(f"uns/{UNS.annotation}/{_COLUMNS_WRITTEN}")
    return set() if written is None else {str(name) for name in read_elem(written)}


def _replace_columns(obs: h5py.Group, columns: dict[str, Any], ours: set[str], source: Path) -> None:
    """Write `columns` and drop what an earlier run of ours left; a column of the input's own leaves `columns`.

    The labels and confidences of any earlier annotation are replaced, CellTypist's too: they bear the same names.
    """
    if OBS.ontology_term in obs and OBS.ontology_term not in ours and columns.pop(OBS.ontology_term, None) is not None:
        logger.warning("%s: keeps its own obs[%r]; the model's ids are not written.", source, OBS.ontology_term)
    earlier = {OBS.predicted_labels, OBS.conf_score, *ours} & set(obs)
    if earlier:
        names = ", ".join(sorted(earlier))
        logger.warning("%s: obs columns of an earlier annotation are replaced in the output: %s.", source, names)
    order = [name.decode() if isinstance(name, bytes) else str(name) for name in obs.attrs["column-order"]]
    for name in earlier - set(columns):
        del obs[name]
        order.remove(name)
    for name, values in columns.items():
        write_elem(obs, name, values)
    order += [name for name in columns if name not in order]
    obs.attrs["column-order"] = np.array(order, dtype=h5py.string_dtype())
