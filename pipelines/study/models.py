"""Training of the study's models in this process: pretraining once, then training on all labelled cells."""

import numpy as np

from sctransformer.data.arrays import CellArrays, TrainingCells
from sctransformer.model import Model
from sctransformer.training.checkpoint import Checkpoint
from sctransformer.training.config import TrainConfig
from sctransformer.training.trainer import Trainer

PRETRAIN_VALIDATION_CELLS = 512
"""Cells whose hidden expression chooses the best epoch of pretraining; they are training cells too."""


def pretrain(model: Model, cells: CellArrays, config: TrainConfig) -> Checkpoint:
    """Pretrain on masked expression; `train` resumes from the result with any number of labels.

    Args:
        model: with fresh weights.
        cells: all training cells; their labels are not used.
        config: optimization, with pretraining.

    Raises:
        NonFiniteLossError: the loss is not finite.
    """
    rows = np.random.default_rng(config.seed).permutation(len(cells))[:PRETRAIN_VALIDATION_CELLS]
    return Trainer(model, TrainingCells(cells, cells.take(rows)), config, pretrain_only=True).fit()


def train(
    model: Model,
    training: CellArrays,
    unlabelled: CellArrays,
    config: TrainConfig,
    pretrained: Checkpoint | None = None,
) -> float:
    """Train on all labelled cells up to the last epoch, without validation cells.

    With two labelled cells per type, validation cells would take half of them; the search chooses the number of epochs.

    Args:
        model: with fresh weights; afterwards with those of the last epoch.
        training: labelled cells.
        unlabelled: all other training cells; the initialization uses them.
        config: optimization.
        pretrained: from `pretrain` with the same model and pretraining parameters, if `config` has pretraining.

    Returns:
        The objective in the last epoch.

    Raises:
        NonFiniteLossError: the loss is not finite.
    """
    checkpoint = Trainer(model, TrainingCells(training, unlabelled=unlabelled), config).fit(resume=pretrained)
    return float(checkpoint.history[-1]["train_loss"])
