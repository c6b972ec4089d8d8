"""Recovery of known biology from activities, against values computed by hand or by scipy and scikit-learn."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.stats import linregress, ttest_ind
from sklearn.metrics import roc_auc_score

from sctransformer.evaluation.bootstrap import percentile_interval
from sctransformer.evaluation.recovery import (
    column_auroc,
    combined_score,
    edge_recovery,
    effective_targets,
    known_regulator_recovery,
    population_t,
    resampled_auroc,
    resampled_r2,
    top_overlap,
    univariate_activity,
)

RNG = np.random.default_rng(0)


def test_auroc_of_each_column_equals_scikit_learn_with_ties() -> None:
    values_NR, positive_N = RNG.integers(0, 5, size=(60, 4)).astype(float), RNG.random(60) < 0.4

    expected = [roc_auc_score(positive_N, values_NR[:, column]) for column in range(4)]

    np.testing.assert_allclose(column_auroc(values_NR, positive_N), expected)


def test_auroc_needs_both_groups() -> None:
    with pytest.raises(ValueError, match="3 positive and 0 negative"):
        column_auroc(np.zeros((3, 1)), np.ones(3, dtype=bool))


def test_bootstrap_interval_of_auroc_contains_the_estimate_and_excludes_chance() -> None:
    positive_N = np.repeat([True, False], 100)
    values_N = np.round(RNG.normal(size=200), 1) + positive_N

    low, high = percentile_interval(resampled_auroc(values_N, positive_N, seed=1))

    assert 0.5 < low < column_auroc(values_N, positive_N) < high < 1
    assert np.array_equal(resampled_auroc(values_N, positive_N, 1), resampled_auroc(values_N, positive_N, 1))


def test_paired_resamples_of_r2_detect_a_small_gain_that_every_cell_has() -> None:
    variance_N = RNG.uniform(50, 150, size=300)
    worse_N = variance_N * RNG.uniform(0.7, 1.0, size=300)

    difference_T = resampled_r2(worse_N - 0.01 * variance_N, variance_N, 0) - resampled_r2(worse_N, variance_N, 0)

    np.testing.assert_allclose(difference_T, 0.01)


def test_population_t_equals_welchs_and_is_zero_for_a_constant_column() -> None:
    values_NR, inside_N = RNG.normal(size=(40, 3)), np.arange(40) < 12
    values_NR[:, 2] = 1.0

    found_R = population_t(values_NR, inside_N)

    expected_R = ttest_ind(values_NR[inside_N, :2], values_NR[~inside_N, :2], equal_var=False).statistic
    np.testing.assert_allclose(found_R, [*expected_R, 0.0])


def test_a_known_regulator_that_ranks_first_has_recovery_one_and_unknown_names_are_ignored() -> None:
    populations = np.array(["B cell"] * 20 + ["T cell"] * 20)
    values_NR = RNG.normal(size=(40, 5)) * 0.1
    values_NR[:20, 3] += 5.0

    found = known_regulator_recovery(
        values_NR, list("VWXYZ"), populations, {"B cell": {"Y", "absent"}, "T cell": {"absent"}, "NK": {"V"}}
    )

    assert found == {"B cell": 1.0}


def test_univariate_activity_is_the_t_statistic_of_a_regression() -> None:
    z_NG = RNG.normal(size=(3, 30))
    weight_RG = np.where(RNG.random((2, 30)) < 0.4, RNG.choice([-1.0, 1.0], size=(2, 30)), 0.0)

    found_NR = univariate_activity(z_NG, weight_RG)

    fits = [[linregress(weight_G, z_G) for weight_G in weight_RG] for z_G in z_NG]
    np.testing.assert_allclose(found_NR, [[fit.slope / fit.stderr for fit in row] for row in fits])
    np.testing.assert_allclose(univariate_activity(z_NG, csr_matrix(weight_RG)), found_NR)


def test_an_unmeasured_regulator_keeps_its_activity_in_the_combined_score() -> None:
    activity_NR, own_NR = RNG.normal(size=(50, 2)) * 9.0, RNG.normal(size=(50, 2))
    own_NR[:, 1] = 0.0

    found_NR = combined_score(activity_NR, own_NR)

    z_R = (activity_NR[:, 0] - activity_NR[:, 0].mean()) / activity_NR[:, 0].std()
    own_R = (own_NR[:, 0] - own_NR[:, 0].mean()) / own_NR[:, 0].std()
    np.testing.assert_allclose(found_NR[:, 0], z_R + 0.5 * own_R)
    assert found_NR[:, 1].std() == pytest.approx(1.0)


def test_effective_number_of_targets_is_all_for_uniform_weights_and_one_for_a_single_target() -> None:
    weight_JN = np.array([[0.25, 0.25]] * 4 + [[1.0, 0.5], [0.0, 0.5]])

    found_R = effective_targets(weight_JN, np.array([0, 0, 0, 0, 1, 1]), 2)

    np.testing.assert_allclose(found_R, [4.0, 1.5])


def test_edge_recovery_resamples_whole_regulators() -> None:
    regulator_J = np.repeat(np.arange(6), 20)
    is_true_J = RNG.random(120) < 0.4
    score_J = is_true_J + RNG.normal(size=120)

    value, values_T = edge_recovery(score_J, is_true_J, regulator_J, seed=0)

    low, high = percentile_interval(values_T)
    assert value == pytest.approx(roc_auc_score(is_true_J, score_J))
    assert 0.5 < low < value < high


def test_overlap_of_the_highest_regulators() -> None:
    scores_R = np.arange(10.0)

    assert top_overlap(scores_R, scores_R, 4) == 1.0
    assert top_overlap(scores_R, -scores_R, 4) == 0.0
