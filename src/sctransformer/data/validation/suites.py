"""Expectation suites as JSON files in the format of Great Expectations; limits are named parameters."""

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from sctransformer.files import read_json

SUITES = Path(str(files("sctransformer.data") / "suites"))
"""`<name>.json`: `gx.ExpectationSuite.to_json_dict()`. `{"$PARAMETER": "min_cells"}` is set when the suite runs."""

_NAME = re.compile(r"[A-Za-z_]\w*")


def suite_names() -> list[str]:
    """Names of the suites, sorted."""
    return sorted(path.stem for path in SUITES.glob("*.json"))


def read_suite(name: str) -> dict[str, Any]:
    """Read a suite from its file.

    Raises:
        UserError: there is no such suite, or its file is not JSON.
    """
    content: dict[str, Any] = read_json(SUITES / f"{name}.json")
    return content


def columns_of(expectation: Mapping[str, Any]) -> list[str]:
    """Columns that an expectation reads; empty if it is about the whole table."""
    kwargs = expectation["kwargs"]
    named = [kwargs.get(key) for key in ("column", "column_A", "column_B")]
    return [column for column in (*named, *kwargs.get("column_list", ())) if column]


def parameters_of(expectation: Mapping[str, Any]) -> set[str]:
    """Names of the limits of an expectation."""
    values = [value for value in expectation["kwargs"].values() if isinstance(value, Mapping)]
    return {name for value in values for name in _NAME.findall(value["$PARAMETER"])}


def applicable(suite: Mapping[str, Any], columns: set[str]) -> dict[str, Any]:
    """The suite without the expectations on missing columns.

    Required columns have an `expect_column_to_exist`, which is kept; other expectations apply if their columns exist.
    """
    kept = [
        expectation
        for expectation in suite["expectations"]
        if expectation["type"] == "expect_column_to_exist" or columns.issuperset(columns_of(expectation))
    ]
    return {**suite, "expectations": kept}
