"""Ensemble selection: never worse than the best candidate."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from sctransformer.training.balanced_logistic import balanced_loss
from sctransformer.training.label_candidates import select


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**16), candidates=st.integers(1, 8), picks=st.integers(1, 6))
def test_an_ensemble_is_never_worse_than_the_best_candidate(seed: int, candidates: int, picks: int) -> None:
    rng = np.random.default_rng(seed)
    labels_N = rng.integers(-1, 3, size=30)
    signal_NC = 2.0 * np.eye(3)[np.maximum(labels_N, 0)]
    some = [
        special.log_softmax(signal_NC * rng.random() + rng.normal(size=(30, 3)) * 2, axis=1) for _ in range(candidates)
    ]
    chosen = select(some, labels_N, picks)
    assert 1 <= len(chosen) <= picks
    average_NC = special.log_softmax(np.mean([some[index] for index in chosen], axis=0), axis=1)
    assert balanced_loss(average_NC, labels_N) <= min(balanced_loss(one, labels_N) for one in some) + 1e-9


def test_candidates_that_err_on_different_cells_are_combined() -> None:
    labels_N = np.array([0, 1, 0, 1])
    right, wrong = np.array([0.9, 0.1]), np.array([0.3, 0.7])
    first_NC = np.log([right, right[::-1], wrong, wrong[::-1]])
    second_NC = np.log([wrong, wrong[::-1], right, right[::-1]])
    poor_NC = np.log(np.full((4, 2), 0.5)) + np.array([-0.5, 0.5])
    assert sorted(select([poor_NC, first_NC, second_NC], labels_N, 2)) == [1, 2]


def test_cells_without_a_fold_are_left_out() -> None:
    labels_N = np.array([0, 1, -1])
    good_NC = np.array([[-0.1, -2.0], [-2.0, -0.1], [np.nan, np.nan]])
    assert select([good_NC[:, ::-1], good_NC], labels_N, 3) == [1]
