"""The validate stage: warnings are printed, critical failures stop it and are all listed, results are reproducible."""

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from markupsafe import escape
from scipy import sparse

from sctransformer import layout
from sctransformer._constants import OBS
from sctransformer.errors import UserError
from sctransformer.pipeline.stages import validate
from tests.conftest import EDGES, simulated_cells


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with valid cells, a network and parameters."""
    monkeypatch.chdir(tmp_path)
    network = pd.DataFrame(EDGES, columns=["regulator", "target"]).assign(sign=1, confidence="high")
    network.to_csv("mine.tsv", sep="\t", index=False)
    set_params({})
    layout.CELLS.parent.mkdir(parents=True)
    simulated_cells().write_h5ad(layout.CELLS)
    return tmp_path


def set_params(limits: dict[str, Any]) -> None:
    params = {"data": {"cells": "mine.h5ad"}, "prior": {"network": "mine.tsv"}, "validate": limits}
    Path("params.yaml").write_text(yaml.safe_dump(params))


def results() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(layout.VALIDATION.read_text())
    return content


def test_valid_cells_pass_and_results_are_reproducible(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    validate.main()
    written = layout.VALIDATION.read_bytes()
    assert results()["success"] is True
    assert results()["warnings"] == 0
    assert {"suite", "expectation", "column", "severity", "success", "observed"} <= set(results()["expectations"][0])
    assert f"{len(results()['expectations'])} expectations met, 0 warnings; Data Docs: {layout.DATA_DOCS}" in (
        capsys.readouterr().out
    )
    assert (layout.DATA_DOCS / "index.html").is_file()
    validate.main()
    assert layout.VALIDATION.read_bytes() == written


def test_a_warning_does_not_stop_the_stage(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = simulated_cells()
    counts_NG = cells.X.toarray()
    counts_NG[8] = counts_NG[3]
    cells.X = sparse.csr_matrix(counts_NG)
    cells.write_h5ad(layout.CELLS)
    validate.main()
    printed = capsys.readouterr().out
    assert "Warning: mine.h5ad: expect_column_values_to_be_null on 'same_counts_as'" in printed
    assert "'cell8', same_counts_as 'cell3'" in printed
    assert ", 1 warnings;" in printed
    assert (results()["success"], results()["warnings"]) == (True, 1)


def test_the_error_lists_all_critical_failures(project: Path) -> None:
    cells = simulated_cells()
    cells.obs.loc["cell3", OBS.cell_type] = None
    cells.write_h5ad(layout.CELLS)
    set_params({"min_cells_per_class": 40, "min_edges_in_cells": 50})
    with pytest.raises(UserError) as caught:
        validate.main()
    message = str(caught.value)
    assert "mine.h5ad: expect_column_values_to_not_be_null on 'cell_type' (suite training_cells)" in message
    assert "mine.h5ad: expect_column_values_to_be_between on 'cells' (suite training_cell_types)" in message
    assert "'alpha', cells 29" in message or "'alpha', cells 30" in message
    assert "mine.tsv: expect_table_row_count_to_be_between (suite network_in_cells)" in message
    assert message.endswith(f"See {layout.DATA_DOCS / 'index.html'}.")
    assert "\n" not in message
    assert results()["success"] is False
    failed = [record for record in results()["expectations"] if not record["success"]]
    assert {record["file"] for record in failed} == {"mine.h5ad", "mine.tsv"}
    page = (layout.DATA_DOCS / "index.html").read_text()
    for record in failed:
        assert all(str(escape(record[field])) in page for field in ("file", "expectation", "found", "note"))
    assert "1 of 90: " in page
    assert "cell3" in page


def test_the_first_page_works_offline_and_links_to_all_others(project: Path) -> None:
    validate.main()
    page = (layout.DATA_DOCS / "index.html").read_text()
    assert "://" not in page
    assert "<script" not in page
    linked = re.findall('href="([^"]+)"', page)
    assert len(linked) == 1 + len({record["suite"] for record in results()["expectations"]})
    assert all((layout.DATA_DOCS / link).is_file() for link in linked)
    cells = next(link for link in linked if "/training_cells/" in link)
    assert "mine.h5ad" in (layout.DATA_DOCS / cells).read_text()
