"""Suites are checked without importing Great Expectations, unless its pages are asked for."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from sctransformer.data.gene_map import read_gene_map
from sctransformer.data.validation import validate
from sctransformer.data.validation.quick import UncertainError, check, with_limits
from sctransformer.data.validation.validate import run_suites
from tests.conftest import simulated_cells
from tests.unit.data.test_validation import LIMITS, network, training


def asked(*_: object) -> None:
    raise AssertionError("Great Expectations was asked")


def test_no_suite_needs_great_expectations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validate, "_check_with_great_expectations", asked)
    assert run_suites({**training(), **network()}, LIMITS).failures == []
    assert len(run_suites(network(target="GENE0"), LIMITS).critical) == 1


@pytest.mark.parametrize(
    ("kind", "kwargs"),
    [
        ("expect_column_values_to_be_between", {"column": "text", "max_value": 3}),
        ("expect_column_values_to_be_between", {"column": "number", "min_value": 3, "max_value": 1}),
        ("expect_column_pair_values_a_to_be_greater_than_b", {"column_A": "number", "column_B": "gap"}),
        ("expect_column_values_to_be_of_type", {"column": "text", "type_": "str"}),
        ("expect_column_values_to_be_increasing", {"column": "number"}),
    ],
)
def test_what_is_not_certain_is_left_to_great_expectations(kind: str, kwargs: dict[str, object]) -> None:
    table = pd.DataFrame({"text": ["a", "b"], "number": [1.0, 2.0], "gap": [None, 1.0]})
    with pytest.raises(UncertainError):
        check({"type": kind, "kwargs": kwargs}, table)


def test_limits_are_names_or_their_complement() -> None:
    expectation = {
        "kwargs": {"mostly": {"$PARAMETER": "1 - most"}, "min_value": {"$PARAMETER": "least"}, "column": "x"}
    }
    assert with_limits(expectation, {"most": 0.25, "least": 4})["kwargs"] == {
        "mostly": 0.75,
        "min_value": 4,
        "column": "x",
    }
    with pytest.raises(UncertainError):
        with_limits({"kwargs": {"mostly": {"$PARAMETER": "2 * most"}}}, {"most": 0.25})


@pytest.mark.slow
def test_data_check_imports_neither_great_expectations_nor_scikit_learn(tmp_path: Path) -> None:
    cells = simulated_cells(60)
    cells.var_names = sorted(read_gene_map().symbols)[: cells.n_vars]
    cells.write_h5ad(tmp_path / "cells.h5ad")
    program = (
        "import sys; sys.modules.update(great_expectations=None, sklearn=None); "
        "from sctransformer.cli.main import run; run(['data', 'check', 'cells.h5ad'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "expectations  " in done.stdout
