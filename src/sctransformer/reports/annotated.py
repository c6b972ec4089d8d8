"""The report of an annotated file: its cells, labels and activities, and the regulons of the model that labelled it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata.io import read_elem
from numpy.typing import NDArray

from sctransformer._constants import OBS, OBSM, UNKNOWN_LABEL, UNS
from sctransformer.annotation.fields import REGULATORS
from sctransformer.data.obs_table import read_table
from sctransformer.data.opening import open_root
from sctransformer.errors import UserError, one_line
from sctransformer.export.bundle import Bundle
from sctransformer.registry.opening import open_model
from sctransformer.registry.references import Reference, is_reference, parse_reference
from sctransformer.reports.columns import shown_cells
from sctransformer.reports.content import MOST_CELLS, Regulators, Report
from sctransformer.reports.positions import positions_of, sampled_rows
from sctransformer.reports.regulons import regulators_of
from sctransformer.wording import counted

_ROWS = 4096
"""Cells whose activities are read at a time."""
_FACTS = (
    ("model", "model"),
    ("model_version", "version"),
    ("annotated_at", "annotated"),
    ("gene_coverage", "coverage of the panel"),
    ("threshold", "confidence threshold"),
    ("novelty_threshold", "novelty threshold"),
)
"""Members of the record of an annotation that the head of the page shows."""


def report_of_file(path: Path, model: str | None = None) -> Report:
    """Collect the report of an annotated h5ad file or zarr folder.

    Args:
        path: the file.
        model: the model that labelled it, for its regulons; None: the one that the file names.

    Raises:
        UserError: the file cannot be read, has no annotation or no cells, or another model labelled it.
    """
    with fields_of_file(path) as fields:
        return report_of_fields(fields, str(path), model)


def report_of_fields(fields: "Fields", source: str, model: str | None = None) -> Report:
    """Collect the report of annotated cells; arguments as for `report_of_file`."""
    obs, record = fields.obs, fields.record
    if OBS.predicted_labels not in obs:
        raise UserError(
            f"{source}: is not annotated (obs has no column {OBS.predicted_labels!r}); annotate it first: "
            "`sctransformer annotate -i FILE -m MODEL -o FOLDER --regulators all`."
        )
    if not len(obs):
        raise UserError(f"{source}: has no cells; a report needs at least one.")
    rows_N = sampled_rows(len(obs), MOST_CELLS)
    notes = []
    if OBS.novelty not in obs:
        notes.append("The file has no novelty: its model has none.")
    regulators, activity_NR = _regulators(fields, rows_N, source)
    if regulators is None:
        notes.append(
            f"The file has no activities of regulators (obsm[{OBSM.regulators!r}]): annotate it with `--regulators "
            "all` (regulators='all' in Python) to see them here."
        )
    else:
        bundle, why = _bundle_of(record, model)
        if bundle is None:
            notes.append(f"The targets of regulators are not shown: {why}")
        else:
            regulators = _with_regulons(regulators, bundle)
    positions = _positions(fields, rows_N, source)
    cells = shown_cells(obs, rows_N, record, positions, activity_NR, source)
    facts = [("cells", f"{len(obs):,}"), *_record_facts(record)]
    return Report(Path(source).name, facts, cells, regulators, None, notes)


class Fields:
    """The fields of annotated cells that a report reads.

    Args:
        obs: the table of cells.
        obsm: arrays with a row per cell, by name; HDF5 datasets are read in parts.
        record: `uns["sctransformer"]`; empty if there is none.
    """

    def __init__(self, obs: pd.DataFrame, obsm: Mapping[str, Any], record: Mapping[str, Any]) -> None:
        self.obs, self.obsm, self.record = obs, obsm, record

    def rows(self, name: str, rows_N: NDArray[np.int64]) -> NDArray[np.float32]:
        """Rows of an array."""
        parts = [part[rows_N[own] - start] for start, part, own in self._parts(name, rows_N)]
        return np.concatenate(parts).astype(np.float32)

    def chunks(self, name: str) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """All rows of an array, some thousands at a time, with the position of the first."""
        values = self.obsm[name]
        for start in range(0, len(self.obs), _ROWS):
            yield start, np.asarray(values[start : start + _ROWS], dtype=np.float32)

    def _parts(
        self, name: str, rows_N: NDArray[np.int64]
    ) -> Iterator[tuple[int, NDArray[np.float32], NDArray[np.bool_]]]:
        for start, part in self.chunks(name):
            own = (rows_N >= start) & (rows_N < start + len(part))
            if own.any():
                yield start, part, own


@contextmanager
def fields_of_file(path: Path) -> Iterator[Fields]:
    """The fields of an annotated file, which stays open: arrays are read in parts.

    Raises:
        UserError: the file cannot be read.
    """
    root, file = open_root(path)
    try:
        yield _read(root, path)
    finally:
        if file is not None:
            file.close()


def _read(root: Any, path: Path) -> Fields:
    try:
        obs = read_table(root["obs"])
        uns = root.get("uns")
        record = read_elem(uns[UNS.annotation]) if uns is not None and UNS.annotation in uns else {}
        obsm = root.get("obsm")
        arrays = {} if obsm is None else {name: obsm[name] for name in obsm if hasattr(obsm[name], "shape")}
    except Exception as error:  # h5py, zarr and anndata raise many kinds of exceptions
        raise UserError(
            f"{path}: its cells cannot be read ({one_line(error)}); expected an annotated h5ad file or zarr folder."
        ) from error
    if not isinstance(obs, pd.DataFrame):
        raise UserError(f"{path}: obs is no table; expected a file written by `sctransformer annotate`.")
    for name, values in arrays.items():
        if not len(values.shape) or values.shape[0] != len(obs):
            raise UserError(f"{path}: obsm[{name!r}] has shape {values.shape} for {counted(len(obs), 'cell')}.")
    return Fields(obs, arrays, record if isinstance(record, Mapping) else {})


def _positions(fields: Fields, rows_N: NDArray[np.int64], source: str) -> tuple[NDArray[np.float32], str]:
    """Positions of the shown cells: those of the file, or positions from its embedding."""
    known = fields.obsm.get("X_umap")
    if known is not None and len(known.shape) == 2 and known.shape[1] >= 2:
        position_N2 = fields.rows("X_umap", rows_N)[:, :2]
        if np.isfinite(position_N2).all():
            return position_N2, "obsm['X_umap'] of the file"
    for name in (OBSM.embedding, "X_pca"):
        if name in fields.obsm and len(fields.obsm[name].shape) == 2:
            return positions_of(fields.rows(name, rows_N), f"obsm[{name!r}] of the file")
    raise UserError(f"{source}: has no embedding (obsm[{OBSM.embedding!r}]) for a map of its cells; annotate it again.")


def _regulators(
    fields: Fields, rows_N: NDArray[np.int64], source: str
) -> tuple[Regulators | None, NDArray[np.float32] | None]:
    """The regulators of a file with their mean activity by label, and the activities of the shown cells."""
    described = fields.record.get(REGULATORS)
    if OBSM.regulators not in fields.obsm or not isinstance(described, Mapping) or "name" not in described:
        return None, None
    names = [str(name) for name in np.atleast_1d(described["name"])]
    shape = tuple(fields.obsm[OBSM.regulators].shape)
    if len(shape) != 2 or shape[1] != len(names):
        raise UserError(
            f"{source}: obsm[{OBSM.regulators!r}] has shape {shape}, but uns[{UNS.annotation!r}][{REGULATORS!r}] names "
            f"{counted(len(names), 'regulator')}; annotate it again."
        )
    types, mean_CR = _means(fields, fields.obs[OBS.predicted_labels])
    table = {name: np.atleast_1d(values) for name, values in described.items() if name in ("targets", "evidence")}
    table = {name: values for name, values in table.items() if len(values) == len(names)}
    evidence = table.pop("evidence", None)
    regulators = Regulators(
        names=names,
        evidence_R=None if evidence is None else evidence.astype(np.float64),
        types=types,
        mean_CR=mean_CR,
        cells="the cells of the file, by their label",
        source=source,
        details=pd.DataFrame(table, index=pd.RangeIndex(len(names))),
    )
    return regulators, fields.rows(OBSM.regulators, rows_N)


def _means(fields: Fields, labels: pd.Series) -> tuple[list[str], NDArray[np.float64]]:
    """Mean activity of each label with cells, named with their number, `unknown` last.

    Cells without an activity of a regulator are left out of its mean.
    """
    category = labels.astype("category")
    names, code_N = category.cat.categories.astype(str).tolist(), category.cat.codes.to_numpy()
    total_CR = np.zeros((len(names), fields.obsm[OBSM.regulators].shape[1]))
    known_CR = np.zeros_like(total_CR)
    for start, part_NR in fields.chunks(OBSM.regulators):
        code, is_known = code_N[start : start + len(part_NR)], np.isfinite(part_NR)
        values = np.where(is_known, part_NR, 0.0)
        for label in np.unique(code[code >= 0]):
            total_CR[label] += values[code == label].sum(axis=0)
            known_CR[label] += is_known[code == label].sum(axis=0)
    with np.errstate(invalid="ignore"):
        mean_CR = total_CR / np.where(known_CR > 0, known_CR, np.nan)
    found = [index for index in range(len(names)) if (code_N == index).any()]
    order = sorted(found, key=lambda index: names[index] == UNKNOWN_LABEL)
    return [f"{names[index]} ({int((code_N == index).sum()):,})" for index in order], mean_CR[order]


def _with_regulons(regulators: Regulators, bundle: Bundle) -> Regulators:
    """Add the edges of the model to the regulators of a file that it labelled."""
    own = regulators_of(bundle)
    if own is None or own.names != regulators.names:
        return regulators
    known = [name for name in ("departure", "agreement") if name in own.details]
    return replace(
        regulators,
        details=regulators.details.join(own.details[known].set_axis(regulators.details.index)),
        edges=own.edges,
        edges_source=own.edges_source,
    )


def _bundle_of(record: Mapping[str, Any], model: str | None) -> tuple[Bundle | None, str]:
    """The model that labelled a file, or why it is not known.

    Raises:
        UserError: the given model is not the one that labelled the file.
    """
    identity = record.get("model_identity")
    if model is not None:
        bundle = open_model(model).bundle
        if identity is not None and bundle.identity != identity:
            raise UserError(f"{model}: is not the model that labelled this file (its identity is another).")
        return bundle, ""
    for reference in _references(record):
        with suppress(UserError):
            bundle = open_model(reference).bundle
            if bundle.identity == identity:
                return bundle, ""
    named = record.get("model")
    if not named:
        return None, "the file does not name its model; give it with --model."
    return None, f"the model that labelled the file ({named}) was not found here; give it with --model."


def _references(record: Mapping[str, Any]) -> Iterator[str]:
    """What may lead to the model that labelled a file, the most certain first."""
    named, version = str(record.get("model", "")), str(record.get("model_version", ""))
    if is_reference(named) and version.isdecimal():
        yield str(Reference(parse_reference(named).name, version=int(version)))  # the alias may have moved since
    if named:
        yield named


def _record_facts(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, title in _FACTS:
        value = record.get(name)
        if value is not None and str(value):
            shown = f"{value:.1%}" if name == "gene_coverage" and isinstance(value, float) else str(value)
            yield title, f"{value:.3g}" if isinstance(value, float | np.floating) and shown[-1] != "%" else shown
