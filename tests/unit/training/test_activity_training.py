"""Training of a model of activities: it resumes, prefers the real network, and keeps to it as firmly as asked."""

from pathlib import Path

import numpy as np
import pytest

from sctransformer.data.arrays import TrainingCells
from sctransformer.errors import UserError
from sctransformer.prior.controls import shuffled
from sctransformer.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from sctransformer.training.config import TrainConfig
from sctransformer.training.execution import Execution
from sctransformer.training.trainer import Callbacks, Trainer
from tests.conftest import arrays, simulated_cells
from tests.regulated_cells import SIGNED_EDGES, regulated_cells, small_activity_model
from tests.unit.training.training_runs import assert_same_weights

CONFIG = TrainConfig(seed=3, pretrain_epochs=3, pretrain_batch_size=32, pretrain_lr=1e-2, prior_strength=1.0)


def trained(config: TrainConfig = CONFIG, resume: Checkpoint | None = None, **changes: object) -> list[Checkpoint]:
    """Checkpoints after each step of a small run, and at the end of each epoch."""
    model, found = small_activity_model(config.seed, **changes), []  # type: ignore[arg-type, var-annotated]
    cells = TrainingCells(arrays(simulated_cells()), arrays(simulated_cells(seed=1)))
    callbacks = Callbacks(lambda _, checkpoint: found.append(checkpoint), found.append)
    Trainer(model, cells, config, Execution(checkpoint_steps=1), callbacks=callbacks).fit(resume)
    return found


def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path: Path) -> None:
    """After an epoch, and within one."""
    whole = trained(depth=2)
    assert [state.progress.position for state in whole[:4]] == [(0, 1), (0, 2), (1, 0), (1, 1)]
    for number in (2, 3):
        folder = tmp_path / str(number)
        folder.mkdir()
        save_checkpoint(whole[number], folder)
        resumed = trained(resume=load_checkpoint(folder), depth=2)[-1]
        assert_same_weights(resumed.weights, whole[-1].weights)
        assert_same_weights(resumed.decoder, whole[-1].decoder)
        assert_same_weights(resumed.best, whole[-1].best)


def test_a_checkpoint_of_another_network_is_refused() -> None:
    """Also of one with as many edges of the same weights."""
    states = trained()
    moved = SIGNED_EDGES.copy()
    moved.loc[moved.index[-1], "target"] = "GENE20"
    with pytest.raises(UserError, match="another prior"):
        trained(resume=states[1], edges=moved)
    with pytest.raises(UserError, match="another prior"):
        trained(resume=states[1], edges=SIGNED_EDGES[:-1])


def test_a_checkpoint_of_another_prior_strength_is_refused() -> None:
    with pytest.raises(UserError, match=r"train\.prior_strength 1\.0 and this run 0\.5"):
        trained(CONFIG.replace(prior_strength=0.5), resume=trained()[1])


def test_the_penalty_holds_the_weights_at_the_network() -> None:
    departures = []
    for strength in (0.0, 1.0, 100.0):
        state = trained(CONFIG.replace(prior_strength=strength))[-1].weights
        moved_J = state["activities.0.weight_J"] - state["activities.0.start_J"]
        departures.append(float(moved_J.square().mean()))
    assert departures[0] > departures[1] > departures[2] > 0.0


def test_few_cells_are_repeated_until_the_least_number_of_steps() -> None:
    whole = trained(CONFIG.replace(pretrain_epochs=2, pretrain_min_steps=10))
    assert [state.progress.position for state in whole][-2:] == [(1, 5), (2, 0)]


def test_the_real_network_explains_more_of_hidden_genes_than_a_shuffled_one() -> None:
    simulated, validation = regulated_cells(n_cells=300), regulated_cells(n_cells=100, seed=1)
    config = TrainConfig(pretrain_epochs=4, pretrain_batch_size=32, pretrain_lr=2e-2, pretrain_min_steps=200)
    explained = []
    for network in (None, shuffled(simulated.network, None, seed=0)):
        model, reports = simulated.model(network, factors=0), []  # type: ignore[var-annotated]
        callbacks = Callbacks(lambda report, _, reports=reports: reports.append(report))
        Trainer(model, TrainingCells(simulated.cells, validation.cells), config, callbacks=callbacks).fit()
        explained.append(reports[-1].val_r2)
    assert explained[0] > 0.1
    assert explained[0] > 2 * max(explained[1], 0.0)
    assert np.isfinite(explained).all()
