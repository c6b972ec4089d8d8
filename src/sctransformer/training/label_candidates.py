"""Candidates of the label ensemble: logistic regressions on each view with each penalty, and the choice among them."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from sctransformer.training.balanced_logistic import Coefficients, balanced_loss, fit_balanced
from sctransformer.training.label_folds import NO_FOLD
from sctransformer.training.label_views import View

NO_USE = -1
"""Label of a cell that is not used in a fit."""
FACTORS = (0.05, 10.0)
"""Smallest and largest factor of a candidate's logits."""
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
    """A logistic regression on one view with one penalty, and what it predicts for cells that it was fitted without.

    Its logits are multiplied by one factor, with which the log-loss of held-out cells is least. Otherwise, with few
    labelled cells, the choice would be for large penalties only because their fits are less certain.
    """

    view: View
    penalty: float
    loss: float
    """Class-balanced log-loss of held-out cells."""
    log_probability_NC: NDArray[np.float32]
    """For each cell by the fit without its fold; NaN for a cell without a fold."""
    coefficients: Coefficients
    """Of the fit on all cells."""


def candidates_of(
    view: View, cells: LabelledCells, penalties: Sequence[float], on_fit: Callable[[], None]
) -> Iterator[Candidate]:
    """Fit one view with each penalty, the largest first, until the loss has increased twice in succession.

    Args:
        view: the view.
        cells: labels and folds.
        penalties: to try.
        on_fit: called after each penalty.
    """
    fits: list[Coefficients] | None = None
    losses: list[float] = []
    labels_IN = [np.where(cells.fold_N == fold, NO_USE, cells.labels_N) for fold in cells.folds]
    labels_IN.append(cells.labels_N)
    for penalty in sorted(set(penalties), reverse=True):
        fits = fit_balanced(view.x_NV, np.stack(labels_IN), cells.n_classes, penalty, view.curvature, fits)
        logits_NC = np.full((len(cells.labels_N), cells.n_classes), np.nan, dtype=np.float32)
        for fold, one in zip(cells.folds, fits, strict=False):
            held_out_N = cells.fold_N == fold
            logits_NC[held_out_N] = one.logits(view.x_NV)[held_out_N]
        factor = _best_factor(logits_NC, cells.held_out_N)
        log_probability_NC = special.log_softmax(np.float32(factor) * logits_NC, axis=1)
        losses.append(balanced_loss(log_probability_NC, cells.held_out_N))
        yield Candidate(view, penalty, losses[-1], log_probability_NC, fits[-1].scaled(factor))
        on_fit()
        if len(losses) > _INCREASES and all(np.diff(losses[-_INCREASES - 1 :]) > 0):
            return


def _best_factor(logits_NC: NDArray[np.float32], labels_N: NDArray[np.int64]) -> float:
    """The factor of the logits with which the class-balanced log-loss is least, within `FACTORS`."""
    used_N = labels_N >= 0
    logits_NC, labels_N = logits_NC[used_N], labels_N[used_N]

    def loss(log_factor: float) -> float:
        return balanced_loss(special.log_softmax(np.float32(np.exp(log_factor)) * logits_NC, axis=1), labels_N)

    found = optimize.minimize_scalar(loss, bounds=tuple(np.log(FACTORS)), method="bounded", options={"xatol": 0.01})
    return float(np.exp(found.x))


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
