"""Random cells on disk and a model for them, to measure the speed of training."""

import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from pipelines.speed.model import Case, make_model
from pipelines.speed.synthetic import TYPES, draw_cells
from sctransformer._constants import OBS
from sctransformer.data.arrays import TrainingCells
from sctransformer.data.h5ad_writer import open_h5ad_writer
from sctransformer.data.prepared import load_training_cells, open_training_cells
from sctransformer.model import PriorBiasedTransformer
from sctransformer.training.config import TrainConfig
from sctransformer.training.execution import Execution
from sctransformer.training.task import Task

BLOCK = 5000
"""Cells simulated and written at a time."""
VALIDATION_SHARE = 0.02
"""Share of validation cells; small, because training is measured."""


def write_cells(path: Path, n_cells: int, n_genes: int) -> None:
    """Write a file of prepared cells block by block; the last cells of each block are validation cells."""
    genes = [f"GENE{index}" for index in range(n_genes)]
    tables = []
    with open_h5ad_writer(path, genes) as file:
        for start in range(0, n_cells, BLOCK):
            block = draw_cells(min(BLOCK, n_cells - start), n_genes, seed=start)
            file.append(block.X)
            split = np.where(np.arange(block.n_obs) < block.n_obs * (1 - VALIDATION_SHARE), "train", "validation")
            tables.append(block.obs.assign(**{OBS.split: split}))
        obs = pd.concat(tables, ignore_index=True)
        obs.index = [f"cell{index}" for index in range(n_cells)]
        obs[OBS.split] = pd.Categorical(obs[OBS.split], categories=["train", "validation", "unlabelled"])
        obs[OBS.cell_type] = pd.Categorical(obs[OBS.cell_type], categories=[f"type{index}" for index in range(TYPES)])
        file.finish(obs)


def load(in_memory: bool, files: Mapping[str, Path]) -> TrainingCells:
    """The training cells, in memory or streamed from disk."""
    return load_training_cells(files["cells"]) if in_memory else open_training_cells(files["cells"])


def model(case: Case, files: Mapping[str, Path]) -> PriorBiasedTransformer:
    """A model with fresh weights on the CPU, without expression statistics."""
    return make_model(case)


def task_of(case: Case, path: Path, epochs: int, execution: Execution, in_memory: bool = True) -> Task:
    """A training task with random initial weights, so that only its steps take time."""
    config = TrainConfig(start="random", epochs=epochs, min_steps=0, batch_size=case.batch)
    return Task(functools.partial(model, case), functools.partial(load, in_memory), config, execution, {"cells": path})
