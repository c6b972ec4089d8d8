"""How arms are compared: intervals, pairing, the choice of a point, resampled test cells."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_1samp
from sklearn.metrics import f1_score

from sctransformer.evaluation.metrics import BOOTSTRAPS, resampled_macro_f1
from sctransformer.evaluation.protocol import (
    best_point,
    paired_differences,
    seeds_searched_together,
    summary,
    t_interval,
)


def table(scores: dict[tuple[str, float, int], float], spread: float = 0.001) -> pd.DataFrame:
    """Results with resampled scores that lie closely around each score, the same draws for all."""
    draws_B = np.random.default_rng(0).normal(0.0, spread, 200)
    rows = [
        {"name": name, "percent": percent, "seed": seed, "macro_f1": score, "resampled": score + draws_B * (1 + seed)}
        for (name, percent, seed), score in scores.items()
    ]
    return pd.DataFrame(rows)


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=8).filter(lambda own: np.std(own) > 1e-3))
def test_the_t_interval_is_that_of_scipy(values: list[float]) -> None:
    expected = ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert t_interval(np.array(values)) == pytest.approx((expected.low, expected.high))


def test_one_seed_has_no_interval_over_seeds() -> None:
    assert np.isnan(t_interval(np.array([0.5]))).all()
    row = paired_differences(table({("a", 1.0, 0): 0.6, ("b", 1.0, 0): 0.5}), ["b"]).iloc[0]
    assert row["difference"] == pytest.approx(0.1)
    assert np.isnan(row["low"])
    assert not row["shown"]


def test_differences_are_taken_within_seeds_that_both_have() -> None:
    scores = {("arm", 1.0, 0): 0.60, ("arm", 1.0, 1): 0.71, ("arm", 1.0, 2): 0.82, ("arm", 1.0, 3): 0.1}
    scores |= {("other", 1.0, 0): 0.50, ("other", 1.0, 1): 0.60, ("other", 1.0, 2): 0.70, ("other", 10.0, 3): 0.9}
    found = paired_differences(table(scores), ["other", "not there"])
    assert len(found) == 1
    row = found.iloc[0]
    assert (row["name"], row["reference"], row["percent"], row["seeds"]) == ("arm", "other", 1.0, 3)
    assert row["difference"] == pytest.approx(0.11)
    assert row["sd"] == pytest.approx(0.01)
    assert row["low"] == pytest.approx(0.11 - 4.302653 * 0.01 / np.sqrt(3), abs=1e-6)
    assert row["shown"]


def test_a_difference_that_seeds_explain_is_not_shown_however_many_cells_there_are() -> None:
    scores = {("a", 1.0, 0): 0.9, ("a", 1.0, 1): 0.5, ("b", 1.0, 0): 0.5, ("b", 1.0, 1): 0.49}
    row = paired_differences(table(scores), ["b"]).iloc[0]
    assert row["cells_low"] > 0
    assert row["low"] < 0
    assert not row["shown"]


def test_a_difference_that_test_cells_explain_is_not_shown_however_alike_the_seeds_are() -> None:
    scores = {(name, 1.0, seed): 0.5 + 0.01 * (name == "a") for name in "ab" for seed in range(3)}
    results = table(scores)
    noise = np.random.default_rng(1).normal(0.0, 0.1, (len(results), 200))
    results["resampled"] = [row + own for row, own in zip(results["resampled"], noise, strict=True)]
    row = paired_differences(results, ["b"]).iloc[0]
    assert row["low"] > 0
    assert row["cells_low"] < 0
    assert not row["shown"]


def test_the_summary_keeps_the_order_in_which_names_come() -> None:
    found = summary(table({("z", 1.0, 0): 0.2, ("a", 1.0, 0): 0.5, ("z", 1.0, 1): 0.4}))
    assert found["name"].tolist() == ["z", "a"]
    assert found["mean"].tolist() == pytest.approx([0.3, 0.5])
    assert found["sd"][0] == pytest.approx(0.2 / np.sqrt(2))
    assert np.isnan(found["sd"][1])


def test_the_best_point_has_the_highest_mean_and_the_first_of_equals_wins() -> None:
    assert best_point([[0.2, 0.4], [0.5, 0.3], [0.4, 0.4]]) == 1
    with pytest.raises(ValueError, match="expected as many of each"):
        best_point([[0.2], [0.2, 0.3]])


def test_seeds_choose_together_only_where_no_label_of_one_is_tested_in_another() -> None:
    labelled = {0: frozenset({"a", "b"}), 1: frozenset({"c"})}
    assert seeds_searched_together(labelled, {0: frozenset({"x"}), 1: frozenset({"x"})}) == [(0, 1)]
    assert seeds_searched_together(labelled, {0: frozenset({"c"}), 1: frozenset({"x"})}) == [(0,), (1,)]


@given(st.integers(0, 2**16))
def test_resampled_macro_f1_is_that_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels_N = np.concatenate([np.arange(4), rng.integers(0, 4, 20)])
    predicted_N = np.where(rng.random(24) < 0.6, labels_N, rng.integers(0, 5, 24))
    found_B = resampled_macro_f1(labels_N, predicted_N, 5, seed)
    replay = np.random.default_rng(seed)
    times_BN = np.zeros((BOOTSTRAPS, 24), dtype=int)
    for label in np.unique(labels_N):
        rows = np.flatnonzero(labels_N == label)
        times_BN[:, rows] = replay.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=BOOTSTRAPS)
    for draw in range(3):
        rows = np.repeat(np.arange(24), times_BN[draw])
        assert np.bincount(labels_N[rows]).tolist() == np.bincount(labels_N).tolist()
        expected = f1_score(labels_N[rows], predicted_N[rows], average="macro", zero_division=0.0)
        assert found_B[draw] == pytest.approx(expected, abs=1e-6)


def test_models_are_resampled_alike_on_the_same_cells() -> None:
    labels_N = np.arange(60) % 3
    wrong_N = np.where(np.arange(60) < 6, (labels_N + 1) % 3, labels_N)
    assert (resampled_macro_f1(labels_N, labels_N, 3, 0) == 1.0).all()
    assert np.array_equal(resampled_macro_f1(labels_N, wrong_N, 3, 7), resampled_macro_f1(labels_N, wrong_N, 3, 7))
    assert np.std(resampled_macro_f1(labels_N, wrong_N, 3, 7)) > 0
