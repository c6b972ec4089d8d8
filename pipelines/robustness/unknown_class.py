"""How well cells of an unknown type are detected: train without each type in turn, then score its cells.

    python -m pipelines.robustness.unknown_class                  every type, with the parameters of params.yaml
    python -m pipelines.robustness.unknown_class --types "NK cells" --types "B cells" -S train.epochs=3

Run it where `dvc repro` has prepared cells. As in the pipeline, temperature and threshold are chosen on the validation
cells of the known types. The cells of the type that was left out are scored together with the validation cells of the
other types; test cells are not used. Prints one JSON line per type, then a table: AUROC of 1 - confidence, and the
shares of unknown and of known cells that are rejected.
"""

import argparse
import json
import sys
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sctransformer import layout
from sctransformer.data.arrays import CellArrays, TrainingCells
from sctransformer.errors import UserError, run_reporting
from sctransformer.params import Params, load_params, with_overrides

FEWEST = 20
"""With fewer validation cells of the type that is left out, its training cells are scored instead."""


class Detection(NamedTuple):
    """How well cells of one unknown type are detected."""

    cell_type: str
    unknown_cells: int
    known_cells: int
    auroc: float
    """AUROC of 1 - confidence for unknown against known cells; 0.5 is chance."""
    threshold: float
    rejected_unknown: float
    rejected_known: float


def without(cells: CellArrays, label: int) -> CellArrays:
    """The cells of all other types; labels are renumbered without a gap."""
    others = cells.take(np.flatnonzero(cells.labels_N != label))
    return replace(others, labels_N=others.labels_N - (others.labels_N > label))


def of_type(cells: CellArrays, label: int) -> CellArrays:
    """The cells of one type."""
    return cells.take(np.flatnonzero(cells.labels_N == label))


def leave_out(
    label: int, name: str, training: CellArrays, validation: CellArrays, panel: pd.DataFrame, params: Params
) -> Detection:
    """Train without one type and score its cells.

    Args:
        label: class index of the type.
        name: its name.
        training, validation: cells of all types.
        panel: the gene panel.
        params: all parameters.
    """
    from sctransformer.evaluation import calibration
    from sctransformer.evaluation.scoring import score_cells
    from sctransformer.prior.network import read_network_table
    from sctransformer.training.build import build_from_params
    from sctransformer.training.config import TrainConfig
    from sctransformer.training.trainer import Trainer

    known_training, known = without(training, label), without(validation, label)
    unknown = of_type(validation, label)
    if len(unknown) < FEWEST:
        unknown = of_type(training, label)
    network = read_network_table(params.prior.network, params.prior.confidence)
    model = build_from_params(params, panel, network, int(training.labels_N.max()), params.seed)
    config = params.train.part(TrainConfig, seed=params.seed).replace(
        patience=0
    )  # validation cells choose nothing here
    Trainer(model, TrainingCells(known_training), config).fit()

    logits_NC, _ = score_cells(model, known)
    temperature = calibration.fit_temperature(logits_NC, known.labels_N)
    known_NC = calibration.probabilities(logits_NC, temperature)
    rules = params.evaluate
    threshold = calibration.rejection_threshold(known_NC, known.labels_N, rules.rejection_error, rules.withheld_share)
    unknown_NC = calibration.probabilities(score_cells(model, unknown)[0], temperature)
    return detection(name, unknown_NC.max(axis=1), known_NC.max(axis=1), threshold)


def detection(name: str, unknown_N: NDArray[np.floating], known_N: NDArray[np.floating], threshold: float) -> Detection:
    """Detection of unknown cells from the confidences of unknown and known cells."""
    from sklearn.metrics import roc_auc_score

    is_unknown_N = np.repeat([1, 0], [len(unknown_N), len(known_N)])
    return Detection(
        name,
        len(unknown_N),
        len(known_N),
        float(roc_auc_score(is_unknown_N, -np.concatenate([unknown_N, known_N]))),
        threshold,
        float((unknown_N < threshold).mean()),
        float((known_N < threshold).mean()),
    )


def main() -> None:
    """Leave out each type, score its cells, print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--types", action="append", help="a cell type to leave out; all unless given")
    parser.add_argument("-S", "--set", action="append", default=[], metavar="SECTION.NAME=VALUE")
    options = parser.parse_args()
    from sctransformer.data.cells import read_cells
    from sctransformer.data.prepared import class_names, select_split

    params = with_overrides(load_params(), options.set)
    cells = read_cells(layout.PREPARED_CELLS)
    names = class_names(cells)
    training, validation = (select_split(cells, split) for split in ("train", "validation"))
    for wanted in options.types or []:
        if wanted not in names:
            raise UserError(f"--types {wanted}: no such cell type; the cells have {', '.join(names)}.")
    panel, found = pd.read_parquet(layout.PANEL), []
    for label, name in enumerate(names):
        if options.types and name not in options.types:
            continue
        found.append(leave_out(label, name, training, validation, panel, params))
        print(json.dumps(found[-1]._asdict()))
        sys.stdout.flush()
    print(f"{'left out':<24}{'cells':>7}{'AUROC':>8}{'rejected unknown':>18}{'known':>8}")
    for one in found:
        shares = f"{one.rejected_unknown:>18.1%}{one.rejected_known:>8.1%}"
        print(f"{one.cell_type:<24}{one.unknown_cells:>7}{one.auroc:>8.3f}{shares}")
    mean = np.mean([[one.auroc, one.rejected_unknown, one.rejected_known] for one in found], axis=0)
    print(f"{'mean':<24}{'':>7}{mean[0]:>8.3f}{mean[1]:>18.1%}{mean[2]:>8.1%}")


if __name__ == "__main__":
    run_reporting(main)
