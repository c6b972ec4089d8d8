"""What a training needs, made from params.yaml and the files of the stages before it."""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from safetensors.torch import load_file

from pipelines import layout
from sctransformer.data.arrays import TrainingCells
from sctransformer.data.cells import read_cells
from sctransformer.data.prepared import labels_of, load_training_arrays
from sctransformer.errors import UserError
from sctransformer.model import ModelConfig, PriorBiasedTransformer
from sctransformer.params import Params
from sctransformer.training.cluster import Task, Workers
from sctransformer.training.config import TrainConfig
from sctransformer.training.execution import Execution

FILES = {"cells": layout.PREPARED_CELLS, "bias": layout.BIAS, "panel": layout.PANEL}
"""What workers read."""


def make_model(config: ModelConfig, files: Mapping[str, Path]) -> PriorBiasedTransformer:
    """A model with fresh weights over the prepared panel and its prior."""
    panel = pd.read_parquet(files["panel"])
    model = PriorBiasedTransformer(config, load_file(files["bias"]).get(layout.PRIOR_TENSOR))
    model.set_expression_statistics(panel["mean"].to_numpy(), panel["std"].to_numpy())
    return model


def load_cells(files: Mapping[str, Path]) -> TrainingCells:
    """The prepared cells."""
    return load_training_arrays(files["cells"])


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
    switches = {field.name for field in dataclasses.fields(Execution)}
    try:
        config = TrainConfig(seed=params.seed, **params.train.model_dump(include=shared))
        execution = Execution(**params.train.model_dump(include=switches))
    except ValueError as error:
        raise UserError(f"params.yaml: train: {error}.") from error
    return Task(
        make_model=functools.partial(make_model, model_config(params)),
        load_cells=load_cells,
        config=config,
        execution=execution,
        files={name: path.resolve() for name, path in FILES.items()},
    )


def workers_of(params: Params) -> Workers:
    """The workers that params.yaml asks for."""
    settings = params.train
    return Workers(
        count=settings.workers,
        minimum=settings.min_workers,
        cpus=settings.cpus_per_worker,
        gpus=settings.gpus,
        placement=settings.placement,
        max_restarts=settings.max_restarts,
    )


def batch_names(rows: list[int], pretraining: bool) -> list[str]:
    """Names of the cells of a batch, from their position among the cells of its phase."""
    cells = read_cells(layout.PREPARED_CELLS)
    split = cells.obs["split"].astype(str).to_numpy()
    names = cells.obs_names[split == "train"].tolist()
    if pretraining:
        names += cells.obs_names[split == "unlabelled"].tolist()
    return [names[row] for row in rows]
