"""Small real runs of the training loop, and what several of its test files compare in them."""

from typing import NamedTuple

import numpy as np
import torch

from sctransformer.data.arrays import CellArrays
from sctransformer.training.checkpoint import Checkpoint
from sctransformer.training.config import TrainConfig
from sctransformer.training.execution import Execution
from sctransformer.training.loop import EpochReport, fit
from tests.conftest import arrays, simulated_cells, small_model

BASE = TrainConfig(seed=3, epochs=4, min_steps=0, batch_size=32, lr=1e-2, head_lr=1e-2, pretrain_lr=3e-3)
"""What the defaults of the day do not touch."""
CONFIG = BASE.replace(epochs=8, start="random")
PRETRAINED = BASE.replace(pretrain_epochs=3)
FROZEN = BASE.replace(pretrain_epochs=2, finetune="frozen")
AUGMENTED = BASE.replace(gene_dropout=0.2, thinning=0.6)


class Run(NamedTuple):
    """What a run left behind."""

    weights: dict[str, torch.Tensor]
    """Of the best epoch."""
    reports: list[EpochReport]
    checkpoints: list[Checkpoint]


def trained(
    config: TrainConfig = CONFIG,
    resume: Checkpoint | None = None,
    cells: CellArrays | None = None,
    validation: CellArrays | None = None,
    unlabelled: CellArrays | None = None,
    execution: Execution | None = None,
) -> Run:
    """A small run; by default over 90 simulated cells."""
    model, reports, checkpoints = small_model(config.seed), [], []

    def keep(report: EpochReport, state: Checkpoint) -> None:
        reports.append(report)
        checkpoints.append(state)

    cells = cells or arrays(simulated_cells())
    validation = validation or arrays(simulated_cells(seed=1))
    fit(model, cells, validation, config, keep, resume, unlabelled=unlabelled, execution=execution)
    return Run(model.state_dict(), reports, checkpoints)


def with_other_labels(cells: CellArrays, seed: int = 0) -> CellArrays:
    """The same cells with labels that say nothing of them."""
    labels_N = np.random.default_rng(seed).permutation(cells.labels_N)
    return CellArrays(cells.counts_NG, cells.library_size_N, labels_N)


def assert_same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    """Equal to the last bit."""
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name
