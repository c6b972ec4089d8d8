"""The training task of the pipeline: model, cells and settings from params.yaml and the files of earlier stages."""

import functools
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from pydantic import ValidationError

from sctransformer import layout
from sctransformer._constants import UNLABELLED
from sctransformer.data.arrays import TrainingCells
from sctransformer.data.cells import CellFile
from sctransformer.data.count_search import X
from sctransformer.data.prepared import (
    TRAINING_SPLITS,
    fits_in_memory,
    load_training_cells,
    open_training_cells,
    read_class_names,
)
from sctransformer.errors import UserError
from sctransformer.files import read_json
from sctransformer.model import Model, ModelConfig
from sctransformer.params import PARAMS, Params
from sctransformer.training import build
from sctransformer.training.execution import Execution
from sctransformer.training.task import Task
from sctransformer.typed_yaml import first_problem

FILES = {"cells": layout.PREPARED_CELLS, "bias": layout.BIAS, "panel": layout.PANEL}
"""Files that the workers read."""


def make_model(config: ModelConfig, seed: int, files: Mapping[str, Path]) -> Model:
    """A model with fresh weights over the prepared panel and its prior."""
    return build.build_model(config, build.load_prior(files["bias"]), seed, pd.read_parquet(files["panel"]))


def load_cells(in_memory: bool, files: Mapping[str, Path]) -> TrainingCells:
    """The prepared cells, in memory or on disk."""
    return load_training_cells(files["cells"]) if in_memory else open_training_cells(files["cells"])


def in_memory(params: Params) -> bool:
    """Whether workers hold the cells in memory: set in params.yaml, or decided by their size."""
    if params.train.cells != "auto":
        return params.train.cells == "memory"
    summary = read_json(layout.PANEL_SUMMARY)
    return fits_in_memory(sum(summary["cells"].get(split, 0) for split in TRAINING_SPLITS), summary["genes"])


def model_config(params: Params) -> ModelConfig:
    """The model configuration for the prepared panel.

    Raises:
        UserError: panel and parameters do not fit together.
    """
    prior = build.load_prior(layout.BIAS) if params.model.by_edge else None
    try:
        return build.model_config(
            params.model, pd.read_parquet(layout.PANEL), len(read_class_names(layout.PREPARED_CELLS)), prior
        )
    except ValidationError as error:
        raise UserError(f"{layout.PANEL}: {first_problem(error)}.") from error


def training_task(params: Params) -> Task:
    """The task for the workers. Paths are absolute, since each worker runs in its own folder.

    Raises:
        UserError: the parameters leave nothing to train.
    """
    if params.model.by_edge and params.train_config().pretrain_epochs == 0:
        raise UserError(
            f"{PARAMS}: train.pretrain_epochs is 0; with model.direction targets expected at least 1: attention "
            "is trained on hidden genes."
        )
    return Task(
        make_model=functools.partial(make_model, model_config(params), params.seed),
        load_cells=functools.partial(load_cells, in_memory(params)),
        config=params.train_config(),
        execution=params.train.part(Execution),
        files={name: path.resolve() for name, path in FILES.items()},
    )


def batch_names(rows: list[int], pretraining: bool) -> list[str]:
    """Names of the cells of a batch, from their positions among the cells of its phase."""
    with CellFile(layout.PREPARED_CELLS, X) as cells:
        split, cell_names = cells.obs["split"].astype(str).to_numpy(), cells.obs.index
    names = cell_names[split == "train"].tolist()
    if pretraining:
        names += cell_names[split == UNLABELLED].tolist()
    return [names[row] for row in rows]
