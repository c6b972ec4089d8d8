"""The labels of an evaluated model, fitted again on all labelled cells and calibrated by cross-validation."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sctransformer.data.arrays import TrainingCells
from sctransformer.evaluation.calibration import calibrate_logits, probabilities
from sctransformer.model import ActivityTransformer
from sctransformer.params import Params
from sctransformer.training.closed_form import fit_closed_form
from sctransformer.training.label_ensemble import Progress
from sctransformer.training.scores import accuracy_and_macro_f1


@dataclass(frozen=True)
class Refit:
    """A model whose labels were fitted on all labelled cells. The JSON objects are parts of the bundle's files."""

    model: ActivityTransformer
    calibration: dict[str, Any]
    """See `evaluation.calibration.calibrate_logits`."""
    labels: dict[str, Any]
    """How the label map was chosen, see `LabelMap.report`."""
    summary: dict[str, Any]
    """`cells`, the number of labelled cells; their `accuracy` and `macro_f1`, each predicted without itself."""
    confidence_N: NDArray[np.floating]
    """Calibrated confidence of each labelled cell, predicted without itself; NaN for the only cell of a type."""


def refit_labels(
    evaluated: ActivityTransformer,
    cells: TrainingCells,
    class_names: Sequence[str],
    params: Params,
    donors_N: NDArray[Any] | None = None,
    on_progress: Progress = lambda done, total: None,
) -> Refit:
    """Fit embedding and labels again with the validation and test cells; attention stays as it is.

    A model with a third more labels has other logits, so the temperature of the evaluated model need not fit. It is
    fitted, like the confidence threshold, on all labelled cells, each predicted by a fit without its fold: whole
    donors, if they are known.

    Args:
        evaluated: the trained model; it is not changed.
        cells: all labelled cells as training cells, see `data.prepared.labelled_cells`.
        class_names: the cell types.
        params: settings of labels and calibration.
        donors_N: donor of each labelled cell; None if they are not known.
        on_progress: called after each fit of a regression.

    Raises:
        UserError: see `fit_label_map`.
    """
    model = copy.deepcopy(evaluated)
    fit = fit_closed_form(model, cells, class_names, params.labels, params.seed, donors_N, on_progress)
    known_N = np.isfinite(fit.log_probability_NC[:, 0])  # all types of a cell, or none
    logits_NC, labels_N = fit.log_probability_NC[known_N], cells.training.labels_N[known_N]
    calibration = calibrate_logits(logits_NC, labels_N, params.evaluate, "cross-validation")
    probabilities_NC = probabilities(logits_NC, calibration["temperature"])
    accuracy, macro_f1 = accuracy_and_macro_f1(labels_N, probabilities_NC.argmax(axis=1), len(class_names))
    confidence_N = np.full(len(known_N), np.nan)
    confidence_N[known_N] = probabilities_NC.max(axis=1)
    summary = {"cells": len(known_N), "accuracy": accuracy, "macro_f1": macro_f1}
    return Refit(model, calibration, fit.label_map.report, summary, confidence_N)
