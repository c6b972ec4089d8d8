"""The fields of AnnData that an annotation becomes, in memory and in every kind of file."""

import logging
from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sctransformer import __version__
from sctransformer._constants import OBS, UNKNOWN_LABEL
from sctransformer.annotation.labelling import NOVEL, REASONS, UNKNOWN, Calls
from sctransformer.annotation.limits import Limits
from sctransformer.annotation.model import Model
from sctransformer.annotation.reading import CheckedCells
from sctransformer.annotation.regulators import Regulators
from sctransformer.annotation.settings import Scoring

logger = logging.getLogger(__name__)

GROUPS, MAJORITY = "over_clustering", "majority_voting"
"""Columns of obs with CellTypist's names, see `voting`."""
_WRITTEN = {
    *(OBS.predicted_labels, OBS.conf_score, OBS.raw_labels, OBS.second_labels, OBS.second_score, OBS.reason),
    *(OBS.novelty, OBS.ontology_term, OBS.top_regulators, GROUPS, MAJORITY),
}
"""Columns of obs that an annotation may write, of at most four bytes per cell beside the names of categories."""
CELL_TYPES = "cell_types"
"""Member of `uns["sctransformer"]`: names of the columns of `obsm["sctransformer_probabilities"]`."""
REGULATORS = "regulators"
"""Member of `uns["sctransformer"]`: the columns of `obsm["X_regulators"]`, see `Regulators.described`."""
COLUMNS_WRITTEN = "obs_columns"
"""Member of `uns["sctransformer"]`: the columns that an annotation wrote, which a later one may replace."""
MOST_COLUMNS = len(_WRITTEN)
_MANY_NOVEL = 0.2
"""Fraction of novel cells above which a warning says what that can mean."""


def label_columns(calls: Calls, labels: pd.DataFrame) -> dict[str, Any]:
    """Columns of obs for each cell.

    These are its label and confidence, both also before rejection, the second most likely label, the reason of a
    rejection and, where the model has them, novelty and the Cell Ontology id of the label.

    Args:
        calls: the labels of the cells.
        labels: cell types with their Cell Ontology ids, see `Bundle.labels`.
    """
    label_N, names = calls.label_N, labels["name"].tolist()
    columns = {
        OBS.predicted_labels: categorical(label_N, names),
        OBS.conf_score: calls.confidence_N,
        OBS.raw_labels: categorical(calls.best_N, names),
        OBS.second_labels: categorical(calls.second_N, names),
        OBS.second_score: calls.second_confidence_N,
        OBS.reason: _in_use(calls.reason_N.tolist(), pd.Index(REASONS)),
    }
    if not np.isnan(calls.novelty_N).all():
        columns[OBS.novelty] = calls.novelty_N
    ids = labels[OBS.ontology_term].replace("", UNKNOWN_LABEL).tolist()
    if set(ids) != {UNKNOWN_LABEL}:
        columns[OBS.ontology_term] = categorical(label_N, ids)
    return columns


def regulator_columns(regulators: Regulators | None, top_N3: NDArray[np.int32]) -> dict[str, Any]:
    """The column of obs that names regulators; none if they are not wanted, or the model has no activities."""
    return {} if regulators is None else {OBS.top_regulators: regulators.named(top_N3)}


def categorical(label_N: NDArray[np.integer], names: list[str]) -> "pd.Categorical[str]":
    """The name of each cell's label; `unknown` where it was rejected or its cell type has no name.

    Categories are the names of these cells, in the model's order; scanpy's plots of groups fail on others.
    """
    categories = list(dict.fromkeys([*names, UNKNOWN_LABEL]))
    position = {name: index for index, name in enumerate(categories)}
    code_C = np.array([position[name] for name in [*names, UNKNOWN_LABEL]])  # UNKNOWN, -1, selects the last
    assert UNKNOWN == -1
    codes_N: Any = code_C[label_N].astype(np.int16)
    return _in_use(codes_N, pd.Index(categories))


def _in_use(codes_N: Any, categories: "pd.Index[str]") -> "pd.Categorical[str]":
    return pd.Categorical.from_codes(codes_N, categories=categories).remove_unused_categories()


def provenance(
    model: Model,
    read: CheckedCells,
    *,
    limits: Limits,
    calls: Calls,
    scoring: Scoring,
    more: dict[str, Any],
) -> dict[str, Any]:
    """The content of `uns["sctransformer"]`: which model labelled the cells, and how.

    Args:
        model: that labelled the cells.
        read: the cells.
        limits: cells beyond these were rejected.
        calls: the labels of the cells.
        scoring: settings of the graph.
        more: further members.
    """
    novelty: dict[str, Any] = {}
    if limits.novelty_note is not None:
        limit = float("nan") if limits.novelty is None else limits.novelty
        novelty = {"novelty_threshold": limit, "novelty_note": limits.novelty_note}
    return {
        "model": model.name,
        "model_version": model.version,
        "model_identity": model.identity,
        "variant": scoring.variant,
        "counts_in": read.cells.counts_in,
        "gene_names": read.match.names_in,
        "gene_coverage": read.match.coverage,
        "genes_missing": len(read.match.missing),
        "genes_missing_shown_as": scoring.absent_genes,
        "threshold": limits.confidence,
        **novelty,
        "rejected": calls.rejected,
        "rejected_by": calls.rejected_by,
        "library_size": str(read.library_sizes),
        **{key: value for key, value in model.bundle.lineage.items() if key == "prior_sha256" and value},
        "sctransformer_version": __version__,
        **more,
    }


def written_before(names: Any) -> set[str]:
    """The columns of obs that an earlier annotation wrote.

    Args:
        names: the member COLUMNS_WRITTEN of its `uns["sctransformer"]`, which may hold anything; None if there is none.
    """
    return set() if names is None else {str(name) for name in np.atleast_1d(names)} & _WRITTEN


class ColumnChanges(NamedTuple):
    """What an annotation does to the columns of obs."""

    written: dict[str, Any]
    removed: list[str]
    renamed: dict[str, str]
    """New names of columns of the input."""


def replace_columns(columns: dict[str, Any], existing: Collection[str], before: set[str], source: str) -> ColumnChanges:
    """Decide which columns of obs to write, and which existing ones to remove or rename.

    Labels and confidences of an earlier annotation are replaced, also those of CellTypist, which have the same names.
    A column of Cell Ontology ids that no annotation wrote is kept. A column whose name differs from one of ours by
    letter case alone is renamed to `<name>_input`: zarr, R and SQL do not tell the two apart.

    Args:
        columns: of the new annotation.
        existing: names of the columns in obs.
        before: those that an earlier annotation wrote, see `written_before`.
        source: what to call the cells in warnings.
    """
    columns = dict(columns)
    if (
        OBS.ontology_term in existing
        and OBS.ontology_term not in before
        and columns.pop(OBS.ontology_term, None) is not None
    ):
        logger.warning("%s: keeps its own obs[%r]; the model's ids are not written.", source, OBS.ontology_term)
    earlier = {OBS.predicted_labels, OBS.conf_score, *columns, *before} & set(existing)
    if earlier:
        names = ", ".join(sorted(earlier))
        logger.warning("%s: obs columns of an earlier annotation are replaced: %s.", source, names)
    renamed = {name: _input_name(name, existing) for name in sorted(set(existing) - earlier) if is_alike(name, columns)}
    for name, new in renamed.items():
        logger.warning(
            "%s: obs[%r] differs from a column of the annotation by letter case alone; it is now obs[%r].",
            *(source, name, new),
        )
    return ColumnChanges(columns, sorted(earlier - set(columns)), renamed)


def is_alike(name: str, columns: Collection[str]) -> bool:
    """Whether a name differs from one of the columns by letter case alone."""
    return name not in columns and name.lower() in {column.lower() for column in columns}


def _input_name(name: str, existing: Collection[str]) -> str:
    taken = {one.lower() for one in existing}
    new = f"{name}_input"
    while new.lower() in taken:
        new += "_"
    return new


def warn_of_many_novel_cells(source: str, calls: Calls) -> None:
    """Warn if many cells are novel: known types that were measured in another way can look new."""
    novel = calls.rejected_by[NOVEL]
    if novel > _MANY_NOVEL * len(calls):
        logger.warning(
            "%s: %.0f %% of the cells are unlike the training cells (novel). Known types can look new if they were "
            "measured by another method or laboratory: compare obs[%r], or run again with --label-novel "
            "(reject_novel=False in Python).",
            *(source, 100 * novel / len(calls), OBS.raw_labels),
        )


def warn_of_larger_library_sizes(read: CheckedCells, library_size_N: NDArray[np.floating]) -> str | None:
    """Warn if a column of obs holds larger library sizes than the sums of counts that were used; return its name."""
    larger = read.library_sizes.larger_column(library_size_N)
    if larger is not None:
        logger.warning(
            "%s: library sizes are the %s, but obs[%r] holds larger values; if genes were removed, run again with "
            "--library-size-column %s (library_size_column in Python and in a job file).",
            *(read.source, read.library_sizes, larger, larger),
        )
    return larger
