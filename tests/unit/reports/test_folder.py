"""The report of a folder of annotated files."""

from pathlib import Path

import numpy as np
import pytest

from sctransformer._constants import OBS, OBSM, UNS
from sctransformer.errors import UserError
from sctransformer.export.bundle import Bundle
from sctransformer.reports.folder import FILE_COLUMN
from sctransformer.reports.page import render
from sctransformer.reports.sources import report_of
from tests.conftest import simulated_cells
from tests.unit.reports.cells import N_CELLS, annotated_cells


@pytest.fixture
def folder(bundle: Bundle, tmp_path: Path) -> Path:
    """Two files: all cells, and the first ten, of which five have another label."""
    cells = annotated_cells(bundle)
    cells.write_h5ad(tmp_path / "a_annotated.h5ad")
    few = cells[:10].copy()
    few.obs[OBS.predicted_labels] = ["<b>new</b>"] * 5 + ["unknown"] * 5
    few.write_h5ad(tmp_path / "b_annotated.h5ad")
    (tmp_path / "notes.txt").write_text("no cells")
    return tmp_path


def test_the_cells_of_all_files_are_on_one_map_with_their_file(folder: Path, bundle: Bundle) -> None:
    report = report_of(str(folder), str(bundle.folder))
    assert report.cells is not None
    assert report.cells.total == N_CELLS + 10
    file = report.cells.groupings[FILE_COLUMN]
    assert [file.names[code] for code in file.code_N] == ["a_annotated.h5ad"] * N_CELLS + ["b_annotated.h5ad"] * 10
    assert report.cells.activity_NR is not None
    np.testing.assert_array_equal(report.cells.activity_NR[:10], report.cells.activity_NR[-10:])
    assert report.regulators is not None
    assert report.regulators.edges is not None


def test_the_page_shows_the_labels_of_each_file(folder: Path) -> None:
    report = report_of(str(folder))
    assert report.composition is not None
    assert report.composition.files == ["a_annotated.h5ad", "b_annotated.h5ad"]
    assert report.composition.labels[-1] == "unknown"
    assert report.composition.cells_FC.sum(axis=1).tolist() == [N_CELLS, 10]
    page = render(report)
    assert "Labels by file" in page
    assert "&lt;b&gt;new&lt;/b&gt;" in page
    assert "<b>new" not in page


def test_a_file_without_annotation_or_of_another_model_is_refused_by_name(folder: Path, bundle: Bundle) -> None:
    other = annotated_cells(bundle)
    other.uns[UNS.annotation]["model_identity"] = "0" * 64
    other.write_h5ad(folder / "c.h5ad")
    with pytest.raises(UserError, match=r"c\.h5ad: was not labelled by the model of a_annotated\.h5ad"):
        report_of(str(folder))
    simulated_cells(20).write_h5ad(folder / "c.h5ad")
    with pytest.raises(UserError, match=r"c\.h5ad: is not annotated"):
        report_of(str(folder))


def test_activities_that_a_file_lacks_are_left_out(folder: Path, bundle: Bundle) -> None:
    annotated_cells(bundle, "top").write_h5ad(folder / "c.h5ad")
    report = report_of(str(folder))
    assert report.regulators is None
    assert any(OBSM.regulators in note for note in report.notes)
