"""The expectations of the suites, checked with pandas, because Great Expectations takes many seconds to import.

The results are those of Great Expectations, which tests compare. Where that is not certain, for example for a kind of
expectation that is not known here, there is no result, and Great Expectations checks the suite.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sctransformer.data.validation.report import Outcome
from sctransformer.data.validation.suites import columns_of

_ROWS = 20
"""Offending rows in a result, as Great Expectations lists."""
_COMPLEMENT = re.compile(r"1 - (\w+)")


class UncertainError(Exception):
    """Great Expectations has to be asked."""


def check(expectation: Mapping[str, Any], table: pd.DataFrame) -> Outcome:
    """Check one expectation.

    Args:
        expectation: from a suite, with limits instead of parameters, see `with_limits`.
        table: the first column names the rows.

    Raises:
        UncertainError: the result is not certain.
    """
    kind, kwargs = expectation["type"], expectation["kwargs"]
    if kind in _OF_TABLE:
        return _OF_TABLE[kind](table, kwargs)
    if kind not in _OF_ROWS or table.empty:
        raise UncertainError(kind)
    names = columns_of(expectation)
    columns = table[names]
    null_N = columns.isna().to_numpy()
    if len(names) > 1 and null_N.any():
        raise UncertainError("missing values")
    judged_N = np.full(len(table), kind in _OF_NULLS) | ~null_N[:, 0]
    met_N = np.zeros(len(table), dtype=bool)
    met_N[judged_N] = _OF_ROWS[kind](columns[judged_N], kwargs)
    unexpected = np.flatnonzero(judged_N & ~met_N)
    judged = int(judged_N.sum())
    success = not judged or (judged - len(unexpected)) / judged >= kwargs.get("mostly", 1.0)
    key = str(table.columns[0])
    rows = table.iloc[unexpected[:_ROWS]][[*(name for name in names if name != key), key]]
    listed = [dict(zip(rows.columns, values, strict=True)) for values in rows.itertuples(index=False, name=None)]
    return Outcome(success, unexpected=len(unexpected), rows=listed)


def in_order(expectations: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The expectations in the order of Great Expectations' results: those on one column follow each other."""
    of_column: dict[str | None, list[Mapping[str, Any]]] = {}
    for expectation in expectations:
        of_column.setdefault(expectation["kwargs"].get("column"), []).append(expectation)
    return [expectation for several in of_column.values() for expectation in several]


def with_limits(expectation: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The expectation with values in place of its parameters.

    Raises:
        UncertainError: a parameter is another expression than `name` or `1 - name`.
    """
    kwargs = {name: _limit(value, parameters) for name, value in expectation["kwargs"].items()}
    return {**expectation, "kwargs": kwargs}


def _limit(value: Any, parameters: Mapping[str, Any]) -> Any:
    if not isinstance(value, Mapping):
        return value
    text = value["$PARAMETER"]
    if text in parameters:
        return parameters[text]
    found = _COMPLEMENT.fullmatch(text)
    if found is None or found[1] not in parameters:
        raise UncertainError(text)
    return 1 - parameters[found[1]]


def _inside(value: float, kwargs: Mapping[str, Any]) -> bool:
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    return (low is None or value >= low) and (high is None or value <= high)


def _row_count(table: pd.DataFrame, kwargs: Mapping[str, Any]) -> Outcome:
    return Outcome(_inside(len(table), kwargs), observed=len(table))


def _unique_value_count(table: pd.DataFrame, kwargs: Mapping[str, Any]) -> Outcome:
    values = int(table[kwargs["column"]].nunique())
    return Outcome(_inside(values, kwargs), observed=values)


def _column_exists(table: pd.DataFrame, kwargs: Mapping[str, Any]) -> Outcome:
    return Outcome(kwargs["column"] in table)


def _type_name(table: pd.DataFrame, kwargs: Mapping[str, Any]) -> str:
    return str(table[kwargs["column"]].dtype.type.__name__)


def _of_type(table: pd.DataFrame, kwargs: Mapping[str, Any]) -> Outcome:
    return _one_of(_type_name(table, kwargs), [kwargs["type_"]])


def _in_type_list(table: pd.DataFrame, kwargs: Mapping[str, Any]) -> Outcome:
    return _one_of(_type_name(table, kwargs), kwargs["type_list"])


def _one_of(name: str, expected: list[str]) -> Outcome:
    if name not in expected:  # a column of objects is judged by its values
        raise UncertainError(name)
    return Outcome(True, observed=name)


def _between(columns: pd.DataFrame, kwargs: Mapping[str, Any]) -> Any:
    values = columns.iloc[:, 0]
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    if values.dtype.kind not in "iuf" or (low is not None and high is not None and low > high):
        raise UncertainError("not numbers")
    met = np.ones(len(values), dtype=bool)
    if low is not None:
        met &= (values > low) if kwargs.get("strict_min") else (values >= low)
    if high is not None:
        met &= values <= high
    return met


def _matches(columns: pd.DataFrame, kwargs: Mapping[str, Any]) -> Any:
    pattern = re.compile(kwargs["regex"])
    return [pattern.search(str(value)) is not None for value in columns.iloc[:, 0]]


def _greater(columns: pd.DataFrame, kwargs: Mapping[str, Any]) -> Any:
    first, second = columns.iloc[:, 0], columns.iloc[:, 1]
    return first >= second if kwargs.get("or_equal") else first > second


def _differ(columns: pd.DataFrame, kwargs: Mapping[str, Any]) -> Any:
    if columns.shape[1] != 2:
        raise UncertainError("more than two columns")
    return columns.iloc[:, 0] != columns.iloc[:, 1]


_OF_TABLE: dict[str, Callable[[pd.DataFrame, Mapping[str, Any]], Outcome]] = {
    "expect_table_row_count_to_be_between": _row_count,
    "expect_column_to_exist": _column_exists,
    "expect_column_unique_value_count_to_be_between": _unique_value_count,
    "expect_column_values_to_be_of_type": _of_type,
    "expect_column_values_to_be_in_type_list": _in_type_list,
}
_OF_NULLS: dict[str, Callable[[pd.DataFrame, Mapping[str, Any]], Any]] = {
    "expect_column_values_to_not_be_null": lambda columns, kwargs: columns.iloc[:, 0].notna(),
    "expect_column_values_to_be_null": lambda columns, kwargs: columns.iloc[:, 0].isna(),
}
_OF_ROWS: dict[str, Callable[[pd.DataFrame, Mapping[str, Any]], Any]] = _OF_NULLS | {
    "expect_column_values_to_be_unique": lambda columns, kwargs: ~columns.iloc[:, 0].duplicated(keep=False),
    "expect_column_values_to_be_between": _between,
    "expect_column_values_to_match_regex": _matches,
    "expect_column_values_to_be_in_set": lambda columns, kwargs: columns.iloc[:, 0].isin(kwargs["value_set"]),
    "expect_column_values_to_not_be_in_set": lambda columns, kwargs: ~columns.iloc[:, 0].isin(kwargs["value_set"]),
    "expect_column_pair_values_a_to_be_greater_than_b": _greater,
    "expect_select_column_values_to_be_unique_within_record": _differ,
    "expect_compound_columns_to_be_unique": lambda columns, kwargs: ~columns.duplicated(keep=False),
}
"""Kinds of expectations that judge each row, and the rows that meet them."""
