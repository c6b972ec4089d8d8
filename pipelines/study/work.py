"""What a worker process does: one task of the grid, from prepared cells to a result."""

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
    labelled_arrays,
    most_variable,
    panel_cells,
    sides,
    unlabelled_arrays,
)
from pipelines.study.config import StudyConfig
from pipelines.study.grid import CELLTYPIST_GENES, Task
from pipelines.study.models import pretrain, train
from sctransformer._constants import OBS
from sctransformer.data.arrays import CellArrays
from sctransformer.data.prepared import class_names
from sctransformer.data.splits import TEST, TRAIN, TRAINED_ON, VALIDATION, validation_from_training
from sctransformer.evaluation.baselines import fitted_celltypist, fitted_logistic_regression
from sctransformer.evaluation.metrics import classification_metrics
from sctransformer.evaluation.scoring import score_cells
from sctransformer.files import atomic_write, read_json, sha256_json
from sctransformer.training.build import build_from_params
from sctransformer.training.checkpoint import load_checkpoint, save_checkpoint
from sctransformer.training.config import TrainConfig
from sctransformer.training.report import NonFiniteLossError

SCORED = 2
"""Cells are scored so often, and the fastest time counts: the first pass also warms up."""


def result_of(task: Task, study: StudyConfig, sources: Sources, out: Path) -> dict[str, Any]:
    """Do a task.

    Returns:
        Plain values: settings, figures, times, and what was said of each test cell.
    """
    do = {"pretraining": _pretraining, "search": _search, "arm": _arm, "baseline": _baseline}[task.kind]
    return {"settings": task.settings} | do(task, study, sources, out)


def numbers(labels_N: NDArray[np.int64]) -> str:
    """Class indices in one line of text."""
    return " ".join(map(str, labels_N.tolist()))


def from_numbers(line: str) -> NDArray[np.int64]:
    """What `numbers` wrote."""
    return np.array(line.split(), dtype=np.int64)


def _search(task: Task, study: StudyConfig, sources: Sources, out: Path) -> dict[str, Any]:
    """Validation macro-F1 on labelled cells held out; a training that diverges scores 0. Test cells are not looked at.

    The inner split depends on percentage, seed and repeat alone: every arm and point has the same one.
    """
    prepared = panel_cells(sources.cells, sources.panels[task.seed])
    split = sides(study, prepared.cells.obs, task.percent, task.seed)
    inner = validation_from_training(split, prepared.cells.obs[OBS.cell_type], study.validation_share, task.repeat)
    rows = _Rows(split, np.asarray(inner == TRAIN), np.asarray(inner == VALIDATION))
    try:
        figures, seconds, _ = _trained_and_scored(task, study, prepared, rows, out)
    except NonFiniteLossError as error:
        return {"figures": {"macro_f1": 0.0}, "diverged": str(error)}
    return {"figures": {"macro_f1": figures["macro_f1"], "accuracy": figures["accuracy"]}, "seconds": seconds}


def _arm(task: Task, study: StudyConfig, sources: Sources, out: Path) -> dict[str, Any]:
    prepared = panel_cells(sources.cells, sources.panels[task.seed])
    split = sides(study, prepared.cells.obs, task.percent, task.seed)
    rows = _Rows(split, np.asarray(split == TRAIN), np.asarray(split == TEST))
    figures, seconds, said_N = _trained_and_scored(task, study, prepared, rows, out)
    training, test = (labelled_arrays(prepared.cells, rows_N) for rows_N in rows[1:])
    return _tested(prepared.cells, split, training, test, said_N, figures) | {"seconds": seconds}


def _pretraining(task: Task, study: StudyConfig, sources: Sources, out: Path) -> dict[str, Any]:
    """Pretrain on all cells that are no test cells, without labels: once for all percentages of a seed."""
    prepared = panel_cells(sources.cells, sources.panels[task.seed])
    split = sides(study, prepared.cells.obs, max(study.percents), task.seed)
    params = study.params_of(task.name, task.point)
    model = build_from_params(params, prepared.panel, prepared.network, len(class_names(prepared.cells)), task.seed)
    started = time.perf_counter()
    checkpoint = pretrain(model, unlabelled_arrays(prepared, split), params.train.part(TrainConfig, seed=task.seed))
    seconds = time.perf_counter() - started
    with atomic_write(task.weights(out)) as folder:
        folder.mkdir()
        save_checkpoint(checkpoint, folder)
    figures = {"best_epoch": checkpoint.progress.best_epoch, "best_loss": checkpoint.progress.best_loss}
    return {"figures": figures, "seconds": {"training": seconds}}


class _Rows(NamedTuple):
    split: pd.Categorical
    """The side of each cell."""
    training_N: NDArray[np.bool_]
    scored_N: NDArray[np.bool_]


def _trained_and_scored(
    task: Task, study: StudyConfig, prepared: PanelCells, rows: _Rows, out: Path
) -> tuple[dict[str, Any], dict[str, float], NDArray[np.int64]]:
    """Figures of the cells that are scored, times, and the labels said."""
    params, names = study.params_of(task.name, task.point), class_names(prepared.cells)
    model = build_from_params(params, prepared.panel, prepared.network, len(names), task.seed)
    pretrained = None if task.after is None else load_checkpoint(task.after.weights(out))
    training, scored = (labelled_arrays(prepared.cells, rows_N) for rows_N in rows[1:])
    unlabelled = unlabelled_arrays(prepared, rows.split, but_N=rows.training_N)
    started = time.perf_counter()
    train_loss = train(model, training, unlabelled, params.train.part(TrainConfig, seed=task.seed), pretrained)
    times = {"training": time.perf_counter() - started}
    if task.after is not None:
        times["pretraining"] = read_json(task.after.result(out))["seconds"]["training"]
    times["scoring"], (logits_NC, _) = _fastest(lambda: score_cells(model, scored), SCORED if task.kind == "arm" else 1)
    said_N = logits_NC.argmax(axis=1)
    figures = classification_metrics(scored.labels_N, said_N, names, task.seed) | {"train_loss": train_loss}
    return figures, times, said_N


def _baseline(task: Task, study: StudyConfig, sources: Sources, out: Path) -> dict[str, Any]:
    """Baselines see the same cells, and the genes that suit them best: all of the file, and for CellTypist, whose
    penalty is fixed, the most variable ones where the file has more.
    """
    cells = all_genes(sources.cells)
    split = sides(study, cells.obs, task.percent, task.seed)
    if task.name == "celltypist":
        trained_N = np.isin(np.asarray(split, dtype=object), TRAINED_ON)
        cells = cells[:, most_variable(cells, trained_N, CELLTYPIST_GENES)]
    training, test = (labelled_arrays(cells, np.asarray(split == side)) for side in (TRAIN, TEST))
    chosen: dict[str, Any] = {}
    started = time.perf_counter()
    if task.name == "celltypist":
        label = fitted_celltypist(training, cells.var_names.tolist())
    else:
        label, chosen = fitted_logistic_regression(training, study.inner_folds, task.seed, wide=True)
    training_seconds = time.perf_counter() - started
    seconds, said_N = _fastest(lambda: label(test), SCORED)
    figures = classification_metrics(test.labels_N, said_N, class_names(cells), task.seed)
    times = {"training": training_seconds, "scoring": seconds}
    return _tested(cells, split, training, test, said_N, figures) | {"chosen": chosen, "seconds": times}


def _tested(
    cells: AnnData,
    split: pd.Categorical,
    training: CellArrays,
    test: CellArrays,
    said_N: NDArray[np.int64],
    figures: dict[str, Any],
) -> dict[str, Any]:
    names = cells.obs_names[np.asarray(split == TEST)].tolist()
    return {
        "figures": figures | {"labelled_cells": len(training), "cells": len(test)},
        "test_cells_sha256": sha256_json(names),
        "labels": numbers(test.labels_N),
        "predicted": numbers(said_N),
        "classes": class_names(cells),
    }


def _fastest(work: Callable[[], Any], times: int) -> tuple[float, Any]:
    """Seconds of the fastest of some runs, and what the last one gave."""
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        given = work()
        seconds.append(time.perf_counter() - started)
    return min(seconds), given
