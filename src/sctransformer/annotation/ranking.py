"""Regulators whose activity differs between groups of cells: effect, test and adjusted p-value for each."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy import stats

from sctransformer.annotation.activity_cells import regulators
from sctransformer.data.anndata_cells import SOURCE
from sctransformer.errors import UserError
from sctransformer.typed_yaml import nearest
from sctransformer.wording import counted, some

REST = "rest"
"""Reference: all other cells."""
Method = Literal["t-test", "wilcoxon"]
_METHODS = ("t-test", "wilcoxon")
_FEWEST = 2
"""Number of cells, or donors, that a test needs on either side."""


def rank_regulators(
    adata: AnnData,
    groupby: str,
    *,
    groups: Sequence[str] | None = None,
    reference: str = REST,
    condition: str | None = None,
    donor: str | None = None,
    method: Method = "t-test",
) -> pd.DataFrame:
    """Compare the activities of regulators between groups of cells.

    Without `condition`, each group is compared with the reference. With `condition`, the values of that column are
    compared within each group, for example patients with controls within each cell type.

    Cells of one donor are not independent, so p-values over cells are too small to generalise to other donors. With
    `donor`, the mean activities of the donors are compared: in pairs if at least two donors have cells on both sides
    (other donors are left out), else between the donors that have cells on one side only.

    Args:
        adata: cells annotated with `regulators="all"`.
        groupby: column of `obs` with the groups, such as `predicted_labels`. Cells without a value are left out.
        groups: groups to compare; None: all.
        reference: what a group, or a value of `condition`, is compared with: another one, or `rest`, all others.
        condition: column of `obs` with the values to compare within each group.
        donor: column of `obs` with the donor of each cell.
        method: `t-test` (Welch, or paired) or `wilcoxon` (Mann-Whitney, or signed-rank).

    Returns:
        A row per group, value of `condition` and regulator, the smallest p-value of each comparison first: `group`,
        `condition` (if given), `reference`, `regulator`, `effect` (difference of the mean activities, in standard
        deviations of the training cells), `statistic`, `p_value`, `p_adjusted` (Benjamini and Hochberg 1995, over the
        regulators of the comparison), `test`, `n` and `n_reference` (cells, or donors), and `evidence` if the model has
        it. Values are NaN for a regulator without activity, or if the activity does not vary.

    Raises:
        UserError: the cells have no activities, a column, group or value does not exist, or a comparison has fewer than
            two cells, or donors, on either side.

    Examples:
        >>> sct.rank_regulators(adata, "predicted_labels")  # doctest: +SKIP
        >>> sct.rank_regulators(
        ...     adata, "predicted_labels", condition="disease", reference="normal", donor="donor_id"
        ... )  # doctest: +SKIP
    """
    if method not in _METHODS:
        raise UserError(f"method is {method!r}, expected {' or '.join(map(repr, _METHODS))}.")
    acts = regulators(adata)
    group_N = _column(acts.obs, groupby)
    condition_N = None if condition is None else _column(acts.obs, condition)
    donor_N = None if donor is None else _column(acts.obs, donor)
    comparisons = _comparisons(group_N, condition_N, groups, reference)
    activity_NR = np.asarray(acts.X, dtype=np.float64)
    samples = [_samples(one, activity_NR, donor_N) for one in comparisons]
    problems = [problem for problem in samples if isinstance(problem, str)]
    if problems:
        more = f" ({counted(len(problems) - 1, 'other comparison')} also)" if len(problems) > 1 else ""
        raise UserError(f"{SOURCE}: {problems[0]}{more}; leave such groups out with groups=[...].")
    tables = [
        _table(one, pair, acts.var, method)
        for one, pair in zip(comparisons, samples, strict=True)
        if not isinstance(pair, str)
    ]
    table = pd.concat(tables, ignore_index=True)
    return table if condition is not None else table.drop(columns="condition")


@dataclass(frozen=True)
class _Comparison:
    """Cells that are compared with others."""

    group: str
    condition: str | None
    reference: str
    inside_N: NDArray[np.bool_]
    reference_N: NDArray[np.bool_]

    @property
    def sides(self) -> tuple[str, str]:
        """What to call the cells and the reference in errors."""
        if self.condition is None:
            other = "the other cells" if self.reference == REST else f"group {self.reference!r}"
            return f"group {self.group!r}", other
        other = "the other conditions" if self.reference == REST else f"condition {self.reference!r}"
        return f"condition {self.condition!r} in group {self.group!r}", f"{other} in group {self.group!r}"


@dataclass(frozen=True)
class _Pair:
    """Values to compare, cells or donors x regulators; if paired, rows belong together."""

    values_NR: NDArray[np.float64]
    reference_NR: NDArray[np.float64]
    is_paired: bool = False


def _column(obs: pd.DataFrame, name: str) -> pd.Series:
    """A column as text; missing values stay missing.

    Raises:
        UserError: it does not exist.
    """
    if name not in obs:
        raise UserError(f"{SOURCE}: obs has no column {name!r}{nearest(name, map(str, obs.columns))}.")
    column: pd.Series = obs[name].astype(object)
    return column.where(column.isna(), column.astype(str))


def _comparisons(
    group_N: pd.Series, condition_N: pd.Series | None, groups: Sequence[str] | None, reference: str
) -> list[_Comparison]:
    """What is compared with what.

    Raises:
        UserError: a group or the reference does not exist.
    """
    known = sorted(group_N.dropna().unique())
    wanted = known if groups is None else [str(one) for one in groups]
    for name in wanted:
        _require_value(name, known, group_N, "group")
    compared_N = group_N if condition_N is None else condition_N
    values = sorted(compared_N.dropna().unique())
    if reference != REST:
        _require_value(reference, values, compared_N, "reference")
    found = []
    for group in wanted:
        if condition_N is None:
            if group != reference:
                inside_N = (group_N == group).to_numpy()
                found.append(_Comparison(group, None, reference, inside_N, _others(group_N, group, reference)))
            continue
        own_N = (group_N == group).to_numpy()
        for value in values:
            if value != reference:
                inside_N = own_N & (condition_N == value).to_numpy()
                reference_N = own_N & _others(condition_N, value, reference)
                found.append(_Comparison(group, value, reference, inside_N, reference_N))
    if not found:
        raise UserError(
            f"{SOURCE}: obs[{compared_N.name!r}] has nothing to compare with {reference!r}; choose another."
        )
    return found


def _others(values_N: pd.Series, value: str, reference: str) -> NDArray[np.bool_]:
    chosen_N = (values_N != value) if reference == REST else (values_N == reference)
    return np.asarray(values_N.notna() & chosen_N, dtype=bool)


def _require_value(name: str, known: Sequence[str], values_N: pd.Series, what: str) -> None:
    if name not in known:
        named = nearest(name, known) or f"; it has {some(known)}"
        raise UserError(f"{SOURCE}: the {what} {name!r} is no value of obs[{values_N.name!r}]{named}.")


def _samples(one: _Comparison, activity_NR: NDArray[np.float64], donor_N: pd.Series | None) -> _Pair | str:
    """The values of a comparison, or why it cannot be tested."""
    inside, other = one.sides
    if donor_N is None:
        values_NR, reference_NR = activity_NR[one.inside_N], activity_NR[one.reference_N]
        if min(len(values_NR), len(reference_NR)) >= _FEWEST:
            return _Pair(values_NR, reference_NR)
        found, others = (counted(len(values), "cell") for values in (values_NR, reference_NR))
        return f"{inside} ({found}) cannot be compared with {other} ({others}): a test needs two cells of each"
    first, second = (_donor_means(activity_NR, donor_N, own_N) for own_N in (one.inside_N, one.reference_N))
    shared = first.index.intersection(second.index)
    if len(shared) >= _FEWEST:
        return _Pair(first.loc[shared].to_numpy(), second.loc[shared].to_numpy(), is_paired=True)
    alone = [means.drop(index=shared).to_numpy() for means in (first, second)]
    if min(map(len, alone)) >= _FEWEST:
        return _Pair(alone[0], alone[1])
    return (
        f"{inside} ({counted(len(first), 'donor')}) cannot be compared with {other} ({counted(len(second), 'donor')}, "
        f"{len(shared)} of them with cells in both): a test needs two donors of each, or two with cells in both"
    )


def _donor_means(activity_NR: NDArray[np.float64], donor_N: pd.Series, own_N: NDArray[np.bool_]) -> pd.DataFrame:
    """Mean activity of each donor's cells, donors x regulators; cells without a donor are left out."""
    known_N = own_N & donor_N.notna().to_numpy()
    return pd.DataFrame(activity_NR[known_N]).groupby(donor_N.to_numpy()[known_N].astype(str)).mean()


def _table(one: _Comparison, pair: _Pair, var: pd.DataFrame, method: str) -> pd.DataFrame:
    test, statistic_R, p_R = _tested(pair, method)
    is_known_R = np.isfinite(p_R)
    adjusted_R = np.full_like(p_R, np.nan)
    if is_known_R.any():
        adjusted_R[is_known_R] = stats.false_discovery_control(p_R[is_known_R])
    effect_R = pair.values_NR.mean(axis=0) - pair.reference_NR.mean(axis=0)
    table = pd.DataFrame(
        {
            "group": one.group,
            "condition": one.condition,
            "reference": one.reference,
            "regulator": var.index,
            "effect": effect_R,
            "statistic": statistic_R,
            "p_value": p_R,
            "p_adjusted": adjusted_R,
            "test": test,
            "n": len(pair.values_NR),
            "n_reference": len(pair.reference_NR),
        }
    )
    if "evidence" in var:
        table["evidence"] = var["evidence"].to_numpy()
    order = np.lexsort((-np.abs(effect_R), p_R))  # NaN is last
    return table.iloc[order]


def _tested(pair: _Pair, method: str) -> tuple[str, NDArray[np.float64], NDArray[np.float64]]:
    """Name of the test, statistics and two-sided p-values of the regulators."""
    name, function = {
        ("t-test", False): ("Welch t", lambda a, b: stats.ttest_ind(a, b, axis=0, equal_var=False)),
        ("t-test", True): ("paired t", lambda a, b: stats.ttest_rel(a, b, axis=0)),
        ("wilcoxon", False): ("Mann-Whitney", lambda a, b: stats.mannwhitneyu(a, b, axis=0)),
        ("wilcoxon", True): ("Wilcoxon signed-rank", lambda a, b: stats.wilcoxon(a, b, axis=0)),
    }[method, pair.is_paired]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of columns without values or variance, whose p-values are NaN
        found: Any = function(pair.values_NR, pair.reference_NR)
    statistic_R, p_R = (np.asarray(values, dtype=np.float64) for values in (found.statistic, found.pvalue))
    does_vary_R = np.ptp(np.concatenate([pair.values_NR, pair.reference_NR]), axis=0) > 0
    return name, np.where(does_vary_R, statistic_R, np.nan), np.where(does_vary_R, p_R, np.nan)
