"""Folds: every class is learned without each fold, donors are held out where they can be."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sctransformer.training.label_folds import NO_FOLD, assign_folds, sample_balanced

LABELS = st.lists(st.integers(0, 4), min_size=2, max_size=60).map(np.array)


@settings(max_examples=100, deadline=None)
@given(labels_N=LABELS, folds=st.integers(2, 6), groups=st.one_of(st.none(), st.integers(1, 6)), seed=st.integers(0, 9))
def test_every_class_has_cells_outside_each_fold(
    labels_N: np.ndarray, folds: int, groups: int | None, seed: int
) -> None:
    groups_N = None if groups is None else np.random.default_rng(seed).integers(groups, size=len(labels_N))
    fold_N = assign_folds(labels_N, folds, seed, groups_N)
    assert fold_N.max() < folds
    for label in np.unique(labels_N):
        of_class_N = fold_N[labels_N == label]
        if len(of_class_N) == 1:
            assert of_class_N == NO_FOLD
        else:
            assert len(np.unique(of_class_N)) >= 2
            assert (of_class_N >= 0).all()


def test_folds_are_of_equal_size_within_each_class() -> None:
    labels_N = np.repeat([0, 1, 2], [50, 23, 7])
    fold_N = assign_folds(labels_N, 5, seed=0)
    for label in range(3):
        sizes = np.bincount(fold_N[labels_N == label], minlength=5)
        assert sizes.max() - sizes.min() <= 1
    assert np.ptp(np.bincount(fold_N)) <= 1


def test_cells_of_a_donor_are_in_one_fold_unless_they_are_all_of_their_class() -> None:
    rng = np.random.default_rng(0)
    donors_N, labels_N = rng.integers(8, size=400), rng.integers(3, size=400)
    labels_N[(labels_N == 2) & (donors_N != 3)] = 1  # class 2 comes from one donor
    fold_N = assign_folds(labels_N, 5, 0, donors_N)
    spread_N = labels_N != 2
    for donor in range(8):
        assert len(np.unique(fold_N[spread_N & (donors_N == donor)])) == 1
    assert len(np.unique(fold_N[~spread_N])) == 5
    assert len(np.unique(fold_N)) == 5


def test_one_donor_gives_the_folds_without_donors() -> None:
    labels_N = np.repeat([0, 1], 20)
    np.testing.assert_array_equal(assign_folds(labels_N, 5, 0, np.zeros(40)), assign_folds(labels_N, 5, 0))


@settings(max_examples=50, deadline=None)
@given(labels_N=LABELS, max_cells=st.integers(5, 40))
def test_a_sample_leaves_out_cells_of_the_largest_classes(labels_N: np.ndarray, max_cells: int) -> None:
    rows_N = sample_balanced(labels_N, max_cells, seed=0)
    assert len(rows_N) <= max_cells
    assert (np.diff(rows_N) > 0).all()
    before_C, after_C = np.bincount(labels_N), np.bincount(labels_N[rows_N], minlength=labels_N.max() + 1)
    cut_C = after_C < before_C
    if cut_C.any():
        assert len(set(after_C[cut_C])) == 1
        assert (before_C[~cut_C] <= after_C[cut_C].max()).all()
        assert len(rows_N) + cut_C.sum() > max_cells
    else:
        assert len(rows_N) == len(labels_N)
