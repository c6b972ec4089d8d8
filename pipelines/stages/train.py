"""Train on Ray, tracked as one MLflow run."""

import dataclasses
import functools
import shutil
from pathlib import Path

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
from sctransformer.params import Params, load_params
from sctransformer.registry.lineage import collect_lineage
from sctransformer.tracking import runs
from sctransformer.training.cluster import Task, Workers, fit_on_ray
from sctransformer.training.config import TrainConfig
from sctransformer.training.loop import EpochReport


def make_model(config: ModelConfig, bias_path: Path, panel_path: Path) -> PriorBiasedTransformer:
    """A model with fresh weights over the prepared panel and its prior."""
    panel = pd.read_parquet(panel_path)
    model = PriorBiasedTransformer(config, load_file(bias_path)["bias_HGS"])
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


def main() -> None:
    """Run the stage."""
    params = load_params()
    settings = params.train
    config = model_config(params)
    shared = {field.name for field in dataclasses.fields(TrainConfig)} - {"seed"}
    optimisation = TrainConfig(seed=params.seed, **settings.model_dump(include=shared))
    prepared, bias, panel = (path.resolve() for path in (layout.PREPARED_CELLS, layout.BIAS, layout.PANEL))
    task = Task(
        make_model=functools.partial(make_model, config, bias, panel),
        load_cells=functools.partial(load_training_arrays, prepared),
        config=optimisation,
    )
    content = params.model_dump(mode="json", by_alias=True)
    run_id = runs.start_run("training", f"{params.model.mode} seed {params.seed}", content, {"stage": "train"})
    data_sha256, prior_sha256 = sha256_file(layout.CELLS), sha256_file(params.prior.network)
    runs.log_dataset(run_id, params.data.cells.stem, data_sha256, str(params.data.cells), "training", {})
    runs.log_dataset(run_id, params.prior.network.stem, prior_sha256, str(params.prior.network), "prior", {})
    lineage = collect_lineage(
        Path(), content, data_sha256, prior_sha256, bool(read_json(layout.VALIDATION)["success"]), run_id
    )
    status: runs.Status = "FAILED"
    try:
        history = _fit(task, settings.workers, settings.gpus, settings.max_restarts, run_id, lineage)
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        runs.finish_run(run_id, status)
    best = max(history, key=lambda report: (report.val_macro_f1, -report.val_loss))
    print(
        f"best epoch {best.epoch}: validation macro-F1 {best.val_macro_f1:.3f}, accuracy {best.val_accuracy:.3f}; "
        f"run {run_id}"
    )


def _fit(
    task: Task, workers: int, gpus: bool, max_restarts: int, run_id: str, lineage: dict[str, object]
) -> list[EpochReport]:
    """Train, log each epoch, and write the stage's outputs."""
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
        bar = progress.add_task("starting workers", total=task.config.epochs)

        def on_epoch(report: EpochReport) -> None:
            history.append(report)
            metrics = dataclasses.asdict(report)
            runs.log_epoch(run_id, report.epoch, {name: value for name, value in metrics.items() if name != "epoch"})
            progress.update(bar, advance=1, description=f"validation macro-F1 {report.val_macro_f1:.3f}")

        checkpoint = fit_on_ray(
            task, Workers(workers, gpus, max_restarts), layout.RAY_STORAGE, f"train-{run_id}", on_epoch
        )
    shutil.rmtree(layout.TRAINING, ignore_errors=True)
    with written_whole(layout.TRAINING) as folder:
        folder.mkdir()
        save_file(checkpoint.best, folder / layout.WEIGHTS.name)
        table = pd.DataFrame([dataclasses.asdict(report) for report in history])
        table.to_csv(folder / layout.HISTORY.name, index=False)
        training_curves(table, folder / layout.CURVES.name)
        write_json(folder / layout.MODEL_CONFIG.name, task.make_model().config.to_dict())
        write_json(folder / layout.LINEAGE.name, lineage)
    for path in (layout.LINEAGE, layout.CURVES, layout.HISTORY):
        runs.log_artifact(run_id, path)
    runs.log_metrics(
        run_id, {"best_epoch": checkpoint.progress.best_epoch, "best_val_macro_f1": checkpoint.progress.best_macro_f1}
    )
    return history


if __name__ == "__main__":
    torch.set_num_threads(1)  # this process only waits for its workers
    run_stage("train", main)
