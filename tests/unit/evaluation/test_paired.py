"""Two models on the same cells: the figures are scikit-learn's, the draws are paired, donors are drawn where known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from sctransformer.evaluation.donors import by_donor, share_interval, with_recall_intervals
from sctransformer.evaluation.paired import FEWEST_DONORS, compare, disagreement

LABELS = st.sampled_from("abcd")
CELLS = st.lists(st.tuples(LABELS, LABELS, LABELS), min_size=1, max_size=40)


@settings(max_examples=40, deadline=None)
@given(CELLS)
def test_figures_are_those_of_scikit_learn(cells: list[tuple[str, str, str]]) -> None:
    truth, one, other = (list(side) for side in zip(*cells, strict=True))
    paired = compare(truth, one, other, seed=0)
    assert paired.one == pytest.approx(f1_score(truth, one, average="macro", zero_division=0.0))
    assert paired.other == pytest.approx(f1_score(truth, other, average="macro", zero_division=0.0))
    assert paired.low <= paired.high
    turned = compare(truth, other, one, seed=0)
    assert turned.difference == pytest.approx(-paired.difference)


@settings(max_examples=20, deadline=None)
@given(CELLS)
def test_a_model_is_as_good_as_itself_in_every_draw(cells: list[tuple[str, str, str]]) -> None:
    truth, one, _ = (list(side) for side in zip(*cells, strict=True))
    paired = compare(truth, one, one, seed=1)
    assert not paired.differences_B.any()
    assert paired.share_not_below(0.0) == 1.0


def test_donors_are_drawn_whole_where_enough_are_known() -> None:
    """One donor on which the candidate fails: over donors that is uncertain, over cells it looks certain."""
    donors = [str(index // 50) for index in range(50 * 6)]
    truth = ["a", "b"] * 150
    champion = truth
    candidate = ["b", "a"] * 25 + truth[50:]
    by_cell = compare(truth, candidate, champion, seed=0)
    by_donors = compare(truth, candidate, champion, seed=0, donors_N=donors)
    assert (by_cell.unit, by_donors.unit) == ("cells", "donors")
    assert by_cell.difference == by_donors.difference < 0
    assert by_donors.high == 0.0  # a third of the draws hold no cell of that donor
    assert by_cell.high < 0.0
    few = [str(index % (FEWEST_DONORS - 1)) for index in range(300)]
    assert compare(truth, candidate, champion, seed=0, donors_N=few).unit == "cells"


def test_lists_of_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="2 cells, 1 and 2 labels"):
        compare(["a", "b"], ["a"], ["a", "b"], seed=0)
    with pytest.raises(ValueError, match="0 cells"):
        compare([], [], [], seed=0)


def test_equal_figures_and_other_labels() -> None:
    truth, one, other = ["a", "a", "b", "b"], ["a", "b", "b", "b"], ["b", "a", "b", "b"]
    assert compare(truth, one, other, seed=0).difference == 0.0
    assert disagreement(one, other) == 0.5
    assert disagreement(one, one) == 0.0


def test_figures_of_donors_and_intervals_of_recall() -> None:
    labels, predicted = np.array([0, 1, 0, 1]), np.array([0, 1, 1, 1])
    figures = by_donor(labels, predicted, ["x", "x", "y", "y"])
    assert figures["x"]["accuracy"] == 1.0
    assert figures["y"] == {
        "cells": 2, "accuracy": 0.5, "accuracy_ci": share_interval(1, 2), "macro_f1": pytest.approx(1 / 3),
    }  # fmt: skip
    low, high = share_interval(80, 100)
    assert (low, high) == (pytest.approx(0.711, abs=1e-3), pytest.approx(0.867, abs=1e-3))
    per_class = with_recall_intervals({"a": {"recall": 0.8, "cells": 100}, "b": {"recall": 0.0, "cells": 0}})
    assert per_class["a"]["recall_ci"] == [low, high]
    assert per_class["b"]["recall_ci"] is None
