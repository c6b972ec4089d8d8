"""How arms are compared: intervals, pairing, the choice of a search point."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from pipelines.study.protocol import (
    best_point,
    paired_differences,
    seeds_searched_together,
    summary,
    t_interval,
)


def table(scores: dict[tuple[str, float, int], float], spread: float = 0.001) -> pd.DataFrame:
    """Results whose resampled scores are close to each score, with the same resamples for all."""
    noise_T = np.random.default_rng(0).normal(0.0, spread, 200)
    rows = [
        {"name": name, "percent": percent, "seed": seed, "macro_f1": score, "resampled": score + noise_T * (1 + seed)}
        for (name, percent, seed), score in scores.items()
    ]
    return pd.DataFrame(rows)


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=8).filter(lambda own: np.std(own) > 1e-3))
def test_the_t_interval_equals_that_of_scipy(values: list[float]) -> None:
    expected = ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert t_interval(np.array(values)) == pytest.approx((expected.low, expected.high))


def test_one_seed_has_no_interval_over_seeds() -> None:
    assert np.isnan(t_interval(np.array([0.5]))).all()
    row = paired_differences(table({("a", 1.0, 0): 0.6, ("b", 1.0, 0): 0.5}), ["b"]).iloc[0]
    assert row["difference"] == pytest.approx(0.1)
    assert np.isnan(row["low"])
    assert not row["shown"]


def test_differences_are_paired_by_common_seeds() -> None:
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


def test_a_difference_within_the_variation_of_seeds_is_not_shown() -> None:
    scores = {("a", 1.0, 0): 0.9, ("a", 1.0, 1): 0.5, ("b", 1.0, 0): 0.5, ("b", 1.0, 1): 0.49}
    row = paired_differences(table(scores), ["b"]).iloc[0]
    assert row["cells_low"] > 0
    assert row["low"] < 0
    assert not row["shown"]


def test_a_difference_within_the_variation_of_test_cells_is_not_shown() -> None:
    scores = {(name, 1.0, seed): 0.5 + 0.01 * (name == "a") for name in "ab" for seed in range(3)}
    results = table(scores)
    noise = np.random.default_rng(1).normal(0.0, 0.1, (len(results), 200))
    results["resampled"] = [row + own for row, own in zip(results["resampled"], noise, strict=True)]
    row = paired_differences(results, ["b"]).iloc[0]
    assert row["low"] > 0
    assert row["cells_low"] < 0
    assert not row["shown"]


def test_the_summary_keeps_the_order_of_names() -> None:
    found = summary(table({("z", 1.0, 0): 0.2, ("a", 1.0, 0): 0.5, ("z", 1.0, 1): 0.4}))
    assert found["name"].tolist() == ["z", "a"]
    assert found["mean"].tolist() == pytest.approx([0.3, 0.5])
    assert found["sd"][0] == pytest.approx(0.2 / np.sqrt(2))
    assert np.isnan(found["sd"][1])


def test_the_best_point_has_the_highest_mean_score() -> None:
    assert best_point([[0.2, 0.4], [0.5, 0.3], [0.4, 0.4]]) == 1
    with pytest.raises(ValueError, match="expected the same number"):
        best_point([[0.2], [0.2, 0.3]])


def test_seeds_are_searched_together_unless_a_labelled_cell_is_tested_under_another() -> None:
    labelled = {0: frozenset({"a", "b"}), 1: frozenset({"c"})}
    assert seeds_searched_together(labelled, {0: frozenset({"x"}), 1: frozenset({"x"})}) == [(0, 1)]
    assert seeds_searched_together(labelled, {0: frozenset({"c"}), 1: frozenset({"x"})}) == [(0,), (1,)]
