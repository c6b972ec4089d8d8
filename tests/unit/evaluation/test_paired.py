"""Two models on the same cells: macro-F1 as in scikit-learn, paired resamples, donors resampled if known."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from sctransformer.evaluation.paired import FEWEST_DONORS, compare, disagreement

LABELS = st.sampled_from("abcd")
CELLS = st.lists(st.tuples(LABELS, LABELS, LABELS), min_size=1, max_size=40)


@settings(max_examples=40, deadline=None)
@given(CELLS)
def test_macro_f1_equals_that_of_scikit_learn(cells: list[tuple[str, str, str]]) -> None:
    truth, one, other = (list(column) for column in zip(*cells, strict=True))
    paired = compare(truth, one, other, seed=0)
    assert paired.one == pytest.approx(f1_score(truth, one, average="macro", zero_division=0.0))
    assert paired.other == pytest.approx(f1_score(truth, other, average="macro", zero_division=0.0))
    assert paired.low <= paired.high
    swapped = compare(truth, other, one, seed=0)
    assert swapped.difference == pytest.approx(-paired.difference)


@settings(max_examples=20, deadline=None)
@given(CELLS)
def test_a_model_equals_itself_in_every_resample(cells: list[tuple[str, str, str]]) -> None:
    truth, one, _ = (list(column) for column in zip(*cells, strict=True))
    paired = compare(truth, one, one, seed=1)
    assert not paired.differences_T.any()
    assert paired.share_not_below(0.0) == 1.0


def test_whole_donors_are_resampled_if_there_are_enough() -> None:
    """The candidate fails on one donor: uncertain when donors are resampled, certain when cells are."""
    donors = [str(index // 50) for index in range(50 * 6)]
    truth = ["a", "b"] * 150
    champion = truth
    candidate = ["b", "a"] * 25 + truth[50:]
    by_cell = compare(truth, candidate, champion, seed=0)
    by_donors = compare(truth, candidate, champion, seed=0, donors_N=donors)
    assert (by_cell.unit, by_donors.unit) == ("cells", "donors")
    assert by_cell.difference == by_donors.difference < 0
    assert by_donors.high == 0.0  # a third of the resamples have no cell of that donor
    assert by_cell.high < 0.0
    few = [str(index % (FEWEST_DONORS - 1)) for index in range(300)]
    assert compare(truth, candidate, champion, seed=0, donors_N=few).unit == "cells"


def test_lists_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="2 cells, 1 and 2 labels"):
        compare(["a", "b"], ["a"], ["a", "b"], seed=0)
    with pytest.raises(ValueError, match="0 cells"):
        compare([], [], [], seed=0)


def test_equal_macro_f1_with_different_labels() -> None:
    truth, one, other = ["a", "a", "b", "b"], ["a", "b", "b", "b"], ["b", "a", "b", "b"]
    assert compare(truth, one, other, seed=0).difference == 0.0
    assert disagreement(one, other) == 0.5
    assert disagreement(one, one) == 0.0
