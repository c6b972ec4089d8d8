"""Cells of an annotated table as the map shows them, and the columns of obs that it can be coloured by."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sctransformer._constants import OBS
from sctransformer.annotation.fields import MAJORITY
from sctransformer.reports.content import Grouping, ShownCells, Values

MOST_CATEGORIES = 60
"""A column of the file with more categories is not shown."""
MOST_OTHERS = 10
"""Number of columns that are not ours and are shown."""
_OURS = {
    OBS.predicted_labels: "label",
    OBS.raw_labels: "most likely label, also where unknown",
    OBS.second_labels: "second most likely label",
    OBS.reason: "reason for unknown",
    MAJORITY: "label by majority of the cluster",
}
_VALUES = {
    OBS.conf_score: "confidence",
    OBS.novelty: "novelty",
    OBS.second_score: "confidence of the second most likely label",
    OBS.library_size: "counts per cell",
}
_LIMITS = {OBS.conf_score: "threshold", OBS.novelty: "novelty_threshold"}
_NOT_SHOWN = (OBS.top_regulators, OBS.ontology_term, "over_clustering")


def shown_cells(
    obs: pd.DataFrame,
    rows_N: NDArray[np.int64],
    record: Mapping[str, Any],
    positions: tuple[NDArray[np.float32], str],
    activity_NR: NDArray[np.float32] | None,
    source: str,
) -> ShownCells:
    """Some cells of an annotated table.

    Args:
        obs: all cells, with the columns of an annotation.
        rows_N: the cells to show.
        record: thresholds of the model, see `values_of`.
        positions: of these cells, and where they come from.
        activity_NR: activities of these cells; None without activities.
        source: the file that they come from.
    """
    shown, top = obs.iloc[rows_N], None
    if OBS.top_regulators in shown:
        top = ["" if pd.isna(text) else str(text) for text in shown[OBS.top_regulators]]
    return ShownCells(
        names=shown.index.astype(str).tolist(),
        total=len(obs),
        position_N2=positions[0],
        position_source=positions[1],
        groupings=groupings_of(shown),
        values=values_of(shown, record),
        activity_NR=activity_NR,
        top=top,
        source=source,
    )


def groupings_of(obs: pd.DataFrame) -> dict[str, Grouping]:
    """The columns with categories: those of the annotation, and the first others with few categories.

    Args:
        obs: the shown cells.
    """
    found = {name: grouping(obs[name], title) for name, title in _OURS.items() if name in obs}
    others = 0
    for name in map(str, obs.columns):
        if name in found or name in _NOT_SHOWN or name in _VALUES or others == MOST_OTHERS:
            continue
        column = obs[name]
        if not _is_categorical(column):
            continue
        one = grouping(column, name)
        if 2 <= len(one.names) <= MOST_CATEGORIES:
            found[name], others = one, others + 1
    return found


def values_of(obs: pd.DataFrame, record: Mapping[str, Any]) -> dict[str, Values]:
    """The columns with numbers that an annotation writes.

    Args:
        obs: the shown cells.
        record: of the annotation, with its thresholds.
    """
    found = {}
    for name, title in _VALUES.items():
        if name in obs and pd.api.types.is_numeric_dtype(obs[name]):
            limit = record.get(_LIMITS.get(name, ""))
            is_limit = isinstance(limit, int | float | np.number) and np.isfinite(limit)
            value_N = obs[name].to_numpy(dtype=np.float32, na_value=np.nan)
            found[name] = Values(title, value_N, float(limit) if is_limit and limit is not None else None)
    return found


def grouping(column: pd.Series, title: str) -> Grouping:
    """The categories that occur in a column, in their order."""
    category = column.astype("category").cat.remove_unused_categories()
    names = category.cat.categories.astype(str).tolist()
    return Grouping(title, names, category.cat.codes.to_numpy().astype(np.int32))


def _is_categorical(column: pd.Series) -> bool:
    return isinstance(column.dtype, pd.CategoricalDtype) or column.dtype == object or column.dtype == bool
