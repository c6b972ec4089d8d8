"""Baselines on the same cells: logistic regression and CellTypist."""

import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from sctransformer.data.arrays import CellArrays
from sctransformer.data.normalise import log1p_cp10k

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
WIDE_PENALTIES = (1e-1, 1.0, 10.0, 100.0, 1000.0)
"""Wider grid, for few labelled cells, where the best C can be far above 10."""

_FEW_VALUES = 10_000_000
"""Size of a matrix of expression below which several threads of BLAS are slower than one."""

Predictor = Callable[[CellArrays], NDArray[np.int64]]
"""Predicts the class index of each cell."""


def logistic_regression(
    training: CellArrays, test: CellArrays, folds: int, seed: int
) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """Fit on training cells, predict test cells; see `fit_logistic_regression`.

    Returns:
        Labels of the test cells, and the chosen settings.
    """
    label, chosen = fit_logistic_regression(training, folds, seed)
    return label(test), chosen


def fit_logistic_regression(
    training: CellArrays, folds: int, seed: int, wide: bool = False
) -> tuple[Predictor, dict[str, Any]]:
    """Logistic regression on log expression.

    C is chosen by cross-validation on the training cells (macro-F1). The number of folds is at most the size of the
    smallest class; if a class has a single cell, C is 1.

    Args:
        training: labelled cells.
        folds: maximum number of folds.
        seed: seed of the folds.
        wide: search WIDE_PENALTIES, with and without standardised genes and balanced class weights. Used to compare
            label fractions, because the best choice depends on the cells and on how many are labelled.

    Returns:
        A function that predicts labels, and the chosen settings.
    """
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    choices: dict[str, Sequence[Any]] = {"logisticregression__C": WIDE_PENALTIES if wide else PENALTIES}
    if wide:
        choices["standardscaler"] = [StandardScaler(), "passthrough"]
        choices["logisticregression__class_weight"] = [None, "balanced"]
    folds = min(folds, int(np.bincount(training.labels_N)[np.unique(training.labels_N)].min()))
    expression_NG = log1p_cp10k(training.counts_NG, training.library_size_N)
    threads = 1 if expression_NG.size < _FEW_VALUES else None
    with warnings.catch_warnings(), threadpool_limits(threads):
        warnings.simplefilter("ignore", ConvergenceWarning)
        if folds < 2:
            model.fit(expression_NG, training.labels_N)
            best: dict[str, Any] = {"logisticregression__C": 1.0}
        else:
            search = GridSearchCV(
                model, choices, scoring="f1_macro", cv=StratifiedKFold(folds, shuffle=True, random_state=seed)
            )
            model = search.fit(expression_NG, training.labels_N)
            best = search.best_params_
    chosen: dict[str, Any] = {"C": float(best["logisticregression__C"]), "folds": folds}
    if wide:
        chosen["standardised"] = best.get("standardscaler") != "passthrough"
        chosen["balanced"] = best.get("logisticregression__class_weight") == "balanced"

    def label(cells: CellArrays) -> NDArray[np.int64]:
        return np.asarray(model.predict(log1p_cp10k(cells.counts_NG, cells.library_size_N)), dtype=np.int64)

    return label, chosen


def fit_celltypist(training: CellArrays, genes: Sequence[str]) -> Predictor:
    """CellTypist trained with its defaults; labels by best match, without majority voting.

    CellTypist's check that the counts of each cell sum to 10,000 is off, because columns without a gene symbol count
    towards the library size but are not among the genes.

    Args:
        training: labelled cells over all genes of the file.
        genes: names of the genes.
    """
    from anndata import AnnData
    from pandas import DataFrame

    names_N = np.array([str(label) for label in training.labels_N])
    annotate = celltypist_on_expression(log1p_cp10k(training.counts_NG, training.library_size_N), names_N, genes)

    def label(cells: CellArrays) -> NDArray[np.int64]:
        expression_NG = log1p_cp10k(cells.counts_NG, cells.library_size_N)
        predicted = annotate(AnnData(expression_NG, var=DataFrame(index=list(genes))))
        return np.asarray(predicted.astype(np.int64))

    return label


def celltypist_on_expression(
    expression_NG: Any, names_N: NDArray[np.str_], genes: Sequence[str]
) -> Callable[[Any], NDArray[np.str_]]:
    """Train CellTypist; the result predicts the label of each cell of an AnnData with the same kind of expression in X.

    Domínguez Conde et al. 2022, Science 376, eabl5197; https://github.com/Teichlab/celltypist. Leaves no files and
    prints nothing.

    Args:
        expression_NG: log1p of counts per 10,000, cells x genes, dense or sparse.
        names_N: label of each cell.
        genes: names of the genes.
    """
    celltypist = _quiet_celltypist()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = celltypist.train(
            expression_NG, labels=names_N, genes=np.array(genes, dtype=object), check_expression=False
        )

    def annotate(cells: Any) -> NDArray[np.str_]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            predicted = celltypist.annotate(cells, model=model).predicted_labels["predicted_labels"]
        return np.asarray(predicted.astype(str).to_numpy(), dtype=np.str_)

    return annotate


def _quiet_celltypist() -> Any:
    """Import CellTypist without its folder in the user's home, its log output and its handler on the root logger."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    # The folder is created at import and not needed afterwards.
    with tempfile.TemporaryDirectory(prefix="sctransformer-celltypist-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.environ.setdefault("CELLTYPIST_FOLDER", folder)
        import celltypist  # type: ignore[import-untyped]

        if os.environ["CELLTYPIST_FOLDER"] == folder:
            del os.environ["CELLTYPIST_FOLDER"]
    root.setLevel(level)
    root.handlers[:] = handlers
    celltypist.logger.set_level(logging.ERROR)
    return celltypist
