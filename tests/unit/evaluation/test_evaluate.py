"""The evaluation of a model: calibration, metrics, comparison with the baseline."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from sctransformer._constants import OBS
from sctransformer.evaluation.evaluate import Evaluation, evaluate
from sctransformer.evaluation.settings import EvaluationSettings
from sctransformer.files import sha256_json
from tests.conftest import LABELS, opened, simulated_cells, small_model

PARAMS = EvaluationSettings(baseline_folds=2, withheld_share=0.1)


def prepared(donors: bool) -> AnnData:
    cells = simulated_cells(240)
    cells.obs[OBS.split] = pd.Categorical(np.repeat(["train", "validation", "test"], 80))
    if donors:
        cells.obs[OBS.donor] = pd.Categorical([f"donor{index // 3 % 5}" for index in range(240)])
    return cells


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return evaluate(opened(small_model()), prepared(donors=True), PARAMS, seed=0)


def test_predictions_and_metrics_are_those_of_the_test_cells(evaluation: Evaluation) -> None:
    table, metrics = evaluation.predictions, evaluation.metrics["test"]
    assert table["cell"].tolist() == [f"cell{index}" for index in range(160, 240)]
    assert evaluation.class_names == LABELS
    assert metrics["cells"] == len(table) == len(evaluation.embedding_NE)
    assert metrics["accuracy"] == pytest.approx((table["cell_type"] == table["predicted"]).mean())
    pairs = [list(pair) for pair in zip(table["cell"], table["cell_type"], strict=True)]
    assert evaluation.test_cells["test_cells_sha256"] == sha256_json(pairs)


def test_the_baseline_is_measured_on_the_same_cells(evaluation: Evaluation) -> None:
    baseline, versus = evaluation.metrics["baseline"], evaluation.metrics["versus_baseline"]
    assert baseline["cells"] == 80
    assert baseline["macro_f1"] > 0.9
    assert versus["difference"] == pytest.approx(evaluation.metrics["test"]["macro_f1"] - baseline["macro_f1"])
    assert versus["drawn_again"] == "donors"
    assert set(evaluation.classes["by_donor"]) == {f"donor{index}" for index in range(5)}


def test_calibration_is_chosen_on_validation_cells(evaluation: Evaluation) -> None:
    calibration = evaluation.calibration
    assert calibration["temperature"] > 0
    assert calibration["rejected_share"] >= 0.09
    assert evaluation.risk_coverage["validation cells"] == calibration["risk_coverage"]


def test_no_validation_cell_is_rejected_where_fewer_labels_are_wrong_than_the_stated_error() -> None:
    settings = EvaluationSettings(baseline_folds=2, rejection_error=0.9)
    assert evaluate(small_model(), prepared(donors=False), settings, seed=0).calibration["rejected_share"] == 0.0


def test_without_donors_cells_are_resampled() -> None:
    found = evaluate(opened(small_model()), prepared(donors=False), PARAMS, seed=0)
    assert found.metrics["versus_baseline"]["drawn_again"] == "cells"
    assert found.classes["by_donor"] == {}
