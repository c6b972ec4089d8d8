"""Run one task of a study, from prepared cells to its result."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from pipelines.study.cells import (
    PanelCells,
    Sources,
    all_genes,
    assign_splits,
    labelled_arrays,
    most_variable,
    panel_cells,
    unlabelled_arrays,
)
from pipelines.study.config import StudyConfig
from pipelines.study.grid import CELLTYPIST_GENES, Task
from pipelines.study.models import pretrain, train
from sctransformer._constants import OBS
from sctransformer.data.arrays import CellArrays
from sctransformer.data.prepared import class_names
from sctransformer.data.splits import TEST, TRAIN, TRAINED_ON, VALIDATION, validation_from_training
from sctransformer.evaluation.baselines import fit_celltypist, fit_logistic_regression
from sctransformer.evaluation.metrics import classification_metrics
from sctransformer.evaluation.scoring import score_cells
from sctransformer.files import atomic_write, read_json, sha256_json
from sctransformer.training.build import build_from_params
from sctransformer.training.checkpoint import load_checkpoint, save_checkpoint
from sctransformer.training.report import NonFiniteLossError

SCORING_REPEATS = 2
"""Number of times cells are scored; the fastest counts, since the first includes the warm-up."""


def result_of(task: Task, study: StudyConfig, sources: Sources, out: Path) -> dict[str, Any]:
    """Run a task.

    Returns:
        Its result as JSON values: settings, metrics (`figures`), times (`seconds`), and predictions for test cells.
    """
    run = {"pretraining": _pretraining, "search": _search, "arm": _arm, "baseline": _baseline}[task.kind]
    return {"settings": task.settings} | run(task, study, sources, out)


def format_labels(labels_N: NDArray[np.int64]) -> str:
    """Class indices as a line of text."""
    return " ".join(map(str, labels_N.tolist()))


def parse_labels(line: str) -> NDArray[np.int64]:
    """Class indices from `format_labels`."""
    return np.array(line.split(), dtype=np.int64)


def _search(task: Task, study: StudyConfig, sources: Sources, out: Path) -> dict[str, Any]:
    """Validation macro-F1 on held-out labelled cells; 0 if training diverges. Test cells are not used.

    The inner split depends on percentage, seed and repeat only: it is the same for every arm and point.
    """
    prepared = panel_cells(sources.cells, sources.panels[task.seed])
    split = assign_splits(study, prepared.cells.obs, task.percent, task.seed)
    inner = validation_from_training(split, prepared.cells.obs[OBS.cell_type], study.validation_share, task.repeat)
    rows = _Rows(split, np.asarray(inner == TRAIN), np.asarray(inner == VALIDATION))
    try:
        metrics, seconds, _ = _train_and_score(task, study, prepared, rows, out)
    except NonFiniteLossError as error:
        return {"figures": {"macro_f1": 0.0}, "diverged": str(error)}
    return {"figures": {"macro_f1": metrics["macro_f1"], "accuracy": metrics["accuracy"]}, "seconds": seconds}


def _arm(task: Task, study: StudyConfig, sources: Sources, out: Path) -> dict[str, Any]:
    prepared = panel_cells(sources.cells, sources.panels[task.seed])
    split = assign_splits(study, prepared.cells.obs, task.percent, task.seed)
    rows = _Rows(split, np.asarray(split == TRAIN), np.asarray(split == TEST))
    metrics, seconds, predicted_N = _train_and_score(task, study, prepared, rows, out)
    training, test = (labelled_arrays(prepared.cells, rows_N) for rows_N in rows[1:])
    return _test_result(prepared.cells, split, training, test, predicted_N, metrics) | {"seconds": seconds}


def _pretraining(task: Task, study: StudyConfig, sources: Sources, out: Path) -> dict[str, Any]:
    """Pretrain on all cells but the test cells, without labels: once per seed, for all percentages."""
    prepared = panel_cells(sources.cells, sources.panels[task.seed])
    split = assign_splits(study, prepared.cells.obs, max(study.percents), task.seed)
    params = study.params_of(task.name, task.point)
    model = build_from_params(params, prepared.panel, prepared.network, len(class_names(prepared.cells)), task.seed)
    started = time.perf_counter()
    checkpoint = pretrain(model, unlabelled_arrays(prepared, split), params.train_config(task.seed))
    seconds = time.perf_counter() - started
    with atomic_write(task.weights(out)) as folder:
        folder.mkdir()
        save_checkpoint(checkpoint, folder)
    metrics = {"best_epoch": checkpoint.progress.best_epoch, "best_loss": checkpoint.progress.best_loss}
    return {"figures": metrics, "seconds": {"training": seconds}}


class _Rows(NamedTuple):
    split: pd.Categorical
    """The split of each cell."""
    training_N: NDArray[np.bool_]
    scored_N: NDArray[np.bool_]


def _train_and_score(
    task: Task, study: StudyConfig, prepared: PanelCells, rows: _Rows, out: Path
) -> tuple[dict[str, Any], dict[str, float], NDArray[np.int64]]:
    """Metrics of the scored cells, times, and predictions."""
    params, names = study.params_of(task.name, task.point), class_names(prepared.cells)
    model = build_from_params(params, prepared.panel, prepared.network, len(names), task.seed)
    pretrained = None if task.after is None else load_checkpoint(task.after.weights(out))
    training, scored = (labelled_arrays(prepared.cells, rows_N) for rows_N in rows[1:])
    unlabelled = unlabelled_arrays(prepared, rows.split, except_N=rows.training_N)
    started = time.perf_counter()
    train_loss = train(model, training, unlabelled, params.train_config(task.seed), pretrained)
    times = {"training": time.perf_counter() - started}
    if task.after is not None:
        times["pretraining"] = read_json(task.after.result(out))["seconds"]["training"]
    times["scoring"], (logits_NC, _) = _fastest(
        lambda: score_cells(model, scored), SCORING_REPEATS if task.kind == "arm" else 1
    )
    predicted_N = logits_NC.argmax(axis=1)
    metrics = classification_metrics(scored.labels_N, predicted_N, names, task.seed) | {"train_loss": train_loss}
    return metrics, times, predicted_N


def _baseline(task: Task, study: StudyConfig, sources: Sources, out: Path) -> dict[str, Any]:
    """Fit a baseline on the same cells: on all genes of the file, for CellTypist, whose penalty is fixed, on the most
    variable ones.
    """
    cells = all_genes(sources.cells)
    split = assign_splits(study, cells.obs, task.percent, task.seed)
    if task.name == "celltypist":
        trained_N = np.isin(np.asarray(split, dtype=object), TRAINED_ON)
        cells = cells[:, most_variable(cells, trained_N, CELLTYPIST_GENES)]
    training, test = (labelled_arrays(cells, np.asarray(split == name)) for name in (TRAIN, TEST))
    chosen: dict[str, Any] = {}
    started = time.perf_counter()
    if task.name == "celltypist":
        label = fit_celltypist(training, cells.var_names.tolist())
    else:
        label, chosen = fit_logistic_regression(training, study.inner_folds, task.seed, wide=True)
    training_seconds = time.perf_counter() - started
    seconds, predicted_N = _fastest(lambda: label(test), SCORING_REPEATS)
    metrics = classification_metrics(test.labels_N, predicted_N, class_names(cells), task.seed)
    times = {"training": training_seconds, "scoring": seconds}
    return _test_result(cells, split, training, test, predicted_N, metrics) | {"chosen": chosen, "seconds": times}


def _test_result(
    cells: AnnData,
    split: pd.Categorical,
    training: CellArrays,
    test: CellArrays,
    predicted_N: NDArray[np.int64],
    metrics: dict[str, Any],
) -> dict[str, Any]:
    names = cells.obs_names[np.asarray(split == TEST)].tolist()
    return {
        "figures": metrics | {"labelled_cells": len(training), "cells": len(test)},
        "test_cells_sha256": sha256_json(names),
        "labels": format_labels(test.labels_N),
        "predicted": format_labels(predicted_N),
        "classes": class_names(cells),
    }


def _fastest(work: Callable[[], Any], times: int) -> tuple[float, Any]:
    """Seconds of the fastest of several calls, and the result of the last."""
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - started)
    return min(seconds), result
