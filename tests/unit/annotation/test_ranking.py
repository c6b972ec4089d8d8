"""Regulators compared between groups, conditions and donors."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import stats

import sctransformer as sct
from sctransformer._constants import OBSM, UNS

NAMES = ["A", "B", "C", "D"]
"""A differs between types, B between conditions; C does not, and D has no activity."""


def cells(donors: int = 3, per_donor: int = 10, seed: int = 0, **described: Any) -> AnnData:
    """Cells of the types x and y in two conditions; each donor has cells of both types in one condition."""
    rng = np.random.default_rng(seed)
    rows = [
        (label, condition, f"{condition}{donor}")
        for label in ("x", "y")
        for condition in ("healthy", "ill")
        for donor in range(donors)
        for _ in range(per_donor)
    ]
    obs = pd.DataFrame(rows, columns=["type", "state", "donor"], index=[f"cell{index}" for index in range(len(rows))])
    activity_NR = rng.normal(size=(len(rows), len(NAMES)))
    activity_NR[:, 0] += 3.0 * (obs["type"] == "x")
    activity_NR[:, 1] += 2.0 * (obs["state"] == "ill")
    activity_NR[:, 3] = np.nan
    return AnnData(
        np.ones((len(rows), 1), dtype=np.float32),
        obs=obs,
        obsm={OBSM.regulators: activity_NR.astype(np.float32)},
        uns={UNS.annotation: {"regulators": {"name": np.array(NAMES), **described}}},
    )


def values(adata: AnnData, regulator: int, **chosen: str) -> np.ndarray:
    is_chosen = np.logical_and.reduce([adata.obs[name] == value for name, value in chosen.items()])
    return adata.obsm[OBSM.regulators][is_chosen, regulator].astype(np.float64)


def row(table: pd.DataFrame, regulator: str, **chosen: str) -> pd.Series:
    for name, value in {"regulator": regulator, **chosen}.items():
        table = table[table[name] == value]
    (found,) = (table.iloc[index] for index in range(len(table)))
    return found


def test_each_group_is_compared_with_the_rest_by_welchs_t() -> None:
    adata = cells()
    table = sct.rank_regulators(adata, "type")
    assert len(table) == 2 * len(NAMES)
    assert table["regulator"].iloc[0] == "A"
    assert "condition" not in table
    found = row(table, "A", group="x")
    expected = stats.ttest_ind(values(adata, 0, type="x"), values(adata, 0, type="y"), equal_var=False)
    np.testing.assert_allclose([found["statistic"], found["p_value"]], [expected.statistic, expected.pvalue])
    np.testing.assert_allclose(found["effect"], values(adata, 0, type="x").mean() - values(adata, 0, type="y").mean())
    assert (found["test"], found["n"], found["n_reference"], found["reference"]) == ("Welch t", 60, 60, "rest")
    assert found["p_adjusted"] < 1e-6
    unknown = row(table, "D", group="x")
    assert np.isnan([unknown["effect"], unknown["p_value"], unknown["p_adjusted"]]).all()


def test_adjusted_p_values_are_those_of_benjamini_and_hochberg_over_the_tested_regulators() -> None:
    table = sct.rank_regulators(cells(), "type")
    tested = table[(table["group"] == "x") & table["p_value"].notna()]
    assert tested["p_value"].is_monotonic_increasing
    p = tested["p_value"].to_numpy()
    expected = np.minimum.accumulate((p * len(p) / np.arange(1, len(p) + 1))[::-1])[::-1]
    np.testing.assert_allclose(tested["p_adjusted"], np.minimum(expected, 1.0))


def test_a_group_can_be_the_reference_and_ranks_can_be_tested() -> None:
    adata = cells()
    table = sct.rank_regulators(adata, "type", reference="y", method="wilcoxon")
    assert set(table["group"]) == {"x"}
    expected = stats.mannwhitneyu(values(adata, 0, type="x"), values(adata, 0, type="y"))
    found = row(table, "A")
    np.testing.assert_allclose([found["statistic"], found["p_value"]], [expected.statistic, expected.pvalue])
    assert found["test"] == "Mann-Whitney"


def test_donors_with_cells_in_both_groups_are_compared_in_pairs() -> None:
    adata = cells()
    found = row(sct.rank_regulators(adata, "type", donor="donor"), "A", group="x")
    donors = sorted(set(adata.obs["donor"]))
    first, second = ([values(adata, 0, type=label, donor=name).mean() for name in donors] for label in "xy")
    expected = stats.ttest_rel(first, second)
    np.testing.assert_allclose([found["statistic"], found["p_value"]], [expected.statistic, expected.pvalue], rtol=1e-5)
    assert (found["test"], found["n"], found["n_reference"]) == ("paired t", 6, 6)
    signed = row(sct.rank_regulators(adata, "type", donor="donor", method="wilcoxon"), "A", group="x")
    assert signed["test"] == "Wilcoxon signed-rank"
    np.testing.assert_allclose(signed["p_value"], stats.wilcoxon(first, second).pvalue)


def test_conditions_are_compared_within_each_group_over_donors() -> None:
    adata = cells()
    table = sct.rank_regulators(adata, "type", condition="state", reference="healthy", donor="donor")
    assert set(table["condition"]) == {"ill"}
    assert set(table["group"]) == {"x", "y"}
    found = row(table, "B", group="y")
    first, second = (
        [values(adata, 1, type="y", donor=f"{state}{donor}").mean() for donor in range(3)]
        for state in ("ill", "healthy")
    )
    expected = stats.ttest_ind(first, second, equal_var=False)
    np.testing.assert_allclose([found["statistic"], found["p_value"]], [expected.statistic, expected.pvalue], rtol=1e-5)
    assert (found["test"], found["n"], found["n_reference"]) == ("Welch t", 3, 3)


def test_without_an_effect_p_values_over_donors_are_uniform() -> None:
    """Cells of a donor share a shift: p-values over cells are far too small, those over donors are right."""
    rng = np.random.default_rng(0)
    found: dict[str | None, list[float]] = {None: [], "donor": []}
    for seed in range(40):
        adata = cells(donors=4, per_donor=6, seed=seed)
        shift = {donor: rng.normal() for donor in adata.obs["donor"].unique()}
        adata.obsm[OBSM.regulators][:, 2] += adata.obs["donor"].map(shift).to_numpy(dtype=np.float32)
        for donor, p_values in found.items():
            table = sct.rank_regulators(adata, "state", reference="healthy", donor=donor)
            p_values.append(row(table, "C")["p_value"])
    assert np.mean(np.array(found[None]) < 0.05) > 0.4
    assert np.mean(np.array(found["donor"]) < 0.05) < 0.12


def test_evidence_is_a_column_where_the_model_has_it() -> None:
    table = sct.rank_regulators(cells(evidence=[0.9, 0.8, 0.7, 0.6]), "type")
    assert row(table, "B", group="y")["evidence"] == 0.8


def test_missing_values_and_groups_that_are_not_wanted_are_left_out() -> None:
    adata = cells()
    adata.obs["type"] = adata.obs["type"].astype("category").cat.add_categories(["empty"])
    adata.obs.loc[adata.obs_names[:5], "type"] = None
    table = sct.rank_regulators(adata, "type", groups=["x"])
    assert set(table["group"]) == {"x"}
    assert (table["n"].iloc[0], table["n_reference"].iloc[0]) == (55, 60)


def test_a_constant_activity_has_no_p_value() -> None:
    adata = cells()
    adata.obsm[OBSM.regulators][:, 2] = 1.0
    found = row(sct.rank_regulators(adata, "type"), "C", group="x")
    assert (found["effect"], np.isnan(found["p_value"]), np.isnan(found["statistic"])) == (0.0, True, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groupby": "typ"}, "obs has no column 'typ'; the most similar name is type"),
        ({"groupby": "type", "donor": "donors"}, "obs has no column 'donors'; the most similar name is donor"),
        ({"groupby": "type", "condition": "nonsense"}, "obs has no column 'nonsense'"),
        ({"groupby": "type", "groups": ["z"]}, r"the group 'z' is no value of obs\['type'\]; it has x, y"),
        (
            {"groupby": "type", "condition": "state", "reference": "healty"},
            "the reference 'healty' is no value of .*; the most similar name is healthy",
        ),
        ({"groupby": "type", "method": "anova"}, "method is 'anova', expected 't-test' or 'wilcoxon'"),
        ({"groupby": "type", "groups": ["x"], "reference": "x"}, "has nothing to compare with 'x'"),
    ],
)
def test_names_that_do_not_exist_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(sct.UserError, match=message):
        sct.rank_regulators(cells(), **options)


def test_a_group_of_one_cell_cannot_be_tested() -> None:
    adata = cells()
    adata.obs.loc[adata.obs_names[0], "type"] = "alone"
    with pytest.raises(sct.UserError, match=r"group 'alone' \(1 cell\) cannot be .* two cells of each; .*groups="):
        sct.rank_regulators(adata, "type")
    assert set(sct.rank_regulators(adata, "type", groups=["x", "y"])["group"]) == {"x", "y"}
    adata.obs["type"] = "x"
    with pytest.raises(sct.UserError, match=r"with the other cells \(0 cells\)"):
        sct.rank_regulators(adata, "type")


def test_a_condition_with_one_donor_cannot_be_tested() -> None:
    adata = cells()
    adata = adata[~adata.obs["donor"].isin(["ill1", "ill2"])].copy()
    expected = (
        "adata: condition 'ill' in group 'x' (1 donor) cannot be compared with condition 'healthy' in group 'x' (3 "
        "donors, 0 of them with cells in both): a test needs two donors of each, or two with cells in both (1 other "
        "comparison also); leave such groups out with groups=[...]."
    )
    with pytest.raises(sct.UserError) as caught:
        sct.rank_regulators(adata, "type", condition="state", reference="healthy", donor="donor")
    assert str(caught.value) == expected
    adata = adata[adata.obs["donor"].str.startswith("healthy") | (adata.obs["type"] == "y")].copy()
    with pytest.raises(sct.UserError, match=r"condition 'ill' in group 'x' \(0 donors\)"):
        sct.rank_regulators(adata, "type", condition="state", reference="healthy", donor="donor")
