"""Compare parameters by cross-validation within the training cells; test labels are not used.

    python -m pipelines.study.inner_folds                                   the defaults
    python -m pipelines.study.inner_folds train.epochs=20 model.depth=2     with these parameters

The cells of data/cells.h5ad that the stage `prepare` would use as test cells are left out. The others are split into
folds. Each fold is predicted by a model that was trained on a part of the other folds, with the best epoch on the rest,
and with `--baseline` by logistic regression on the same training cells. The predictions for all folds together give one
macro-F1 per repeat.
"""

import argparse
import tempfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

from pipelines.study.pool import all_results
from sctransformer import layout
from sctransformer._constants import OBS
from sctransformer.data.arrays import CellArrays, TrainingCells
from sctransformer.data.cells import CellFile, read_cells
from sctransformer.data.prepared import class_names, select_split, training_moments, write_prepared
from sctransformer.data.split_choice import choose_splits
from sctransformer.data.splits import TEST, TRAIN, VALIDATION, as_splits, validation_from_training
from sctransformer.errors import run_reporting
from sctransformer.evaluation.baselines import logistic_regression
from sctransformer.evaluation.scoring import score_cells
from sctransformer.params import Params, load_params, with_overrides
from sctransformer.pipeline.stages.prepare import panel_for
from sctransformer.prior.network import Network, read_network_table
from sctransformer.training.build import build_from_params
from sctransformer.training.closed_form import train_whole
from sctransformer.training.scores import accuracy_and_macro_f1

VALIDATION_SHARE = 0.2


def fold_split(obs: pd.DataFrame, params: Params, folds: int, repeat: int, fold: int) -> pd.Categorical:
    """The split of each cell when `fold` of `repeat` is predicted; test cells of the stage `prepare` have none."""
    _, split = choose_splits(obs, params.prepare, params.seed)
    inner = np.flatnonzero(np.isin(np.asarray(split, dtype=object), [TRAIN, VALIDATION]))
    labels = obs[OBS.cell_type].astype(str)
    cut = StratifiedKFold(folds, shuffle=True, random_state=repeat)
    rest, predicted = list(cut.split(inner, labels.iloc[inner]))[fold]
    splits = np.full(len(obs), None, dtype=object)
    splits[inner[rest]], splits[inner[predicted]] = TRAIN, TEST
    return validation_from_training(as_splits(splits), labels, VALIDATION_SHARE, repeat)


class PreparedFold(NamedTuple):
    """The cells of a fold as a model is trained on them."""

    cells: dict[str, CellArrays]
    """By split: training and validation cells from the other folds, the fold itself as test cells."""
    class_names: list[str]
    panel: pd.DataFrame
    """See `choose_panel`."""
    network: Network


def prepared_fold(params: Params, folds: int, repeat: int, fold: int) -> PreparedFold:
    """Split the cells as `fold_split`, and choose the panel on the training cells."""
    network = read_network_table(params.prior.network, params.prior.confidence)
    with tempfile.TemporaryDirectory() as folder:
        with CellFile(layout.CELLS) as file:
            split = fold_split(file.obs, params, folds, repeat, fold)
            moments = training_moments(file, np.asarray(split == TRAIN))
            panel = panel_for(params, moments, file.genes.tolist(), network.pairs)
            write_prepared(file, split, panel, Path(folder) / "cells.h5ad")
        cells = read_cells(Path(folder) / "cells.h5ad")
    parts = {name: select_split(cells, name) for name in (TRAIN, VALIDATION, TEST)}
    return PreparedFold(parts, class_names(cells), panel, network)


def predict_fold(
    task: tuple[Params, bool, int, int, int],
) -> tuple[int, NDArray[np.int64], NDArray[np.int64], NDArray[np.int64] | None]:
    """Repeat, labels of the fold, and the predictions of the model and of logistic regression (or None)."""
    params, with_baseline, folds, repeat, fold = task
    prepared = prepared_fold(params, folds, repeat, fold)
    names = prepared.class_names
    training, validation, test = (prepared.cells[split] for split in (TRAIN, VALIDATION, TEST))
    baseline_N = None
    if with_baseline:
        baseline_N, _ = logistic_regression(training, test, params.evaluate.baseline_folds, repeat)

    model = build_from_params(params, prepared.panel, prepared.network, len(names), repeat)
    train_whole(model, TrainingCells(training, validation), names, params.train_config(repeat), params.labels)
    logits_NC, _ = score_cells(model, test)
    return repeat, test.labels_N, logits_NC.argmax(axis=1), baseline_N


def main(words: Sequence[str] | None = None) -> None:
    """Print macro-F1 and accuracy per repeat, and their means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", metavar="section.name=value")
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--baseline", action="store_true", help="also fit logistic regression; takes minutes")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args(words)
    params = with_overrides(load_params(), options.overrides)
    tasks = [
        (params, options.baseline, options.folds, *pair)
        for pair in product(range(options.repeats), range(options.folds))
    ]
    parts = all_results(predict_fold, tasks, options.processes, "folds")
    rows = []
    for repeat in range(options.repeats):
        own = [part[1:] for part in parts if part[0] == repeat]
        labels_N, *predictions = (np.concatenate(column) for column in zip(*own, strict=True) if column[0] is not None)
        n_classes = int(labels_N.max()) + 1
        rows.append(
            [value for predicted_N in predictions for value in accuracy_and_macro_f1(labels_N, predicted_N, n_classes)]
        )
    columns = ["accuracy", "macro_f1", "baseline_accuracy", "baseline_macro_f1"]
    table = pd.DataFrame(rows, columns=columns[: len(rows[0])]).rename_axis("repeat")
    if options.baseline:
        table["difference"] = table["macro_f1"] - table["baseline_macro_f1"]
    print(table.round(3).to_string())
    print(pd.DataFrame({"mean": table.mean(), "standard deviation": table.std()}).T.round(3).to_string())


if __name__ == "__main__":
    run_reporting(main)
