"""Baselines on the same cells: logistic regression and CellTypist."""

import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from sctransformer.data.arrays import CellArrays
from sctransformer.data.normalise import log1p_cp10k

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
WIDE_PENALTIES = (1e-1, 1.0, 10.0, 100.0, 1000.0)
"""Wider grid, for few labelled cells, where the best C can be far above 10."""

MOST_CELLS_TO_CHOOSE = 4000
"""Training cells on which the penalty is chosen; the chosen one is fitted on all."""
_FEWEST_OF_A_CLASS = 10
"""Cells of a rare class that are kept among these."""
_FEW_VALUES = 10_000_000
"""Size of a matrix of expression below which several threads of BLAS are slower than one, and all genes are columns."""

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

    C is chosen by cross-validation on the training cells (macro-F1), on at most MOST_CELLS_TO_CHOOSE of them; all are
    fitted. The number of folds is at most the size of the smallest class; if a class has a single cell, C is 1.

    Args:
        training: labelled cells.
        folds: maximum number of folds.
        seed: seed of the folds, and of the cells on which C is chosen.
        wide: search WIDE_PENALTIES, with and without standardised genes and balanced class weights. Used to compare
            label fractions, because the best choice depends on the cells and on how many are labelled.

    Returns:
        A function that predicts labels, and the chosen settings.
    """
    expression_NG, labels_N = log1p_cp10k(training.counts_NG, training.library_size_N), training.labels_N
    rows_N = _sample(labels_N, MOST_CELLS_TO_CHOOSE, seed)
    folds = min(folds, int(np.bincount(labels_N[rows_N])[np.unique(labels_N)].min()))
    penalties = WIDE_PENALTIES if wide else PENALTIES
    best: tuple[float, float, bool, bool] | None = None
    threads = 1 if expression_NG.size < _FEW_VALUES else None
    with warnings.catch_warnings(), threadpool_limits(threads):
        warnings.simplefilter("ignore")  # of convergence, and of coming defaults
        for standardised in (True, False) if wide else (True,):
            if folds < 2:
                best = best or (0.0, 1.0, standardised, False)
                break
            view_NM = _View(expression_NG[rows_N], standardised)(expression_NG[rows_N])
            for balanced in (False, True) if wide else (False,):
                search = LogisticRegressionCV(
                    Cs=penalties, cv=StratifiedKFold(folds, shuffle=True, random_state=seed), scoring="f1_macro",
                    class_weight="balanced" if balanced else None, max_iter=1000, refit=False,
                ).fit(view_NM, labels_N[rows_N])  # fmt: skip
                scores_P = np.mean(next(iter(search.scores_.values())), axis=0)
                found = (float(scores_P.max()), float(penalties[int(scores_P.argmax())]), standardised, balanced)
                best = found if best is None or found[0] > best[0] else best
        assert best is not None
        _, penalty, standardised, balanced = best
        view = _View(expression_NG, standardised)
        model = LogisticRegression(C=penalty, class_weight="balanced" if balanced else None, max_iter=1000)
        model.fit(view(expression_NG), labels_N)
    chosen: dict[str, Any] = {"C": penalty, "folds": folds}
    if wide:
        chosen |= {"standardised": standardised, "balanced": balanced}

    def label(cells: CellArrays) -> NDArray[np.int64]:
        return np.asarray(model.predict(view(log1p_cp10k(cells.counts_NG, cells.library_size_N))), dtype=np.int64)

    return label, chosen


class _View:
    """Genes as columns, standardised if wanted; a large matrix with more genes than cells has as many columns as cells.

    These are a rotation of the genes. It is exact, because the weights of a penalised regression are a combination of
    the cells.
    """

    def __init__(self, expression_NG: NDArray[np.floating], standardised: bool) -> None:
        self._scaler = StandardScaler().fit(expression_NG) if standardised else None
        self._basis_GM: NDArray[np.floating] | None = None
        if expression_NG.shape[0] < expression_NG.shape[1] and expression_NG.size >= _FEW_VALUES:
            self._basis_GM = qr(self(expression_NG).T, mode="economic", check_finite=False)[0]

    def __call__(self, expression_NG: NDArray[np.floating]) -> NDArray[np.floating]:
        """The columns of some cells."""
        scaled_NG = expression_NG if self._scaler is None else self._scaler.transform(expression_NG)
        return scaled_NG if self._basis_GM is None else (scaled_NG @ self._basis_GM).astype(np.float64)


def _sample(labels_N: NDArray[np.integer], most: int, seed: int) -> NDArray[np.int64]:
    """At most about `most` rows, a random share of each class, but at least two cells of each that has them."""
    if len(labels_N) <= most:
        return np.arange(len(labels_N))
    order_N = np.random.default_rng(seed).permutation(len(labels_N))
    share = most / len(labels_N)
    kept = []
    for label in np.unique(labels_N):
        own_N = order_N[labels_N[order_N] == label]
        kept.append(own_N[: max(round(share * len(own_N)), min(len(own_N), _FEWEST_OF_A_CLASS))])
    return np.sort(np.concatenate(kept))


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
