"""Results of a validation: a record per expectation, and a sentence for each failure."""

import math
from collections.abc import Mapping
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


def read_result(
    suite: str, table: pd.DataFrame, result: Any, file: str | Path | None = None
) -> tuple[dict[str, Any], Failure | None]:
    """One `ExpectationValidationResult` as a record, and as a `Failure` if it failed."""
    config, detail = result.expectation_config, result.result or {}
    kwargs = config.kwargs
    pair = (kwargs.get("column_A"), kwargs.get("column_B"))
    column = kwargs.get("column") or " > ".join(filter(None, pair)) or ", ".join(kwargs.get("column_list", []))
    severity: Severity = "critical" if config.severity == "critical" else "warning"
    success = bool(result.success)
    record = {
        "file": None if file is None else str(file),
        "suite": suite,
        "expectation": config.type,
        "column": column,
        "severity": severity,
        "success": success,
        "observed": plain(detail.get("observed_value")),
        "unexpected": plain(detail.get("unexpected_count")),
    }
    if success:
        return record, None
    found = _raised(result.exception_info) or _offenders(table, detail, kwargs)
    if config.type == "expect_column_to_exist":
        found = f"there is no such column (there are {', '.join(map(str, table.columns))})"
    note = str(config.notes or "")
    return record | {"found": found, "note": note}, Failure(suite, config.type, column, severity, found, note)


def plain(value: Any) -> Any:
    """A value for JSON: numpy scalars become Python scalars, non-finite numbers become None."""
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _offenders(table: pd.DataFrame, detail: Mapping[str, Any], kwargs: Mapping[str, Any]) -> str:
    """The offending values with their rows, or the observed value if there are no rows."""
    rows = detail.get("partial_unexpected_index_list") or []
    if not rows:
        limits = ("min_value", "max_value", "type_", "type_list")
        expected = ", ".join(f"{key.rstrip('_')} {kwargs[key]}" for key in limits if kwargs.get(key) is not None)
        return f"found {plain(detail.get('observed_value'))}, expected {expected or 'otherwise'}"
    key, count = table.columns[0], int(detail["unexpected_count"])
    named = "; ".join(
        f"{row[key]!r}" + "".join(f", {column} {_shown(value)}" for column, value in row.items() if column != key)
        for row in rows[:SHOWN]
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
