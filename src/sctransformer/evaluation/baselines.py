"""Logistic regression on the same cells and genes: what a model must beat to be worth its cost."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sctransformer._constants import TARGET_SUM
from sctransformer.data.arrays import CellArrays

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)


def log_expression(cells: CellArrays) -> NDArray[np.float32]:
    """log1p of counts per 10,000, cells x genes."""
    return np.log1p(cells.counts_NG * (TARGET_SUM / np.maximum(cells.library_size_N, 1.0))[:, None])


def logistic_regression(
    training: CellArrays, test: CellArrays, folds: int, seed: int
) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """Fit on training cells, label test cells.

    C is chosen by inner cross-validation on the training cells (macro-F1); the number of folds falls with the smallest
    class, and with a class of one cell C stays 1.

    Returns:
        Labels of the test cells, and what was chosen.
    """
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    folds = min(folds, int(np.bincount(training.labels_N)[np.unique(training.labels_N)].min()))
    expression_NG = log_expression(training)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        if folds < 2:
            model.fit(expression_NG, training.labels_N)
            chosen = 1.0
        else:
            search = GridSearchCV(
                model,
                {"logisticregression__C": PENALTIES},
                scoring="f1_macro",
                cv=StratifiedKFold(folds, shuffle=True, random_state=seed),
            )
            model = search.fit(expression_NG, training.labels_N)
            chosen = float(search.best_params_["logisticregression__C"])
    return np.asarray(model.predict(log_expression(test)), dtype=np.int64), {"C": chosen, "folds": folds}
