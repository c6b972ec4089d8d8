"""Evaluate a trained model: calibrate it on validation cells, score it on test cells beside logistic regression."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from sctransformer._constants import OBS
from sctransformer.data.arrays import CellArrays
from sctransformer.data.prepared import class_names, select_split
from sctransformer.evaluation.baselines import logistic_regression
from sctransformer.evaluation.calibration import (
    calibrate_logits,
    expected_calibration_error,
    probabilities,
    risk_coverage,
)
from sctransformer.evaluation.donors import metrics_by_donor, with_recall_intervals
from sctransformer.evaluation.metrics import classification_metrics
from sctransformer.evaluation.novelty import fit_novelty, novelty_of
from sctransformer.evaluation.novelty_score import NoveltyScore
from sctransformer.evaluation.paired import compare
from sctransformer.evaluation.scoring import score_cells
from sctransformer.evaluation.settings import EvaluationSettings
from sctransformer.files import sha256_json
from sctransformer.model import Model


@dataclass(frozen=True)
class Evaluation:
    """The result of `evaluate`. The JSON objects are the contents of the files of the same names."""

    class_names: list[str]
    """Class i of the model is the i-th name."""
    calibration: dict[str, Any]
    """temperature, rejection_threshold and how it was chosen, risk_coverage on validation cells; `novelty`, see
    `novelty.Novelty.content`."""
    novelty: NoveltyScore
    """The fitted novelty score."""
    metrics: dict[str, Any]
    """`test` and `baseline` (accuracy, macro-F1, ...), and `versus_baseline`, the paired difference of macro-F1."""
    classes: dict[str, Any]
    """Metrics of each cell type for `test` and `baseline`, and metrics of each donor."""
    test_cells: dict[str, Any]
    """Digest of the test cells and their labels, and the intervals of macro-F1."""
    predictions: pd.DataFrame
    """One row per test cell: cell, cell_type, predicted."""
    labels_N: NDArray[np.int64]
    """True class of each test cell."""
    predicted_N: NDArray[np.int64]
    """Predicted class of each test cell, also of cells that are rejected."""
    embedding_NE: NDArray[np.float32]
    """Embedding of each test cell."""
    risk_coverage: dict[str, list[dict[str, float]]]
    """Risk-coverage curves, by name of the cells."""


def evaluate(model: Model, cells: AnnData, params: EvaluationSettings, seed: int) -> Evaluation:
    """Calibrate a model on the validation cells and measure it on the test cells.

    Args:
        model: the trained model.
        cells: prepared cells, see `data.prepared`.
        params: rejection rules and folds of the baseline.
        seed: seed of the bootstrap and of the folds.
    """
    names = class_names(cells)
    training, validation, test = (select_split(cells, split) for split in ("train", "validation", "test"))
    calibration = calibrate(model, validation, params)
    temperature, threshold = calibration["temperature"], calibration["rejection_threshold"]
    novelty = fit_novelty(training, validation, calibrated(model, temperature), params.novel_share, seed)
    calibration["novelty"] = novelty.content

    logits_NC, embedding_NE = score_cells(model, test)
    probabilities_NC = probabilities(logits_NC, temperature)
    is_novel_N = novelty_of(novelty.score, test, probabilities_NC) > novelty.threshold
    predicted_N = probabilities_NC.argmax(axis=1)
    ours = classification_metrics(test.labels_N, predicted_N, names, seed)
    ours["calibration_error"] = expected_calibration_error(probabilities_NC, test.labels_N)
    ours["rejected_share"] = float((is_novel_N | (probabilities_NC.max(axis=1) < threshold)).mean())
    ours["novel_share"] = float(is_novel_N.mean())
    baseline_N, chosen = logistic_regression(training, test, params.baseline_folds, seed)
    baseline = classification_metrics(test.labels_N, baseline_N, names, seed)
    per_class = {"test": with_recall_intervals(ours.pop("per_class")), "baseline": baseline.pop("per_class")}
    intervals = {"test": ours.pop("macro_f1_ci"), "baseline": baseline.pop("macro_f1_ci")}

    test_obs = cells.obs[(cells.obs[OBS.split] == "test").to_numpy()]
    donors = test_obs[OBS.donor].astype(str).tolist() if OBS.donor in test_obs else None
    truth, predicted, by_baseline = (
        [names[label] for label in labels_N] for labels_N in (test.labels_N, predicted_N, baseline_N)
    )
    paired = compare(truth, predicted, by_baseline, seed, donors)
    by_donor = {} if donors is None else metrics_by_donor(test.labels_N, predicted_N, donors)
    return Evaluation(
        class_names=names,
        calibration=calibration,
        novelty=novelty.score,
        metrics={
            "test": ours,
            "baseline": baseline | chosen,
            "versus_baseline": {
                "difference": paired.difference,
                "low": paired.low,
                "high": paired.high,
                "drawn_again": paired.unit,
            },
        },
        classes=per_class | {"by_donor": by_donor},
        test_cells={
            "test_cells_sha256": sha256_json([list(pair) for pair in zip(test_obs.index, truth, strict=True)]),
            "macro_f1_ci": intervals,
        },
        predictions=pd.DataFrame({"cell": test_obs.index, "cell_type": truth, "predicted": predicted}),
        labels_N=test.labels_N,
        predicted_N=predicted_N,
        embedding_NE=embedding_NE,
        risk_coverage={
            "validation cells": calibration["risk_coverage"],
            "test cells": risk_coverage(probabilities_NC, test.labels_N),
        },
    )


def calibrated(model: Model, temperature: float) -> Callable[[CellArrays], NDArray[np.float64]]:
    """A function that gives the calibrated probabilities of cells."""
    return lambda cells: probabilities(score_cells(model, cells)[0], temperature)


def calibrate(model: Model, validation: CellArrays, params: EvaluationSettings) -> dict[str, Any]:
    """Temperature and rejection threshold from validation cells, as calibration.json holds them."""
    logits_NC, _ = score_cells(model, validation)
    return calibrate_logits(logits_NC, validation.labels_N, params, "validation")
