"""Train the model with Ray Train or in this process, tracked as one MLflow run."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import Any, NamedTuple

import pandas as pd
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import cross_entropy

from sctransformer import layout
from sctransformer.data.prepared import read_class_names, read_donors
from sctransformer.errors import UserError
from sctransformer.evaluation.plots import plot_training_curves
from sctransformer.evaluation.scoring import score_cells
from sctransformer.files import atomic_write, read_json, write_json
from sctransformer.model import ActivityTransformer, ModelConfig
from sctransformer.params import Params, load_params
from sctransformer.pipeline.stage import run_stage
from sctransformer.pipeline.training_run import LOG, TrainingRun, resume_run, start_run
from sctransformer.pipeline.training_task import batch_names, in_memory, model_config, training_task
from sctransformer.progress import cells_bar
from sctransformer.training.checkpoint import Checkpoint
from sctransformer.training.closed_form import fit_closed_form
from sctransformer.training.report import EpochReport, NonFiniteLossError
from sctransformer.training.resume import RESUME_VARIABLE
from sctransformer.training.scores import accuracy_and_macro_f1
from sctransformer.training.task import Task
from sctransformer.training.workers import Workers
from sctransformer.wording import counted

FEW_CELLS = 300
"""With fewer labelled cells frozen weights are suggested: with 150 cells of nine types, the search of the study chose
them in every arm and seed."""
Fit = Callable[..., Checkpoint]
"""Trains; see `fit_on_ray` and `fit_in_process`."""


@contextmanager
def ready_to_fit(workers: Workers) -> Iterator[Fit]:
    """The function that trains, after a check that there are CPUs and GPUs for it; connects to Ray if it is used."""
    # both take seconds to import, and a run needs one of them
    if workers.count == 0:
        from sctransformer.training.in_process import choose_device, fit_in_process

        choose_device(workers.gpus)
        yield fit_in_process
        return
    from sctransformer.training.cluster import fit_on_ray
    from sctransformer.training.ray_connection import connection, require_resources

    with connection():
        require_resources(workers.minimum or workers.count, workers.cpus, workers.gpus)
        yield fit_on_ray


def fit_with_progress(fit: Fit, task: Task, params: Params, run: TrainingRun) -> tuple[Checkpoint, list[EpochReport]]:
    """Train; show and log each epoch when it ends.

    Returns:
        The last checkpoint, and the reports of all epochs.
    """
    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns) as progress:
        bar = progress.add_task("starting", total=None)
        logged: set[int] = set()

        def on_epoch(report: EpochReport) -> None:
            logged.add(report.epoch)
            run.log_epoch(report)
            progress.update(bar, completed=report.epoch + 1, total=report.epochs, description=report.summary())

        for report in run.epochs_before():
            on_epoch(report)  # the process may have ended between the last checkpoint and its log entry
        checkpoint = fit(task, params.train.part(Workers), run.folder, on_epoch, resume=True)
        history = [EpochReport(**fields) for fields in checkpoint.history]
        for report in history:
            # workers that outlive a killed process finish their epoch without logging it
            if report.epoch not in logged:
                run.log_epoch(report)
    return checkpoint, history


class Trained(NamedTuple):
    """The result of training."""

    weights: dict[str, Tensor]
    """The weights of the best epoch, with embedding and labels."""
    history: list[EpochReport]
    best: EpochReport
    """The best epoch, with the metrics of the labels on validation cells."""
    labels: dict[str, Any]
    """How the labels were chosen; empty if they were trained by gradient descent."""


def finish(task: Task, params: Params, checkpoint: Checkpoint, history: list[EpochReport]) -> Trained:
    """Fit embedding and labels of a model of activities; a model of the other direction is finished already."""
    best = history[checkpoint.progress.best_epoch]
    model = task.make_model(task.files)
    if not isinstance(model, ActivityTransformer):
        return Trained(checkpoint.best, history, best, {})
    model.load_state_dict(checkpoint.best)
    cells, names = task.load_cells(task.files), read_class_names(layout.PREPARED_CELLS)
    assert cells.validation is not None
    with cells_bar("Fitting labels") as on_progress:
        fit = fit_closed_form(
            model, cells, names, params.labels, params.seed, read_donors(layout.PREPARED_CELLS), on_progress
        )
    logits_NC, _ = score_cells(model, cells.validation)
    labels_N = cells.validation.labels_N
    accuracy, macro_f1 = accuracy_and_macro_f1(labels_N, logits_NC.argmax(axis=1), len(names))
    loss = float(cross_entropy(torch.from_numpy(logits_NC), torch.as_tensor(labels_N)))
    best = replace(best, val_loss=loss, val_accuracy=accuracy, val_macro_f1=macro_f1)
    return Trained(model.state_dict(), history, best, fit.label_map.report)


def write_outputs(trained: Trained, config: ModelConfig, lineage: object, dvc_lock: str | None) -> None:
    """Write the folder of the stage atomically."""
    table = pd.DataFrame([report.row() for report in trained.history])
    with atomic_write(layout.TRAINING) as folder:
        folder.mkdir()
        save_file(trained.weights, folder / layout.WEIGHTS.name)
        write_json(folder / layout.LABEL_REPORT.name, trained.labels)
        table.to_csv(folder / layout.HISTORY.name, index=False)
        plot_training_curves(table, folder / layout.CURVES.name)
        write_json(folder / layout.MODEL_CONFIG.name, config.to_dict())
        write_json(folder / layout.LINEAGE.name, lineage)
        (folder / layout.TRAINING_LOCK.name).write_bytes((dvc_lock or "").encode())


def main() -> None:
    """Run the stage."""
    signal.signal(signal.SIGTERM, _interrupt)
    params = load_params()
    task, workers = training_task(params), params.train.part(Workers)
    note_few_cells(params)
    source = "held in memory" if in_memory(params) else "streamed from disk"
    where = counted(workers.count, "worker") if workers.count else "in this process, without Ray"
    setup = f"{where}; cells are {source}"
    print(setup)
    with ready_to_fit(workers) as fit:
        resumed = os.environ.get(RESUME_VARIABLE)
        with resume_run(params, resumed) if resumed else start_run(params) as run:
            LOG.info("%s", setup)
            checkpoint, history = fit_or_explain(fit, task, params, run)
            trained = finish(task, params, checkpoint, history)
            write_outputs(trained, model_config(params), run.lineage, run.dvc_lock)
            best = trained.best
            run.keep_results(best)
    print(f"best epoch {best.epoch}: {best.summary()}, accuracy {best.val_accuracy:.3f}; run {run.run_id}")


def note_few_cells(params: Params) -> None:
    """Suggest frozen weights if there are few labelled cells."""
    labelled = int(read_json(layout.PANEL_SUMMARY)["cells"]["train"])
    if labelled < FEW_CELLS and params.train.finetune == "all" and not params.model.by_edge:
        print(f"Note: with only {labelled} labelled cells, -S train.finetune=frozen is often better.")


def fit_or_explain(fit: Fit, task: Task, params: Params, run: TrainingRun) -> tuple[Checkpoint, list[EpochReport]]:
    """Train; errors name the last checkpoint and how to resume."""
    try:
        return fit_with_progress(fit, task, params, run)
    except NonFiniteLossError as error:
        raise UserError(_non_finite(error, params, run)) from error
    except UserError as error:
        raise UserError(f"{str(error).rstrip('.')}; {run.last_checkpoint()}.") from error
    except KeyboardInterrupt:
        print(f"Interrupted: {run.last_checkpoint()}.", file=sys.stderr)
        raise


def _non_finite(error: NonFiniteLossError, params: Params, run: TrainingRun) -> str:
    """Error message: the step, the cells of its batch, and the last checkpoint."""
    cells, pretraining = "", error.epoch < params.train_config().pretrain_epochs
    if error.rows:
        names = batch_names(error.rows, pretraining)
        write_json(layout.FAILED_BATCH, {"epoch": error.epoch, "step": error.step, "cells": names})
        cells = f", whose batch contains {', '.join(map(repr, names[:3]))} and others (all: {layout.FAILED_BATCH})"
    rate = "train.pretrain_lr" if pretraining else "train.lr"
    return f"training stopped: {error}{cells}; lower {rate} or check these cells; {run.last_checkpoint()}."


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """SIGTERM, by which schedulers stop a job, is handled like Ctrl-C."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    torch.set_num_threads(1)  # this process only waits for its workers, or sets the threads when it trains
    run_stage("train", main)
