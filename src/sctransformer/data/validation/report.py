"""Results of a validation: a record per expectation, and a sentence for each failure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

Severity = Literal["critical", "warning"]
SHOWN = 5
"""Offending values listed in a sentence."""


@dataclass(frozen=True)
class Failure:
    """An expectation that was not met."""

    suite: str
    expectation: str
    column: str
    severity: Severity
    found: str
    """The offending values with their rows, or the observed value."""
    note: str
    """Meaning and remedy, from the file of the suite."""

    def sentence(self, source: str | Path) -> str:
        """One sentence: the file, the expectation, the offending values, and what to do."""
        where = f" on {self.column!r}" if self.column else ""
        note = f"; {self.note}" if self.note else ""
        end = "" if note.endswith("?") else "."
        return f"{source}: {self.expectation}{where} (suite {self.suite}) failed: {self.found}{note}{end}"


@dataclass(frozen=True)
class Report:
    """The outcome of one or several suites."""

    records: list[dict[str, Any]]
    """One per expectation: file (if known), suite, expectation, column, severity, success, observed, unexpected (number
    of values), and for a failure found and note, as in `Failure`. JSON, the same for the same input."""
    failures: list[Failure]

    @property
    def critical(self) -> list[Failure]:
        """Failures of severity `critical`."""
        return [failure for failure in self.failures if failure.severity == "critical"]

    @property
    def warnings(self) -> list[Failure]:
        """Failures of severity `warning`."""
        return [failure for failure in self.failures if failure.severity == "warning"]

    @property
    def met(self) -> int:
        """Number of expectations met."""
        return len(self.records) - len(self.failures)

    def to_json(self) -> dict[str, Any]:
        """`success` (no critical failure), `warnings` (their number) and `expectations` (the records)."""
        return {"success": not self.critical, "warnings": len(self.warnings), "expectations": self.records}


@dataclass(frozen=True)
class Outcome:
    """The result of checking one expectation on a table."""

    success: bool
    observed: Any = None
    """The value that was compared with the limits, if the expectation is about the whole table."""
    unexpected: int | None = None
    """Number of rows that do not meet the expectation, if it is about each row."""
    rows: Sequence[Mapping[str, Any]] = ()
    """Name and values of the first of those rows."""
    exception: str = ""
    """Why the expectation could not be checked."""


def read_result(result: Any) -> tuple[dict[str, Any], Outcome]:
    """Expectation and outcome of an `ExpectationValidationResult`."""
    config, detail = result.expectation_config, result.result or {}
    expectation = {"type": config.type, "kwargs": config.kwargs, "severity": config.severity, "notes": config.notes}
    rows = detail.get("partial_unexpected_index_list") or ()
    return expectation, Outcome(
        bool(result.success),
        detail.get("observed_value"),
        detail.get("unexpected_count"),
        rows,
        _raised(result.exception_info),
    )


def record_of(
    suite: str,
    table: pd.DataFrame,
    expectation: Mapping[str, Any],
    outcome: Outcome,
    file: str | Path | None = None,
) -> tuple[dict[str, Any], Failure | None]:
    """The record of an outcome, and the `Failure` if the expectation was not met.

    Args:
        suite: its name.
        table: the table that was checked.
        expectation: type, kwargs, severity and notes.
        outcome: of checking it.
        file: the file that was checked.
    """
    kind, kwargs = expectation["type"], expectation["kwargs"]
    pair = (kwargs.get("column_A"), kwargs.get("column_B"))
    column = kwargs.get("column") or " > ".join(filter(None, pair)) or ", ".join(kwargs.get("column_list", []))
    severity: Severity = "critical" if expectation["severity"] == "critical" else "warning"
    record = {
        "file": None if file is None else str(file),
        "suite": suite,
        "expectation": kind,
        "column": column,
        "severity": severity,
        "success": outcome.success,
        "observed": plain(outcome.observed),
        "unexpected": plain(outcome.unexpected),
    }
    if outcome.success:
        return record, None
    found = outcome.exception or _offenders(table, outcome, kwargs)
    if kind == "expect_column_to_exist":
        found = f"there is no such column (there are {', '.join(map(str, table.columns))})"
    note = str(expectation.get("notes") or "")
    return record | {"found": found, "note": note}, Failure(suite, kind, column, severity, found, note)


def plain(value: Any) -> Any:
    """A value for JSON: numpy scalars become Python scalars, non-finite numbers become None."""
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _offenders(table: pd.DataFrame, outcome: Outcome, kwargs: Mapping[str, Any]) -> str:
    """The offending values with their rows, or the observed value if there are no rows."""
    if not outcome.rows:
        limits = ("min_value", "max_value", "type_", "type_list")
        expected = ", ".join(f"{key.rstrip('_')} {kwargs[key]}" for key in limits if kwargs.get(key) is not None)
        return f"found {plain(outcome.observed)}, expected {expected or 'otherwise'}"
    key, count = table.columns[0], int(outcome.unexpected or 0)
    named = "; ".join(
        f"{row[key]!r}" + "".join(f", {column} {_shown(value)}" for column, value in row.items() if column != key)
        for row in outcome.rows[:SHOWN]
    )
    more = f" and {count - SHOWN:,} more" if count > SHOWN else ""
    mostly = kwargs.get("mostly", 1.0)
    allowed = f" (allowed {1 - mostly:.1%})" if mostly < 1 else ""
    return f"{count:,} of {len(table):,}{allowed}: {named}{more}"


def _shown(value: Any) -> str:
    value = plain(value)
    return f"{value:.6g}" if isinstance(value, float) else repr(value)


def _raised(info: Mapping[str, Any] | None) -> str:
    """Exception raised inside Great Expectations, on one line; empty if there was none."""
    parts = [info, *info.values()] if info else []  # one dictionary, or one per metric
    messages = [
        part["exception_message"] for part in parts if isinstance(part, Mapping) and part.get("raised_exception")
    ]
    return f"could not be checked ({' '.join(str(messages[0]).split())})" if messages else ""
