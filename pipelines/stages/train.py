"""Train on Ray, tracked as one MLflow run."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from safetensors.torch import load_file, save_file

from pipelines import layout
from pipelines.stage import run_stage
from sctransformer.data.cells import read_cells
from sctransformer.data.prepared import labels_of, load_training_arrays
from sctransformer.errors import UserError
from sctransformer.evaluation.figures import training_curves
from sctransformer.files import read_json, sha256_file, write_json, written_whole
from sctransformer.model import ModelConfig, PriorBiasedTransformer
from sctransformer.params import Params, TrainParams, load_params
from sctransformer.registry.lineage import collect_lineage
from sctransformer.tracking import runs
from sctransformer.training.checkpoint import Checkpoint
from sctransformer.training.cluster import Task, Workers, fit_on_ray
from sctransformer.training.config import TrainConfig
from sctransformer.training.loop import EpochReport

BEST = ("val_macro_f1", "val_accuracy", "val_loss")
"""Figures of the chosen epoch that are logged for the run as a whole."""

FEW_CELLS = 300
"""With 150 labelled cells of nine types the search of pipelines/study chose frozen weights in every arm and seed."""


def make_model(config: ModelConfig, bias_path: Path, panel_path: Path) -> PriorBiasedTransformer:
    """A model with fresh weights over the prepared panel and its prior."""
    panel = pd.read_parquet(panel_path)
    model = PriorBiasedTransformer(config, load_file(bias_path).get(layout.PRIOR_TENSOR))
    model.set_expression_statistics(panel["mean"].to_numpy(), panel["std"].to_numpy())
    return model


def model_config(params: Params) -> ModelConfig:
    """Sizes from params.yaml and the prepared cells."""
    panel = pd.read_parquet(layout.PANEL)
    try:
        return ModelConfig(
            n_genes=len(panel),
            n_regulators=int(panel["is_regulator"].sum()),
            n_classes=len(labels_of(read_cells(layout.PREPARED_CELLS))),
            **params.model.model_dump(),
        )
    except ValueError as error:
        raise UserError(f"params.yaml: model: {error}.") from error


def training_task(params: Params) -> Task:
    """What the workers need: files by absolute path, for they run in folders of their own."""
    shared = {field.name for field in dataclasses.fields(TrainConfig)} - {"seed"}
    prepared, bias, panel = (path.resolve() for path in (layout.PREPARED_CELLS, layout.BIAS, layout.PANEL))
    try:
        config = TrainConfig(seed=params.seed, **params.train.model_dump(include=shared))
    except ValueError as error:
        raise UserError(f"params.yaml: train: {error}.") from error
    return Task(
        make_model=functools.partial(make_model, model_config(params), bias, panel),
        load_cells=functools.partial(load_training_arrays, prepared),
        config=config,
    )


def open_run(params: Params) -> tuple[str, dict[str, Any]]:
    """A new MLflow run with its params and data inputs; its id, and the lineage of the model to come."""
    content = params.model_dump(mode="json", by_alias=True)
    run_id = runs.start_run("training", f"{params.model.mode} seed {params.seed}", content, {"stage": "train"})
    cells, network = params.data.cells, params.prior.network
    data_sha256, prior_sha256 = sha256_file(layout.CELLS), sha256_file(network)
    runs.log_dataset(run_id, cells.stem, data_sha256, str(cells), "training", read_json(layout.PANEL_FIGURES)["cells"])
    runs.log_dataset(run_id, network.stem, prior_sha256, str(network), "prior", read_json(layout.COVERAGE))
    validated = bool(read_json(layout.VALIDATION)["success"])
    return run_id, collect_lineage(Path(), content, data_sha256, prior_sha256, validated, run_id)


def fit_with_progress(task: Task, settings: TrainParams, run_id: str) -> tuple[Checkpoint, list[EpochReport]]:
    """Train on Ray, showing and logging each epoch as it comes."""
    history: list[EpochReport] = []
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
        bar = progress.add_task("starting workers", total=None)

        def on_epoch(report: EpochReport) -> None:
            history.append(report)
            runs.log_epoch(run_id, report.epoch, report.metrics())
            progress.update(bar, completed=report.epoch + 1, total=report.epochs, description=report.summary())

        workers = Workers(settings.workers, settings.gpus, settings.max_restarts)
        checkpoint = fit_on_ray(task, workers, layout.RAY_STORAGE, f"train-{run_id}", on_epoch)
    return checkpoint, history


def write_outputs(checkpoint: Checkpoint, history: list[EpochReport], config: ModelConfig, lineage: object) -> None:
    """Write the stage's folder, whole or not at all."""
    table = pd.DataFrame([dataclasses.asdict(report) for report in history])
    with written_whole(layout.TRAINING) as folder:
        folder.mkdir()
        save_file(checkpoint.best, folder / layout.WEIGHTS.name)
        table.to_csv(folder / layout.HISTORY.name, index=False)
        training_curves(table, folder / layout.CURVES.name)
        write_json(folder / layout.MODEL_CONFIG.name, config.to_dict())
        write_json(folder / layout.LINEAGE.name, lineage)


def main() -> None:
    """Run the stage."""
    params = load_params()
    task = training_task(params)
    labelled = int(read_json(layout.PANEL_FIGURES)["cells"]["train"])
    if labelled < FEW_CELLS and params.train.finetune == "all":
        print(f"Note: there are {labelled} labelled cells; with so few, -S train.finetune=frozen often does better.")
    run_id, lineage = open_run(params)
    status: runs.Status = "FAILED"
    try:
        checkpoint, history = fit_with_progress(task, params.train, run_id)
        write_outputs(checkpoint, history, model_config(params), lineage)
        for path in (layout.LINEAGE, layout.CURVES, layout.HISTORY, layout.VALIDATION, layout.DATA_DOCS / "index.html"):
            runs.log_artifact(run_id, path)
        best = history[checkpoint.progress.best_epoch]
        runs.log_metrics(run_id, {"best_epoch": best.epoch, **{f"best_{name}": best.metrics()[name] for name in BEST}})
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        runs.finish_run(run_id, status)
    print(f"best epoch {best.epoch}: {best.summary()}, accuracy {best.val_accuracy:.3f}; run {run_id}")


if __name__ == "__main__":
    torch.set_num_threads(1)  # this process only waits for its workers
    run_stage("train", main)
