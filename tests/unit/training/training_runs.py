"""Small training runs, shared by several test files."""

import itertools
from typing import NamedTuple

import numpy as np
import torch

from sctransformer.data.arrays import CellArrays, CellSource, TrainingCells
from sctransformer.model import PriorBiasedTransformer
from sctransformer.model.output import ModelOutput
from sctransformer.training.checkpoint import Checkpoint
from sctransformer.training.config import TrainConfig
from sctransformer.training.execution import Execution
from sctransformer.training.report import EpochReport
from sctransformer.training.trainer import Callbacks, Trainer
from tests.conftest import arrays, simulated_cells, small_model

BASE = TrainConfig(seed=3, epochs=4, min_steps=0, batch_size=32, lr=1e-2, head_lr=1e-2, pretrain_lr=3e-3)
"""Independent of the defaults."""
CONFIG = BASE.replace(epochs=8, start="random")
PRETRAINED = BASE.replace(pretrain_epochs=3)
FROZEN = BASE.replace(pretrain_epochs=2, finetune="frozen")
AUGMENTED = BASE.replace(gene_dropout=0.2, thinning=0.6)


class Run(NamedTuple):
    """The results of a run."""

    weights: dict[str, torch.Tensor]
    """Weights of the best epoch."""
    reports: list[EpochReport]
    checkpoints: list[Checkpoint]
    """After each epoch."""
    within_epochs: list[Checkpoint]
    """Checkpoints within epochs."""


def trained(
    config: TrainConfig = CONFIG,
    resume: Checkpoint | None = None,
    cells: CellSource | None = None,
    validation: CellSource | None = None,
    unlabelled: CellSource | None = None,
    execution: Execution | None = None,
    depth: int = 2,
) -> Run:
    """A small run; by default over 90 simulated cells."""
    model, reports, checkpoints, within_epochs = small_model(config.seed, depth), [], [], []

    def keep(report: EpochReport, checkpoint: Checkpoint) -> None:
        reports.append(report)
        checkpoints.append(checkpoint)

    cells = TrainingCells(cells or arrays(simulated_cells()), validation or arrays(simulated_cells(seed=1)), unlabelled)
    callbacks = Callbacks(keep, within_epochs.append)
    last = Trainer(model, cells, config, execution, callbacks=callbacks).fit(resume)
    assert last is (checkpoints or [resume])[-1]
    return Run(model.state_dict(), reports, checkpoints, within_epochs)


def with_other_labels(cells: CellArrays, seed: int = 0) -> CellArrays:
    """The same cells with shuffled labels."""
    labels_N = np.random.default_rng(seed).permutation(cells.labels_N)
    return CellArrays(cells.counts_NG, cells.library_size_N, labels_N)


def assert_same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    """Compare bit by bit."""
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        largest = (tensor.double() - other[name].double()).abs().max().item()
        assert torch.equal(tensor, other[name]), f"{name} differs by up to {largest:.3g}"


def failing_after(model: PriorBiasedTransformer, calls: int) -> PriorBiasedTransformer:
    """The model, whose scores are NaN after this number of calls."""
    counter = itertools.count()

    def fail(module: torch.nn.Module, inputs: object, output: ModelOutput) -> ModelOutput:
        return output._replace(logits_NC=output.logits_NC * (float("nan") if next(counter) >= calls else 1.0))

    model.register_forward_hook(fail)
    return model
