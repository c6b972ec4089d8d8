"""Measure what fitting the labels again on all labelled cells brings, and which calibration fits the result.

    python -m pipelines.study.refit                     data/cells.h5ad, by cross-validation
    python -m pipelines.study.refit --folds 5 --repeats 3

The cells that the stage `prepare` would use as test cells are left out. The others are split into folds, and each fold
is predicted in three ways. `evaluated`: labels fitted on 80 % of the other folds, temperature and threshold from the
other 20 %. `refit, old calibration`: labels fitted on all other folds, temperature and threshold of `evaluated`.
`refit`: temperature and threshold from cross-validation over all other folds, as in the stage `export`. Activities are
not used.
"""

import argparse
from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.study.inner_folds import prepared_fold
from pipelines.study.pool import all_results
from sctransformer.data.arrays import CellArrays
from sctransformer.data.normalise import log1p_cp10k
from sctransformer.data.splits import TEST, TRAIN, VALIDATION
from sctransformer.errors import run_reporting
from sctransformer.evaluation.calibration import calibrate_logits, expected_calibration_error, probabilities
from sctransformer.params import Params, load_params, with_overrides
from sctransformer.training.components import principal_components
from sctransformer.training.label_ensemble import LabelFit, fit_label_map
from sctransformer.training.scores import accuracy_and_macro_f1

ARMS = ("evaluated", "refit, old calibration", "refit")


class Predicted(NamedTuple):
    """Probabilities of the cells of a fold, and the threshold below which a cell is `unknown`."""

    probabilities_NC: NDArray[np.float64]
    threshold: float


def predict_fold(task: tuple[Params, int, int, int]) -> tuple[int, NDArray[np.int64], list[Predicted]]:
    """Repeat, labels of the fold, and what each of ARMS predicts."""
    params, folds, repeat, fold = task
    prepared = prepared_fold(params, folds, repeat, fold)
    names = prepared.class_names
    training, validation, test = (prepared.cells[split] for split in (TRAIN, VALIDATION, TEST))
    both = _joined(training, validation)
    first, second = (_fit(cells, names, params, repeat) for cells in (training, both))
    old = calibrate_logits(_logits(first, validation), validation.labels_N, params.evaluate, "validation")
    known_N = np.isfinite(second.log_probability_NC[:, 0])
    new = calibrate_logits(
        second.log_probability_NC[known_N], both.labels_N[known_N], params.evaluate, "cross-validation"
    )
    predicted = [
        Predicted(probabilities(_logits(fit, test), chosen["temperature"]), chosen["rejection_threshold"])
        for fit, chosen in ((first, old), (second, old), (second, new))
    ]
    return repeat, test.labels_N, predicted


def summary(labels_N: NDArray[np.int64], folds: Sequence[Predicted]) -> dict[str, float]:
    """Macro-F1, accuracy and calibration error of all cells; share with a label, and share of wrong ones among these.

    Args:
        labels_N: labels of the cells of all folds.
        folds: what was predicted for each fold, in the same order.
    """
    probabilities_NC = np.concatenate([fold.probabilities_NC for fold in folds])
    threshold_N = np.concatenate([np.full(len(fold.probabilities_NC), fold.threshold) for fold in folds])
    predicted_N, labelled_N = probabilities_NC.argmax(axis=1), probabilities_NC.max(axis=1) >= threshold_N
    accuracy, macro_f1 = accuracy_and_macro_f1(labels_N, predicted_N, probabilities_NC.shape[1])
    return {
        "macro-F1": macro_f1,
        "accuracy": accuracy,
        "calibration error": expected_calibration_error(probabilities_NC, labels_N),
        "share with a label": float(labelled_N.mean()),
        "wrong among these": float((predicted_N != labels_N)[labelled_N].mean()),
    }


def main(words: Sequence[str] | None = None) -> None:
    """Print the table: means over repeats."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", metavar="section.name=value")
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args(words)
    params = with_overrides(load_params(), options.overrides)
    tasks = [(params, options.folds, *pair) for pair in product(range(options.repeats), range(options.folds))]
    parts = all_results(predict_fold, tasks, options.processes, "folds")
    rows: list[dict[str, Any]] = []
    for repeat in range(options.repeats):
        own = [part for part in parts if part[0] == repeat]
        labels_N = np.concatenate([part[1] for part in own])
        for index, arm in enumerate(ARMS):
            rows.append({"labels": arm} | summary(labels_N, [part[2][index] for part in own]))
    print(pd.DataFrame(rows).groupby("labels", sort=False).mean().round(3).to_string())


def _fit(cells: CellArrays, names: Sequence[str], params: Params, seed: int) -> LabelFit:
    components = principal_components([cells], max(params.labels.components), seed)
    return fit_label_map([cells], names, components, params.labels, seed=seed)


def _logits(fit: LabelFit, cells: CellArrays) -> NDArray[np.float32]:
    expression_NG = log1p_cp10k(cells.counts_NG, cells.library_size_N).astype(np.float32)
    return fit.label_map.logits(expression_NG - fit.label_map.mean_G)


def _joined(one: CellArrays, other: CellArrays) -> CellArrays:
    return CellArrays(
        np.concatenate([one.counts_NG, other.counts_NG]),
        np.concatenate([one.library_size_N, other.library_size_N]),
        np.concatenate([one.labels_N, other.labels_N]),
    )


if __name__ == "__main__":
    run_reporting(main)
