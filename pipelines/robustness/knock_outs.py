"""How often the signs of simulated knock-outs agree with measured ones.

    python -m pipelines.robustness.knock_outs outputs/bundle cells.h5ad knock_outs.tsv

The table has columns regulator, target and effect_of_regulator (1 or -1), such as the knock-outs in CD4 T cells of
Freimer et al. 2022 (Nature Genetics 54:1133). `sctransformer simulate --knockout` predicts the sign of each target of a
regulator from the slope of the target on the regulator's activity. Counted are the edges whose effect was measured.
Beside it are the same prediction with rewired networks, and the signs of the network itself. Prints one JSON object.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sctransformer._constants import BEATS_SHUFFLES
from sctransformer.annotation.label_weights import read_label_weights
from sctransformer.annotation.reading import check_cells, open_cells
from sctransformer.annotation.scorer import LocalScorer
from sctransformer.annotation.settings import Scoring
from sctransformer.annotation.target_response import (
    Edges,
    MeasuredCells,
    fit_response,
    measured_cells,
    measured_edges,
    network_edges,
    relative,
    trained_edges,
)
from sctransformer.errors import UserError, run_reporting
from sctransformer.export.bundle import Bundle, read_bundle
from sctransformer.prior.controls import shuffled
from sctransformer.prior.network import Network

_COLUMNS = ["regulator", "target", "effect_of_regulator"]


def agreements(
    z_NG: NDArray[np.floating], edges: Edges, label_N: NDArray[np.integer], truth: pd.Series, genes: NDArray[np.object_]
) -> NDArray[np.bool_]:
    """Whether predicted and measured sign agree, for the targets whose effect was measured; two columns.

    The first column is the predicted sign, the second that of the edge.

    Args:
        z_NG, edges, label_N: see `fit_response`.
        truth: sign of the regulator's effect, by target.
        genes: of the model.
    """
    measured = truth.reindex(genes[edges.target_J]).to_numpy(dtype=np.float64)
    known_J = np.isfinite(measured)
    if len(edges.target_J) < 2 or not known_J.any():
        return np.zeros((0, 2), dtype=bool)
    predicted_J = np.sign(fit_response(z_NG, edges, label_N, 0).slope_J)
    signs = np.stack([predicted_J, np.sign(edges.weight_J)], axis=1)[known_J]
    return np.asarray(signs == measured[known_J][:, None])


def measure(bundle: Bundle, cells: MeasuredCells, table: pd.DataFrame, rewired: int) -> dict[str, Any]:
    """Agreement of signs over all measured edges: of the model, of the edges' signs, and of rewired networks."""
    assert bundle.regulators is not None
    z_NG, label_N = relative(cells, read_label_weights(bundle)), cells.probabilities_NC.argmax(axis=1)
    names, genes = bundle.regulators["regulator"].tolist(), bundle.vocabulary["gene"].to_numpy(dtype=object)
    truth = {
        str(name): own.drop_duplicates("target").set_index("target")["effect_of_regulator"]
        for name, own in table.groupby("regulator")
        if name in names
    }
    own = {
        name: agreements(
            z_NG, measured_edges(trained_edges(bundle, names.index(name)), cells.measured_G), label_N, effects, genes
        )
        for name, effects in truth.items()
    }
    if not sum(map(len, own.values())):
        raise UserError("no edge of the model's network has a measured effect; use a larger network or other cells.")
    network, controls = Network(bundle.prior), []
    for number in range(rewired):
        other = shuffled(network, None, number + 1)
        found = [
            agreements(
                z_NG, measured_edges(network_edges(other, bundle, name), cells.measured_G), label_N, effects, genes
            )
            for name, effects in truth.items()
        ]
        controls.append(np.concatenate(found)[:, 0])
    together, evidence = np.concatenate(list(own.values())), bundle.regulators.set_index("regulator").get("evidence")
    beats = {} if evidence is None else {name: bool(evidence[name] >= BEATS_SHUFFLES) for name in own}
    shares = [float(one.mean()) for one in controls if len(one)]
    return {
        "edges": len(together),
        "regulators": sum(len(one) > 0 for one in own.values()),
        "predicted": float(together[:, 0].mean()),
        "network_sign": float(together[:, 1].mean()),
        "rewired_mean": float(np.mean(shares)),
        "rewired_95": np.quantile(shares, [0.025, 0.975]).tolist(),
        "rewired_edges": float(np.mean([len(one) for one in controls])),
        "by_regulator": {
            name: {"edges": len(one), "predicted": float(one[:, 0].mean()), "beats_rewired": beats.get(name)}
            for name, one in own.items()
            if len(one)
        },
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("cells", type=Path)
    parser.add_argument("table", type=Path)
    parser.add_argument("--rewired", type=int, default=100)
    parser.add_argument("--max-cells", type=int, default=2000)
    options = parser.parse_args()
    table = pd.read_csv(options.table, sep="\t")
    if absent := [name for name in _COLUMNS if name not in table]:
        raise UserError(f"{options.table}: has no column {absent[0]}; expected the columns {', '.join(_COLUMNS)}.")
    bundle = read_bundle(options.bundle)
    with open_cells(options.cells, bundle.vocabulary) as file:
        read = check_cells(file, bundle.vocabulary, 0.0)
        labeller = LocalScorer(bundle, Scoring(regulators="top")).labeller(read)
        cells = measured_cells(read, labeller, options.max_cells, 0)
    print(json.dumps(measure(bundle, cells, table, options.rewired)))


if __name__ == "__main__":
    run_reporting(main)
