"""How well cells of an unknown type are detected: train without each type in turn, then score its cells.

    python -m pipelines.robustness.unknown_class                  every type, with the parameters of params.yaml
    python -m pipelines.robustness.unknown_class --types "NK cells" --types "B cells" -S train.epochs=3

Run it where `dvc repro` has prepared cells. As in the pipeline, temperature and thresholds are chosen on the validation
cells of the known types. The cells of the type that was left out are scored together with the validation cells of the
other types; test cells are not used. Prints one JSON line per type, then a table: AUROC of 1 - confidence and of
novelty, and the shares of unknown and of known cells that are rejected for either reason.
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
    auroc_novelty: float
    """AUROC of novelty for unknown against known cells."""
    threshold: float
    novelty_threshold: float
    rejected_unknown: float
    rejected_known: float


class Scored(NamedTuple):
    """Scores of cells."""

    confidence_N: NDArray[np.floating]
    novelty_N: NDArray[np.floating]


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
    from sctransformer.evaluation.evaluate import calibrated
    from sctransformer.evaluation.novelty import fit_novelty, novelty_of
    from sctransformer.evaluation.scoring import score_cells
    from sctransformer.prior.network import read_network_table
    from sctransformer.training.build import build_from_params
    from sctransformer.training.closed_form import train_whole

    known_training, known = without(training, label), without(validation, label)
    unknown = of_type(validation, label)
    if len(unknown) < FEWEST:
        unknown = of_type(training, label)
    network = read_network_table(params.prior.network, params.prior.confidence)
    model = build_from_params(params, panel, network, int(training.labels_N.max()), params.seed)
    config = params.train_config().replace(patience=0)  # validation cells choose nothing here
    names = [str(index) for index in range(int(training.labels_N.max()))]
    train_whole(model, TrainingCells(known_training), names, config, params.labels)

    logits_NC, _ = score_cells(model, known)
    temperature = calibration.fit_temperature(logits_NC, known.labels_N)
    known_NC = calibration.probabilities(logits_NC, temperature)
    rules = params.evaluate
    threshold = calibration.rejection_threshold(known_NC, known.labels_N, rules.rejection_error, rules.withheld_share)
    given = calibrated(model, temperature)
    novelty = fit_novelty(known_training, known, given, rules.novel_share, params.seed)

    def scored(part: CellArrays) -> Scored:
        part_NC = given(part)
        return Scored(part_NC.max(axis=1), novelty_of(novelty.score, part, part_NC))

    return detection(name, scored(unknown), scored(known), threshold, novelty.threshold)


def detection(name: str, unknown: Scored, known: Scored, threshold: float, novelty_threshold: float) -> Detection:
    """Detection of unknown cells from the scores of unknown and known cells."""
    from sklearn.metrics import roc_auc_score

    is_unknown_N = np.repeat([1, 0], [len(unknown.confidence_N), len(known.confidence_N)])
    confidence_N, novelty_N = (np.concatenate(pair) for pair in zip(unknown, known, strict=True))
    rejected_N = (confidence_N < threshold) | (novelty_N > novelty_threshold)
    return Detection(
        name,
        len(unknown.confidence_N),
        len(known.confidence_N),
        float(roc_auc_score(is_unknown_N, -confidence_N)),
        float(roc_auc_score(is_unknown_N, novelty_N)),
        threshold,
        novelty_threshold,
        float(rejected_N[is_unknown_N == 1].mean()),
        float(rejected_N[is_unknown_N == 0].mean()),
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
    print(f"{'left out':<24}{'cells':>7}{'AUROC':>8}{'novelty':>9}{'rejected unknown':>18}{'known':>8}")
    for one in found:
        shares = f"{one.rejected_unknown:>18.1%}{one.rejected_known:>8.1%}"
        print(f"{one.cell_type:<24}{one.unknown_cells:>7}{one.auroc:>8.3f}{one.auroc_novelty:>9.3f}{shares}")
    values = [[one.auroc, one.auroc_novelty, one.rejected_unknown, one.rejected_known] for one in found]
    mean = np.mean(values, axis=0)
    print(f"{'mean':<24}{'':>7}{mean[0]:>8.3f}{mean[1]:>9.3f}{mean[2]:>18.1%}{mean[3]:>8.1%}")


if __name__ == "__main__":
    run_reporting(main)
