"""What the labels of a model rest on: the genes that separate each cell type from the others, and its regulators."""

import difflib
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sctransformer._constants import BEATS_SHUFFLES, BUNDLE, TYPE_MEAN
from sctransformer.annotation.label_weights import LabelWeights, read_label_weights
from sctransformer.annotation.regulators import TYPICAL, type_differences
from sctransformer.errors import UserError
from sctransformer.evaluation.profile import array
from sctransformer.export.bundle import Bundle
from sctransformer.wording import some

logger = logging.getLogger(__name__)

TOP = 20
"""Number of genes, and of regulators, that are listed."""
_TARGETS = 5
"""Number of targets that are listed for a regulator."""
_REGULATOR_COLUMNS = {
    "cell_type": object,
    "regulator": object,
    "difference": float,
    "contribution": float,
    "targets": int,
    "top_targets": object,
}


class Explanation(NamedTuple):
    """What the labels of a model rest on, as three tables with a column `cell_type`; see `explain_types`."""

    summary: pd.DataFrame
    """One row per cell type: genes and activities (sums of all contributions), activities_share (of the sum of both),
    listed_share (fraction of all positive contributions of genes that the listed genes have)."""
    genes: pd.DataFrame
    """Genes with the largest contributions: gene, contribution, weight, mean, mean_others."""
    regulators: pd.DataFrame
    """Regulators whose mean activity in the type differs from the other types by at least half a standard deviation,
    the largest first: regulator, difference (in standard deviations of the training cells), contribution, targets
    (their number), top_targets (names; see `top_targets`), and evidence if the bundle has it. Those that do not beat
    95 % of the shuffled networks are left out."""


def explain_types(bundle: Bundle, cell_types: Sequence[str] | None = None, top: int = TOP) -> Explanation:
    """Explain the labels of a model from its weights and the mean expression of its training cells.

    The contribution of a gene to a cell type is its weight times the difference between its mean log expression in the
    type's training cells and in the other types, each of which counts once. The weight is that of the type's logit
    minus the mean of the others. The contribution of a regulator is the same with its mean activity. Labels are linear
    in genes and activities, so contributions are exact: call margin the logit of the type minus the mean of the other
    logits; then all contributions add up to the mean margin in the type minus that in the other types. The unit is log
    odds.

    Args:
        bundle: the model, verified.
        cell_types: names; None: all with training cells.
        top: number of genes, and of regulators, per cell type.

    Raises:
        UserError: the labels are not linear in expression, a cell type does not exist or has no training cells, or the
            bundle has no mean expression of cell types.
    """
    require_top(top)
    weights, names = read_label_weights(bundle), bundle.labels["name"].tolist()
    mean_CG = _mean_expression(bundle, names)
    known = np.flatnonzero(np.isfinite(mean_CG[:, 0]))
    chosen = [names[index] for index in known] if cell_types is None else list(cell_types)
    for name in chosen:
        _require_type(bundle, name, names, known)
    differences = _activity_differences(bundle, weights, names)
    found = [
        _explain_type(bundle, weights, mean_CG, differences, names.index(name), top) for name in dict.fromkeys(chosen)
    ]
    return Explanation(*(_joined(tables) for tables in zip(*found, strict=True)))


def type_contributions(
    weight_GC: NDArray[np.float64], mean_CG: NDArray[np.float64], label: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Contribution of each gene (or regulator) to a cell type, and its weight; see `explain_types`.

    Args:
        weight_GC: change of each logit per unit.
        mean_CG: mean of each type; rows of types without training cells are NaN.
        label: position of the cell type.
    """
    others = np.arange(weight_GC.shape[1]) != label
    weight_G = weight_GC[:, label] - weight_GC[:, others].mean(axis=1)
    return weight_G * (mean_CG[label] - mean_of_others(mean_CG, label)), weight_G


def mean_of_others(mean_CG: NDArray[np.float64], label: int) -> NDArray[np.float64]:
    """Mean of the means of the other types that have training cells."""
    others_CG = np.delete(mean_CG, label, axis=0)
    return np.asarray(others_CG[np.isfinite(others_CG).all(axis=1)].mean(axis=0))


class _Activities(NamedTuple):
    """What is known of the activities of the cell types."""

    mean_CR: NDArray[np.float64]
    difference_CR: NDArray[np.float64]
    """See `type_differences`."""
    is_known_C: NDArray[np.bool_]


def _activity_differences(bundle: Bundle, weights: LabelWeights, names: list[str]) -> _Activities:
    table, unknown_C = bundle.regulators, np.zeros(len(names), dtype=bool)
    if table is None:
        empty_CR = np.zeros((len(names), 0))
        return _Activities(empty_CR, empty_CR, unknown_C)
    difference_CR, is_known_C = type_differences(table, names)
    if not is_known_C.any():
        logger.warning(
            "%s: has no mean activities of cell types, so regulators are not listed; export the model again.",
            bundle.folder / BUNDLE.regulators,
        )
        return _Activities(np.full(difference_CR.shape, np.nan), difference_CR, unknown_C)
    return _Activities(table[[TYPE_MEAN + name for name in names]].to_numpy(float).T, difference_CR, is_known_C)


def _explain_type(
    bundle: Bundle,
    weights: LabelWeights,
    mean_CG: NDArray[np.float64],
    activities: _Activities,
    label: int,
    top: int,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The three tables of an `Explanation` for one cell type."""
    name, genes = bundle.labels["name"].iloc[label], np.array(bundle.genes, dtype=object)
    contribution_G, weight_G = type_contributions(weights.gene_GC, mean_CG, label)
    order = np.argsort(-contribution_G, kind="stable")[:top]
    order = order[contribution_G[order] > 0]
    gene_table = pd.DataFrame(
        {
            "cell_type": name,
            "gene": genes[order],
            "contribution": contribution_G[order],
            "weight": weight_G[order],
            "mean": mean_CG[label, order],
            "mean_others": mean_of_others(mean_CG, label)[order],
        }
    )
    regulators = _regulators(bundle, weights, mean_CG, activities, label)
    of_genes = contribution_G.sum()
    of_activities = regulators["contribution"].sum() if activities.is_known_C[label] else np.nan
    of_activities = of_activities if weights.use_activities else 0.0
    positive = contribution_G[contribution_G > 0].sum()
    summary = {
        "cell_type": name,
        "genes": of_genes,
        "activities": of_activities,
        "activities_share": _ratio(of_activities, of_genes + of_activities),
        "listed_share": _ratio(contribution_G[order].sum(), positive),
    }
    is_typical = regulators["difference"].abs() >= TYPICAL
    if "evidence" in regulators:
        is_typical &= regulators["evidence"] >= BEATS_SHUFFLES
    typical = regulators[is_typical].sort_values("difference", key=np.abs, ascending=False, kind="stable")
    return pd.DataFrame([summary]), gene_table, typical.head(top)


def _regulators(
    bundle: Bundle, weights: LabelWeights, mean_CG: NDArray[np.float64], activities: _Activities, label: int
) -> pd.DataFrame:
    """All regulators of one cell type; no rows if their activities in the types are not known."""
    table = bundle.regulators
    if table is None or not activities.is_known_C[label]:
        return pd.DataFrame(columns=list(_REGULATOR_COLUMNS)).astype(_REGULATOR_COLUMNS)
    contribution_R, _ = type_contributions(weights.activity_RC, activities.mean_CR, label)
    difference_R = activities.difference_CR[label]
    z_G = (mean_CG[label] - weights.mean_G) * weights.scale_G
    values: dict[str, Any] = {
        "cell_type": bundle.labels["name"].iloc[label],
        "regulator": table["regulator"].astype(str),
        "difference": difference_R,
        "contribution": contribution_R,
        "targets": table["targets"],
        "top_targets": top_targets(weights, z_G, difference_R, bundle.genes),
    }
    found = pd.DataFrame(values)
    return found.assign(evidence=table["evidence"]) if "evidence" in table else found


def top_targets(
    weights: LabelWeights, z_G: NDArray[np.float64], difference_R: NDArray[np.float64], genes: Sequence[str]
) -> list[str]:
    """The targets that carry the activity of each regulator most: edge weight times the target's mean expression.

    Args:
        weights: with the trained edges.
        z_G: mean expression in standard deviations from the mean of the training cells.
        difference_R: whether the regulator is more (positive) or less active: targets that add to this are listed.
        genes: the vocabulary.

    Returns:
        Up to five names per regulator, such as `LYZ, S100A8`.
    """
    direction_R = np.where(difference_R < 0, -1.0, 1.0)
    message_J = weights.weight_J * z_G[weights.target_J] * direction_R[weights.regulator_J]
    named: list[list[str]] = [[] for _ in difference_R]
    for edge in np.argsort(-message_J, kind="stable"):
        names = named[weights.regulator_J[edge]]
        if message_J[edge] > 0 and len(names) < _TARGETS:
            names.append(genes[weights.target_J[edge]])
    return [", ".join(names) for names in named]


def _joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat([one for one in tables if len(one)] or tables[:1], ignore_index=True)


def _mean_expression(bundle: Bundle, names: Sequence[str]) -> NDArray[np.float64]:
    """Mean log1p of counts per 10,000 in the training cells of each type, types x genes; NaN for a type without."""
    by_label = bundle.reference.get("profile", {}).get("expression_by_label", {})
    absent_G = np.full(len(bundle.genes), np.nan)
    mean_CG = np.array([array(by_label[name]) if name in by_label else absent_G for name in names])
    if mean_CG.shape != (len(names), len(absent_G)) or np.isfinite(mean_CG[:, 0]).sum() < 2:
        raise UserError(
            f"{bundle.folder / BUNDLE.reference}: profile.expression_by_label lacks the mean expression of at least "
            "two cell types; export the model again."
        )
    return mean_CG


def _require_type(bundle: Bundle, name: str, names: list[str], known: NDArray[np.integer]) -> None:
    """Refuse a cell type that the model does not have, or that has no training cells."""
    if name not in names:
        near = near_names(name, names)
        hint = f"did you mean {' or '.join(near)}?" if near else f"its cell types are {some(names)}."
        raise UserError(f"{bundle.shown}: has no cell type {name!r}; {hint}")
    if names.index(name) not in known:
        raise UserError(
            f"{bundle.folder / BUNDLE.reference}: profile.expression_by_label lacks {name!r}, which has no training "
            "cells; choose another cell type."
        )


def require_top(top: int) -> None:
    """Refuse a number of listed genes that is less than 1."""
    if top < 1:
        raise UserError(f"top is {top}, expected at least 1.")


def near_names(name: str, names: Sequence[str], count: int = 3) -> list[str]:
    """Names that are similar to one that does not exist, without regard to letter case."""
    folded = {str(other).lower(): str(other) for other in names}
    return [folded[other] for other in difflib.get_close_matches(str(name).lower(), folded, n=count)]


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0
