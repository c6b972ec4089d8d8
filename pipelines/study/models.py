"""A model over prepared cells, built and trained in this process: shared by the study and by the inner folds."""

from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from sctransformer.data.arrays import CellArrays
from sctransformer.model import PriorBiasedTransformer
from sctransformer.training.checkpoint import Checkpoint
from sctransformer.training.config import TrainConfig
from sctransformer.training.loop import EpochReport, fit

JUDGED = 512
"""Cells by whose hidden expression an epoch of pretraining is judged."""


class _PretrainedError(Exception):
    """Pretraining is over: there is nothing more to do in this fit."""


def pretrain(model: PriorBiasedTransformer, cells: CellArrays, config: TrainConfig) -> Checkpoint:
    """Masked-expression pretraining alone; `train` goes on from what it gives, with however many labels.

    Args:
        model: with fresh weights.
        cells: all that may be trained on; labels are not looked at.
        config: optimisation; its pretraining counts.

    Raises:
        NonFiniteLossError: the loss is no number any more.
    """
    reached: list[Checkpoint] = []

    def stop_in_time(report: EpochReport, state: Checkpoint) -> None:
        reached[:] = [state]
        if state.progress.epochs_done >= config.pretrain_epochs:
            raise _PretrainedError

    # `fit` takes labelled cells, for the classification that never comes: one made-up label for all
    alike = CellArrays(cells.counts_NG, cells.library_size_N, np.zeros(len(cells), dtype=np.int64))
    judged = np.random.default_rng(config.seed).permutation(len(cells))[:JUDGED]
    with suppress(_PretrainedError):
        fit(model, alike, _taken(alike, judged), config, on_epoch=stop_in_time)
    return reached[0]


def train(
    model: PriorBiasedTransformer,
    training: CellArrays,
    unlabelled: CellArrays,
    config: TrainConfig,
    pretrained: Checkpoint | None = None,
) -> float:
    """Train on all labelled cells; on return the model holds the weights after the last epoch.

    No cell is kept from training to choose an epoch: with two labelled cells of a type that would cost half of them,
    and the number of epochs is a parameter that search can choose like any other.

    Args:
        model: with fresh weights.
        training: labelled cells.
        unlabelled: all other cells that may be trained on; where training begins depends on them.
        config: optimisation.
        pretrained: of `pretrain` with the same model and pretraining, if `config` asks for pretraining.

    Returns:
        The objective in the last epoch.

    Raises:
        NonFiniteLossError: the loss is no number any more.
    """
    last: list[tuple[float, Checkpoint]] = []

    def remember(report: EpochReport, state: Checkpoint) -> None:
        last[:] = [(report.train_loss, state)]

    # `fit` wants cells to choose an epoch by; that choice is overruled below, so one of each type is enough
    _, one_a_type = np.unique(training.labels_N, return_index=True)
    fit(model, training, _taken(training, one_a_type), config, remember, pretrained, unlabelled=unlabelled)
    train_loss, state = last[0]
    model.load_state_dict(state.weights)
    return train_loss


def _taken(cells: CellArrays, rows: NDArray[np.integer]) -> CellArrays:
    return CellArrays(cells.counts_NG[rows], cells.library_size_N[rows], cells.labels_N[rows])
