"""Fixtures of the tests of data."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sctransformer.data.validation import validate
from sctransformer.data.validation.report import Report


@pytest.fixture
def compared_with_great_expectations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check suites with Great Expectations too, and require the same records and failures."""
    quickly = validate._check_quickly

    def both(tables: validate.Tables, parameters: Mapping[str, Any], files: Mapping[str, str | Path]) -> Report:
        report = quickly(tables, parameters, files)
        assert report == validate._check_with_great_expectations(tables, parameters, None, files)
        return report

    monkeypatch.setattr(validate, "_check_quickly", both)
