"""Embedding and labels of a model of activities, fitted without gradient descent."""

import numpy as np
import pytest
import torch

from sctransformer.data.arrays import CellArrays, TrainingCells
from sctransformer.errors import UserError
from sctransformer.model import ActivityTransformer
from sctransformer.training.closed_form import fit_closed_form, regulator_activity, train_whole
from sctransformer.training.components import principal_components
from sctransformer.training.config import TrainConfig
from sctransformer.training.label_ensemble import LabelFit
from sctransformer.training.label_settings import LabelSettings
from tests.conftest import LABELS, arrays, expression, simulated_cells
from tests.regulated_cells import small_activity_model

SETTINGS = LabelSettings(components=(3, 6), penalties=(1e-3, 1e-4), folds=3)


@pytest.fixture(scope="module")
def fitted() -> tuple[ActivityTransformer, LabelFit]:
    model, training = small_activity_model(), arrays(simulated_cells())
    return model, fit_closed_form(model, TrainingCells(training), LABELS, SETTINGS, seed=0)


def outputs(model: ActivityTransformer, cells: CellArrays) -> tuple[np.ndarray, ...]:
    with torch.no_grad():
        output = model(torch.from_numpy(cells.counts_NG), torch.from_numpy(cells.library_size_N))
    assert output.activity_NR is not None
    return output.logits_NC.numpy(), output.embedding_NE.numpy(), output.activity_NR.numpy()


def test_the_model_gives_the_logits_of_the_label_map(fitted: tuple[ActivityTransformer, LabelFit]) -> None:
    model, fit = fitted
    new = arrays(simulated_cells(40, seed=3))
    logits_NC, _, activity_NR = outputs(model, new)
    expected_NC = fit.label_map.logits(expression(new) - fit.label_map.mean_G, activity_NR)
    np.testing.assert_allclose(logits_NC, expected_NC, rtol=1e-4, atol=1e-4)
    assert (logits_NC.argmax(axis=1) == new.labels_N).mean() > 0.9


def test_the_embedding_is_the_principal_components(fitted: tuple[ActivityTransformer, LabelFit]) -> None:
    training = arrays(simulated_cells())
    components = principal_components([training], 8)
    expected_NE = (expression(training) - components.mean_G) @ components.loading_GM
    np.testing.assert_allclose(outputs(fitted[0], training)[1], expected_NE, atol=1e-3)


def test_activities_are_those_of_the_model(fitted: tuple[ActivityTransformer, LabelFit]) -> None:
    training = arrays(simulated_cells())
    rows_N = np.array([5, 2, 80])
    found_NR = regulator_activity(fitted[0], [training], rows_N)
    np.testing.assert_allclose(found_NR, outputs(fitted[0], training.take(rows_N))[2], atol=1e-5)


def test_unlabelled_cells_take_part_in_the_components_alone() -> None:
    cells = arrays(simulated_cells())
    labelled, rest = cells.take(np.arange(45)), cells.take(np.arange(45, 90))
    hidden = CellArrays(rest.counts_NG, rest.library_size_N, np.full(45, -1))
    model = small_activity_model()
    fit = fit_closed_form(model, TrainingCells(labelled, unlabelled=hidden), LABELS, SETTINGS, seed=0)
    assert fit.rows_N.tolist() == list(range(45))
    expected = principal_components([labelled, hidden], 8).loading_GM
    np.testing.assert_allclose(model.components_GE.numpy(), expected, atol=1e-5)


def test_a_type_with_two_cells_is_fitted() -> None:
    cells = arrays(simulated_cells())
    kept = np.concatenate([np.flatnonzero(cells.labels_N != 2), np.flatnonzero(cells.labels_N == 2)[:2]])
    model = small_activity_model()
    fit_closed_form(model, TrainingCells(cells.take(kept)), LABELS, SETTINGS, seed=0)
    new = arrays(simulated_cells(40, seed=3))
    assert (outputs(model, new)[0].argmax(axis=1) == new.labels_N).mean() > 0.8


def test_cells_of_one_type_are_refused() -> None:
    cells = arrays(simulated_cells())
    one = cells.take(np.flatnonzero(cells.labels_N == 0))
    with pytest.raises(UserError, match="are all 'alpha'"):
        fit_closed_form(small_activity_model(), TrainingCells(one), LABELS, SETTINGS, seed=0)


def test_a_model_is_trained_and_labels_cells_that_it_has_not_seen() -> None:
    training, new = arrays(simulated_cells()), arrays(simulated_cells(40, seed=3))
    model, config = small_activity_model(), TrainConfig(pretrain_epochs=2, pretrain_lr=1e-2)
    checkpoint = train_whole(model, TrainingCells(training, training), LABELS, config, SETTINGS)
    assert [row["phase"] for row in checkpoint.history] == ["pretraining"] * 2
    assert model.departure_J().abs().max() > 0
    assert (outputs(model, new)[0].argmax(axis=1) == new.labels_N).mean() > 0.9
