"""The report of a folder of annotated files, such as the output of a job: all cells on one map, labels by file."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sctransformer._constants import OBS, OBSM, UNKNOWN_LABEL
from sctransformer.annotation.fields import REGULATORS
from sctransformer.errors import UserError
from sctransformer.reports.annotated import Fields, fields_of_file, report_of_fields
from sctransformer.reports.content import Composition, Report

FILE_COLUMN = "annotated file"
"""Column of obs with the file of each cell."""
_OWN_POSITIONS = "X_umap"
"""Positions of a file are not those of another file."""


def annotated_files(folder: Path) -> list[Path]:
    """The h5ad files and zarr folders in a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.suffix in (".h5ad", ".zarr") and path.name[0] != ".")


def report_of_folder(folder: Path, model: str | None = None) -> Report:
    """Collect the report of all annotated files in a folder.

    Args:
        folder: with h5ad files or zarr folders.
        model: the model that labelled them, for its regulons; None: the one that the files name.

    Raises:
        UserError: a file cannot be read or is not annotated, or two files were labelled by different models.
    """
    files = annotated_files(folder)
    with ExitStack() as stack:
        parts = [stack.enter_context(fields_of_file(path)) for path in files]
        _require_one_model(files, parts)
        names = [path.name for path in files]
        found = report_of_fields(_joined(parts, names), str(folder), model)
        composition = composition_of(names, [part.obs[OBS.predicted_labels].astype(str) for part in parts])
    facts = [("files", f"{len(files):,}"), *found.facts]
    return replace(found, facts=facts, composition=replace(composition, source=str(folder)))


def composition_of(files: Sequence[str], labels: Sequence[pd.Series]) -> Composition:
    """Number of cells of each label in each file; labels by their number of cells, `unknown` last."""
    table = pd.DataFrame({name: own.value_counts() for name, own in zip(files, labels, strict=True)}).fillna(0)
    order = table.sum(axis=1).sort_values(ascending=False, kind="stable").index.tolist()
    order.sort(key=lambda name: name == UNKNOWN_LABEL)
    return Composition(list(files), order, table.loc[order].T.to_numpy(dtype=np.int64), "")


def _require_one_model(files: Sequence[Path], parts: Sequence[Fields]) -> None:
    for path, part in zip(files, parts, strict=True):
        if OBS.predicted_labels not in part.obs:
            raise UserError(
                f"{path}: is not annotated (obs has no column {OBS.predicted_labels!r}); a report of a folder needs "
                "annotated files only."
            )
        if part.record.get("model_identity") != parts[0].record.get("model_identity"):
            raise UserError(
                f"{path}: was not labelled by the model of {files[0].name}; annotate both with one model, or make a "
                "report of each."
            )


def _joined(parts: Sequence[Fields], names: Sequence[str]) -> Fields:
    """The cells of all files. Of the records, what all files share, so no threshold of one file alone."""
    obs = pd.concat([part.obs for part in parts])
    repeated = np.repeat(np.arange(len(parts)), [len(part.obs) for part in parts])
    if FILE_COLUMN not in obs:
        own = pd.Series(pd.Categorical.from_codes(repeated, pd.Index(names)), index=obs.index)
        obs.insert(0, FILE_COLUMN, own.array)
    shapes = [{name: tuple(values.shape)[1:] for name, values in part.obsm.items()} for part in parts]
    shared = [
        name
        for name, shape in shapes[0].items()
        if name != _OWN_POSITIONS and all(other.get(name) == shape for other in shapes)
    ]
    record = {
        name: value
        for name, value in parts[0].record.items()
        if name == REGULATORS or all(_equal(value, part.record.get(name)) for part in parts)
    }
    described = record.get(REGULATORS)
    if isinstance(described, Mapping):  # the number of targets is that in a file
        record[REGULATORS] = {name: value for name, value in described.items() if name != "targets"}
    if OBSM.regulators not in shared:
        record.pop(REGULATORS, None)
    return Fields(obs, {name: _JoinedRows([part.obsm[name] for part in parts]) for name in shared}, record)


def _equal(one: Any, other: Any) -> bool:
    return np.ndim(one) == 0 and np.ndim(other) == 0 and not isinstance(one, Mapping) and bool(one == other)


class _JoinedRows:
    """Arrays one below the other, of which slices are read."""

    def __init__(self, parts: Sequence[Any]) -> None:
        self._parts = parts
        self._end_F = np.cumsum([part.shape[0] for part in parts])
        self.shape = (int(self._end_F[-1]), *parts[0].shape[1:])

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        start, stop, _ = rows.indices(self.shape[0])
        found = []
        for part, end in zip(self._parts, self._end_F, strict=True):
            first = int(end) - part.shape[0]
            if start < end and stop > first:
                found.append(np.asarray(part[max(start - first, 0) : stop - first]))
        return np.concatenate(found) if found else np.zeros((0, *self.shape[1:]), dtype=np.float32)
