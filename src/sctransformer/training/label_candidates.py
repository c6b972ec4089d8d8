"""Candidates of the label ensemble: logistic regressions on each view with each penalty, and the choice among them."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from sctransformer.training.balanced_logistic import Coefficients, balanced_loss, fit_balanced
from sctransformer.training.label_folds import NO_FOLD
from sctransformer.training.label_views import SourceMap, View

NO_USE = -1
"""Label of a cell that is not used in a fit."""
_INCREASES = 2
"""Weaker penalties are not tried after this number of successive increases of the loss."""


class LabelledCells:
    """Labels and folds of the cells that are fitted.

    Args:
        labels_N: class index of each cell; each class has a cell.
        fold_N: fold of each cell, see `assign_folds`.
    """

    def __init__(self, labels_N: NDArray[np.int64], fold_N: NDArray[np.int64]) -> None:
        self.labels_N, self.fold_N = labels_N, fold_N
        self.n_classes = int(labels_N.max()) + 1
        self.folds: list[int] = np.unique(fold_N[fold_N != NO_FOLD]).tolist()
        self.held_out_N = np.where(fold_N == NO_FOLD, NO_USE, labels_N)
        """Labels of the cells that are held out in one of the folds."""


class Candidate(NamedTuple):
    """A logistic regression on one view with one penalty, fitted without each fold."""

    view: View
    penalty: float
    loss: float
    """Class-balanced log-loss of held-out cells."""
    log_probability_NC: NDArray[np.float32]
    """For each cell by the fit without its fold; NaN for a cell without a fold."""
    start: Coefficients
    """Mean of the folds' coefficients, from which the fit on all cells starts."""

    def refit(self, cells: LabelledCells) -> SourceMap:
        """Fit on all cells."""
        x_NV, variance_V = self.view.x_NV, self.view.variance_V
        found = fit_balanced(x_NV, cells.labels_N, variance_V, cells.n_classes, self.penalty, self.start)
        return self.view.on_source(found)


def candidates_of(
    view: View, cells: LabelledCells, penalties: Sequence[float], on_fit: Callable[[], None], threads: int = 1
) -> Iterator[Candidate]:
    """Fit one view with each penalty, the largest first, until the loss has increased twice in succession.

    Args:
        view: the view.
        cells: labels and folds.
        penalties: to try.
        on_fit: called after each fit.
        threads: number of folds that are fitted at a time; the result does not depend on it.
    """
    fits: dict[int, Coefficients] = {}
    losses: list[float] = []
    with ThreadPoolExecutor(min(threads, len(cells.folds))) as pool:
        for penalty in sorted(set(penalties), reverse=True):
            log_probability_NC = np.full((len(cells.labels_N), cells.n_classes), np.nan, dtype=np.float32)

            def fit(fold: int, penalty: float = penalty) -> Coefficients:
                others_N = np.where(cells.fold_N == fold, NO_USE, cells.labels_N)
                return fit_balanced(
                    view.x_NV, others_N, view.variance_V, cells.n_classes, penalty, start=fits.get(fold)
                )

            for fold, found in zip(cells.folds, pool.map(fit, cells.folds), strict=True):
                held_out_N = cells.fold_N == fold
                log_probability_NC[held_out_N] = special.log_softmax(found.logits(view.x_NV[held_out_N]), axis=1)
                fits[fold] = found
                on_fit()
            losses.append(balanced_loss(log_probability_NC, cells.held_out_N))
            start = Coefficients(*(np.mean(several, axis=0) for several in zip(*fits.values(), strict=True)))
            yield Candidate(view, penalty, losses[-1], log_probability_NC, start)
            if len(losses) > _INCREASES and all(np.diff(losses[-_INCREASES - 1 :]) > 0):
                return


def select(log_probabilities: Sequence[NDArray[np.floating]], labels_N: NDArray[np.int64], picks: int) -> list[int]:
    """Ensemble selection: repeatedly add the candidate with which the average has the least class-balanced log-loss.

    A candidate may be added several times (Caruana et al. 2004, section 2.1). The result is the first of the ensembles
    on the way that has the least loss, so it is never worse than the best candidate.

    Args:
        log_probabilities: of each candidate, cells x classes.
        labels_N: class index of each cell; cells with a negative one are left out.
        picks: maximum number of candidates, repetitions included.

    Returns:
        Indices of the candidates, in the order in which they were added.
    """
    used_N = labels_N >= 0
    labels_N, of_candidates = labels_N[used_N], [one_NC[used_N] for one_NC in log_probabilities]
    chosen: list[int] = []
    best, best_loss = 0, np.inf
    total_NC = np.zeros_like(of_candidates[0])
    for number in range(1, picks + 1):
        losses = [
            balanced_loss(special.log_softmax((total_NC + one_NC) / number, axis=1), labels_N)
            for one_NC in of_candidates
        ]
        chosen.append(int(np.argmin(losses)))
        total_NC = total_NC + of_candidates[chosen[-1]]
        if losses[chosen[-1]] < best_loss:
            best, best_loss = number, losses[chosen[-1]]
    return chosen[:best]
