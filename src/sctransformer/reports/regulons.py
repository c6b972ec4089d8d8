"""The edges of each regulator: in the network, and after training. Reads a bundle; needs no torch."""

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors.numpy import load_file

from sctransformer._constants import BUNDLE, TYPE_MEAN
from sctransformer.export.bundle import Bundle
from sctransformer.reports.content import Regulators

_LAYER = re.compile(r"activities\.(\d+)\.weight_J")


def regulators_of(bundle: Bundle) -> Regulators | None:
    """The regulators of a model, with their mean activity in its training cells; None for a model without activities.

    Args:
        bundle: the model.
    """
    if bundle.regulators is None:
        return None
    return replace(
        regulators_in(bundle.regulators, bundle.labels["name"].astype(str), str(bundle.folder / BUNDLE.regulators)),
        edges=edges_of(bundle),
        edges_source=f"{bundle.folder / BUNDLE.prior}, {BUNDLE.weights}",
    )


def regulators_in(table: pd.DataFrame, labels: Iterable[str], source: str) -> Regulators:
    """The regulators of a table, without their edges.

    Args:
        table: see `Bundle.regulators`.
        labels: names of the cell types.
        source: where the table comes from.
    """
    types = [name for name in labels if TYPE_MEAN + name in table]
    mean_CR = table[[TYPE_MEAN + name for name in types]].to_numpy(dtype=np.float64).T
    std_R = table["std"].to_numpy(dtype=np.float64)
    z_CR = (mean_CR - table["mean"].to_numpy(dtype=np.float64)) / np.where(std_R > 0, std_R, np.nan)
    return Regulators(
        names=table["regulator"].astype(str).tolist(),
        evidence_R=table["evidence"].to_numpy(dtype=np.float64) if "evidence" in table else None,
        types=types,
        mean_CR=z_CR,
        cells="the training cells",
        source=source,
        details=table[[name for name in ("targets", "departure", "agreement") if name in table]],
    )


def edges_of(bundle: Bundle) -> pd.DataFrame:
    """The edges between the regulators with an activity and the genes of the panel, the strongest first.

    Args:
        bundle: a model with activities.

    Returns:
        Columns `regulator` and `target`; `sign` (1, -1 or 0 for unknown), `confidence` and `sources` in the network;
        `before` and `after`: the weight of the target's expression in the activity, before and after training;
        `attention`: the attention weight of the target in a cell with mean expression, 0 to 1, which adds up to 1 over
        the targets of a regulator. Of several layers the last.
    """
    assert bundle.regulators is not None
    numbers = load_file(bundle.folder / BUNDLE.weights)
    layer = f"activities.{max(int(found[1]) for name in numbers if (found := _LAYER.fullmatch(name)))}"
    regulators = bundle.regulators["regulator"].astype(str).to_numpy(dtype=object)
    regulator_J, genes = numbers["regulator_J"], np.array(bundle.genes, dtype=object)
    table = pd.DataFrame(
        {
            "regulator": regulators[regulator_J],
            "target": genes[numbers["target_J"]],
            "before": numbers[f"{layer}.start_J"],
            "after": numbers[f"{layer}.weight_J"],
            "attention": _attention(numbers, layer, len(regulators)),
        }
    )
    known = bundle.prior.drop_duplicates(["regulator", "target"]).astype({"regulator": str, "target": str})
    columns = [name for name in ("regulator", "target", "sign", "confidence", "sources") if name in known]
    table = table.merge(known[columns], on=["regulator", "target"], how="inner")
    order = (-(table["after"] * table["attention"]).abs()).argsort(kind="stable")
    return table.iloc[order.to_numpy()].reset_index(drop=True)


def _attention(numbers: dict[str, NDArray[Any]], layer: str, n_regulators: int) -> NDArray[np.float64]:
    """Softmax of the scores of each regulator's edges, where all expression is at its mean."""
    score_J = numbers[f"{layer}.score_J"].astype(np.float64)
    if f"{layer}.bias_J" in numbers:
        raw = numbers.get(f"{layer}.raw_scale")
        scale = 1.0 if raw is None else float(np.log1p(np.exp(raw)))
        score_J = score_J + scale * numbers[f"{layer}.bias_J"]
    regulator_J = numbers["regulator_J"]
    highest_R = np.full(n_regulators, -np.inf)
    np.maximum.at(highest_R, regulator_J, score_J)
    part_J = np.exp(score_J - highest_R[regulator_J])
    sum_R = np.bincount(regulator_J, part_J, minlength=n_regulators)
    return np.asarray(part_J / sum_R[regulator_J])
