"""What a model associates with a regulator's activity: its targets and labels if the activity were low or high.

One step only: the activity is set, the targets follow it, and labels follow both. Other regulators, and genes that are
no targets, stay as they are. It is an association in the given cells, not a measured effect.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sctransformer._constants import BEATS_SHUFFLES
from sctransformer.annotation.explain import near_names
from sctransformer.annotation.label_weights import LabelWeights
from sctransformer.annotation.regulators import least_targets
from sctransformer.annotation.target_response import (
    Edges,
    MeasuredCells,
    Response,
    fit_response,
    measured_edges,
    network_edges,
    relative,
    trained_edges,
)
from sctransformer.errors import UserError
from sctransformer.export.bundle import Bundle
from sctransformer.prior.controls import shuffled
from sctransformer.prior.network import Network
from sctransformer.wording import counted, some

LEVEL = 2.0
"""Standard deviations of the training cells below, or above, their mean to which an activity is set."""
FEWEST_CELLS = 50
"""Number of cells from which on responses of targets are fitted."""


class Simulation(NamedTuple):
    """A regulator whose activity is set, beside rewired networks."""

    regulator: str
    evidence: float | None
    before: float
    """Mean activity, in standard deviations of the training cells."""
    after: float
    r2: float
    """See `Response.r2`."""
    genes: pd.DataFrame
    """Targets, the most changed first: gene, sign (of the edge), change (mean, in standard deviations) and log_change
    (mean, of log1p of counts per 10,000)."""
    types: pd.DataFrame
    """Predicted cell types: cell_type, cells, changed (fraction of labels that change), log_probability (mean change of
    that of the cell type)."""
    changed: float
    """Fraction of the cells whose label changes."""
    r2_rewired: list[float]
    size_rewired: list[float]
    """Mean absolute change of the targets in rewired networks."""
    changed_rewired: list[float]

    @property
    def size(self) -> float:
        """Mean absolute change of the targets, in standard deviations."""
        return float(self.genes["change"].abs().mean())


def simulate(
    bundle: Bundle,
    weights: LabelWeights,
    cells: MeasuredCells,
    regulator: str,
    *,
    activate: bool = False,
    rewired: int = 20,
    seed: int = 0,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Simulation:
    """Set the activity of a regulator and predict targets and labels; the same for targets in rewired networks.

    Args:
        bundle: a model of activities.
        weights: its label map.
        cells: cells, scored with the model.
        regulator: its name, see `require_regulator`.
        activate: set the activity high instead of low.
        rewired: number of rewired networks with the same degrees.
        seed: random seed of the halves of the cells and of the rewired networks.
        on_progress: called with the number of networks done and the number of all networks.

    Raises:
        UserError: too few targets are measured, or the cells are too few.
    """
    assert bundle.regulators is not None
    names = bundle.regulators["regulator"].astype(str).tolist()
    row = names.index(regulator)
    edges = measured_edges(trained_edges(bundle, row), cells.measured_G)
    if len(edges.target_J) < max(2, least_targets(bundle)):
        raise UserError(
            f"{regulator}: {counted(len(edges.target_J), 'target')} measured in these cells; expected at least "
            f"{max(2, least_targets(bundle))}; use cells with more genes, or another regulator."
        )
    label_N = cells.probabilities_NC.argmax(axis=1)
    if len(label_N) < FEWEST_CELLS or np.bincount(label_N).max() < 2:
        raise UserError(
            f"{counted(len(label_N), 'cell')}, at most {np.bincount(label_N).max()} of a label; expected at least "
            f"{FEWEST_CELLS} and two of a label, because the responses of targets are fitted within labels."
        )
    z_NG = relative(cells, weights)
    mean, std = (float(bundle.regulators[name].iloc[row]) for name in ("mean", "std"))
    level = mean + (LEVEL if activate else -LEVEL) * std
    response = fit_response(z_NG, edges, label_N, seed)
    change_N = _change(response.activity_N, level, activate)
    change_NJ, moved_NC = _moved(cells, weights, edges, response, change_N, row)
    network = Network(bundle.prior if "sources" in bundle.prior else bundle.prior.assign(sources=""))
    controls = []
    for number in range(rewired):
        control = shuffled(network, None, seed + number + 1)
        other = measured_edges(network_edges(control, bundle, regulator), cells.measured_G)
        if len(other.target_J) > 1:
            found = fit_response(z_NG, other, label_N, seed)
            own = found.activity_N.mean() + (LEVEL if activate else -LEVEL) * found.activity_N.std()
            own_N = _change(found.activity_N, own, activate)
            own_NJ, own_NC = _moved(cells, weights, other, found, own_N, None)
            controls.append((found.r2, float(np.abs(own_NJ.mean(axis=0)).mean()), _changed(cells, own_NC)))
        on_progress(number + 1, rewired)
    r2s, sizes, changes = (list(values) for values in zip(*controls, strict=True)) if controls else ([], [], [])
    evidence = bundle.regulators["evidence"].iloc[row] if "evidence" in bundle.regulators else None
    return Simulation(
        regulator=regulator,
        evidence=None if evidence is None or not np.isfinite(evidence) else float(evidence),
        before=float((response.activity_N.mean() - mean) / std) if std else 0.0,
        after=float(((response.activity_N + change_N).mean() - mean) / std) if std else 0.0,
        r2=response.r2,
        genes=_gene_table(bundle, weights, edges, change_NJ),
        types=_type_table(bundle, cells, moved_NC),
        changed=_changed(cells, moved_NC),
        r2_rewired=r2s,
        size_rewired=sizes,
        changed_rewired=changes,
    )


def require_regulator(bundle: Bundle, regulator: str, force: bool = False) -> str:
    """Refuse a regulator that cannot be simulated, or whose targets are no more alike than in rewired networks.

    Returns:
        Why the result is not to be trusted, if `force` allows it; else empty.

    Raises:
        UserError: the model has no activities or more than one layer of them, there is no such regulator, or its
            evidence is below 0.95 and `force` is False.
    """
    table = bundle.regulators
    if table is None:
        raise UserError(
            f"{bundle.shown}: has no activities of regulators, so none can be simulated; train a model with "
            "model.direction targets."
        )
    depth, mode = int(bundle.config.get("depth", 1)), bundle.config.get("mode", "mask")
    if depth != 1 or mode != "mask":
        raise UserError(
            f"{bundle.shown}: model.depth is {depth} and model.mode {mode}; expected 1 and mask, to simulate a "
            "regulator."
        )
    names = table["regulator"].astype(str).tolist()
    if regulator not in names:
        near = near_names(regulator, names)
        hint = f"did you mean {' or '.join(near)}?" if near else f"its regulators are {some(names)}."
        raise UserError(f"{bundle.shown}: has no regulator {regulator!r}; {hint}")
    evidence = float(table["evidence"].iloc[names.index(regulator)]) if "evidence" in table else float("nan")
    if evidence >= BEATS_SHUFFLES:
        return ""
    found = f"is {evidence:.2f}" if np.isfinite(evidence) else "was not measured"
    why = f"{regulator}: its evidence against rewired networks {found}, expected at least {BEATS_SHUFFLES}"
    if not force:
        raise UserError(f"{why}, so its targets are not known to follow it; --force simulates it all the same.")
    return f"{why}; do not interpret the result."


def _change(activity_N: NDArray[np.float64], level: float, activate: bool) -> NDArray[np.float64]:
    """Change of the activity of each cell; none for a cell that is beyond the level."""
    return np.maximum(level - activity_N, 0.0) if activate else np.minimum(level - activity_N, 0.0)


def _moved(
    cells: MeasuredCells,
    weights: LabelWeights,
    edges: Edges,
    response: Response,
    change_N: NDArray[np.float64],
    row: int | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Change of each target in standard deviations, cells x edges, and of the logits, cells x cell types.

    The expression of a target does not fall below 0. `row` is the regulator, whose activity labels may read.
    """
    scale_J, now_NJ = weights.scale_G[edges.target_J], cells.expression_NG[:, edges.target_J]
    step_NJ = np.divide(change_N[:, None] * response.slope_J, scale_J, out=np.zeros(now_NJ.shape), where=scale_J > 0)
    log_NJ = np.maximum(now_NJ + step_NJ, 0.0) - now_NJ
    moved_NC = log_NJ @ weights.gene_GC[edges.target_J]
    if row is not None and len(weights.activity_RC):
        moved_NC = moved_NC + change_N[:, None] * weights.activity_RC[row]
    return log_NJ * scale_J, moved_NC


def _new_log_probability(cells: MeasuredCells, moved_NC: NDArray[np.float64]) -> NDArray[np.float64]:
    logits_NC = np.log(np.maximum(cells.probabilities_NC.astype(np.float64), 1e-30)) + moved_NC
    largest_N1 = logits_NC.max(axis=1, keepdims=True)
    return np.asarray(logits_NC - largest_N1 - np.log(np.exp(logits_NC - largest_N1).sum(axis=1, keepdims=True)))


def _changed(cells: MeasuredCells, moved_NC: NDArray[np.float64]) -> float:
    """Fraction of the cells whose most likely label changes."""
    after_N = _new_log_probability(cells, moved_NC).argmax(axis=1)
    return float((after_N != cells.probabilities_NC.argmax(axis=1)).mean())


def _gene_table(bundle: Bundle, weights: LabelWeights, edges: Edges, change_NJ: NDArray[np.float64]) -> pd.DataFrame:
    change_J, scale_J = change_NJ.mean(axis=0), weights.scale_G[edges.target_J]
    table = pd.DataFrame(
        {
            "gene": bundle.vocabulary["gene"].to_numpy()[edges.target_J],
            "sign": np.where(edges.weight_J < 0, -1, 1),
            "change": change_J,
            "log_change": np.divide(change_J, scale_J, out=np.zeros_like(change_J), where=scale_J > 0),
        }
    )
    return table.sort_values("change", key=lambda values: -values.abs(), kind="stable", ignore_index=True)


def _type_table(bundle: Bundle, cells: MeasuredCells, moved_NC: NDArray[np.float64]) -> pd.DataFrame:
    label_N, names = cells.probabilities_NC.argmax(axis=1), bundle.labels["name"].tolist()
    before_NC = np.log(np.maximum(cells.probabilities_NC.astype(np.float64), 1e-30))
    after_NC = _new_log_probability(cells, moved_NC)
    rows = []
    for label in np.unique(label_N):
        own_N = label_N == label
        changed = float((after_NC[own_N].argmax(axis=1) != label).mean())
        rows.append((names[label], int(own_N.sum()), changed, float((after_NC - before_NC)[own_N, label].mean())))
    table = pd.DataFrame(rows, columns=["cell_type", "cells", "changed", "log_probability"])
    return table.sort_values(["changed", "log_probability"], ascending=[False, True], kind="stable", ignore_index=True)
