"""Which labelled cells are fitted, and which of them are predicted together, by a fit on the others."""

import warnings

import numpy as np
from numpy.typing import NDArray

NO_FOLD = -1
"""Fold of a cell that is in the training cells of every fold."""
_FOLDS, _SAMPLE = (0, 4), (0, 5)
"""Keys of the random numbers here, distinct from those of the phases of training."""


def sample_balanced(labels_N: NDArray[np.int64], max_cells: int, seed: int) -> NDArray[np.int64]:
    """Positions of at most `max_cells` cells, ascending: random cells of the largest classes are left out.

    Every class keeps at least one cell.
    """
    if len(labels_N) <= max_cells:
        return np.arange(len(labels_N))
    count_C = np.bincount(labels_N)
    limit = 1  # the largest number of cells per class that leaves no more than max_cells
    while np.minimum(count_C, limit + 1).sum() <= max_cells:
        limit += 1
    order_N = np.random.default_rng((seed, *_SAMPLE)).permutation(len(labels_N))
    kept = [order_N[labels_N[order_N] == label][:limit] for label in range(len(count_C))]
    return np.sort(np.concatenate(kept))


def assign_folds(
    labels_N: NDArray[np.int64], folds: int, seed: int, groups_N: NDArray[np.generic] | None = None
) -> NDArray[np.int64]:
    """Assign each cell to a fold, such that each class is spread over the folds.

    With groups, such as donors, all cells of a group are in one fold, so that the loss on held-out cells is that on new
    donors. A class whose cells would all be in one fold could not be learned without it; its cells are spread over the
    folds whatever their group.

    Args:
        labels_N: class index of each cell.
        folds: maximum number of folds.
        seed: random seed.
        groups_N: group of each cell.

    Returns:
        Index of each cell's fold, from 0; `NO_FOLD` for the cell of a class with a single one.
    """
    rng = np.random.default_rng((seed, *_FOLDS))
    count_C = np.bincount(labels_N)
    folds = min(folds, int(count_C.max()))
    fold_N = None if groups_N is None else _by_group(labels_N, folds, seed, groups_N)
    if fold_N is None:
        fold_N = np.full(len(labels_N), NO_FOLD)
    first = 0
    for label in np.flatnonzero(count_C):
        of_class_N = np.flatnonzero(labels_N == label)
        if len(of_class_N) == 1:
            fold_N[of_class_N] = NO_FOLD
        elif len(np.unique(fold_N[of_class_N])) == 1:
            fold_N[rng.permutation(of_class_N)] = (first + np.arange(len(of_class_N))) % folds
            first += len(of_class_N)  # the next class starts with the next fold, so that folds are of equal size
    return fold_N


def _by_group(
    labels_N: NDArray[np.int64], folds: int, seed: int, groups_N: NDArray[np.generic]
) -> NDArray[np.int64] | None:
    """Folds of whole groups; None if there is only one group."""
    from sklearn.model_selection import StratifiedGroupKFold

    folds = min(folds, len(np.unique(groups_N)))
    if folds < 2:
        return None
    fold_N = np.empty(len(labels_N), dtype=np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class with fewer cells than folds
        cut = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        for index, (_, held_out_N) in enumerate(cut.split(labels_N[:, None], labels_N, groups_N)):
            fold_N[held_out_N] = index
    return fold_N
