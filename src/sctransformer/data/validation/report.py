"""What a validation found: a record an expectation, and a sentence for each that was not met."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

Severity = Literal["critical", "warning"]
SHOWN = 5
"""Offending values named in a sentence."""


@dataclass(frozen=True)
class Failure:
    """An expectation that was not met."""

    suite: str
    expectation: str
    column: str
    severity: Severity
    found: str
    """The offending values with their rows, or the value observed."""
    note: str
    """What it means and what to do, from the suite's file."""

    def sentence(self, source: str | Path) -> str:
        """For a person: the file, the expectation, the offending values, and what to do."""
        where = f" on {self.column!r}" if self.column else ""
        note = f"; {self.note}" if self.note else ""
        end = "" if note.endswith("?") else "."
        return f"{source}: {self.expectation}{where} (suite {self.suite}) failed: {self.found}{note}{end}"


@dataclass(frozen=True)
class Report:
    """The outcome of one or several suites."""

    records: list[dict[str, Any]]
    """One an expectation: file (where it is known), suite, expectation, column, severity, success, observed, unexpected
    (how many values), and where it was not met found and note, as in `Failure`. JSON, and the same for the same input.
    """
    failures: list[Failure]

    @property
    def critical(self) -> list[Failure]:
        """Failures that stop."""
        return [failure for failure in self.failures if failure.severity == "critical"]

    @property
    def warnings(self) -> list[Failure]:
        """Failures that are reported, and no more."""
        return [failure for failure in self.failures if failure.severity == "warning"]

    @property
    def met(self) -> int:
        """Number of expectations met."""
        return len(self.records) - len(self.failures)

    def to_json(self) -> dict[str, Any]:
        """`success` (nothing critical failed), `warnings` (how many) and `expectations` (the records)."""
        return {"success": not self.critical, "warnings": len(self.warnings), "expectations": self.records}


def read_result(
    suite: str, table: pd.DataFrame, result: Any, file: str | Path | None = None
) -> tuple[dict[str, Any], Failure | None]:
    """One `ExpectationValidationResult` as a record, and as a failure where it is one."""
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
    """A value as JSON takes it: numpy scalars become Python's, what is no number becomes None."""
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _offenders(table: pd.DataFrame, detail: Mapping[str, Any], kwargs: Mapping[str, Any]) -> str:
    """The offending values, each with the row it stands in; or the observed value where there are no rows."""
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
    """What Great Expectations stumbled over, on one line; empty where it did not."""
    parts = [info, *info.values()] if info else []  # one dictionary, or one a metric
    messages = [
        part["exception_message"] for part in parts if isinstance(part, Mapping) and part.get("raised_exception")
    ]
    return f"could not be checked ({' '.join(str(messages[0]).split())})" if messages else ""
