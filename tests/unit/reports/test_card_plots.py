"""Plots of a model card come from the files of the evaluation, as text and pictures inside the page."""

from pathlib import Path

import pandas as pd
import pytest

from sctransformer import layout
from sctransformer.export.bundle import Bundle
from sctransformer.reports.card_plots import card_plots
from tests.conftest import LABELS
from tests.unit.reports.cells import write_outputs


@pytest.fixture(autouse=True)
def in_a_project(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_outputs(Path("outputs"), bundle.folder)
    layout.EMBEDDING_PLOT.write_bytes(b"picture")


def test_a_card_has_the_confusion_matrix_the_embedding_and_the_regulators(bundle: Bundle) -> None:
    confusion, embedding, regulators = (str(plot) for _, plot in card_plots(LABELS, bundle.regulators))
    assert "gamma, predicted alpha: 1 of 12 cells" in confusion
    assert 'src="data:image/png;base64,cGljdHVyZQ=="' in embedding
    assert "<title>GENE0 in alpha:" in regulators
    assert "<a " not in regulators


def test_names_of_types_are_escaped(bundle: Bundle) -> None:
    table = pd.DataFrame({"cell": ["1"], "cell_type": ["<b>x"], "predicted": ["<b>x"]})
    table.to_csv(layout.PREDICTIONS, index=False)
    assert "<b>" not in card_plots(LABELS, None)[0][1]


def test_a_model_without_activities_has_no_plot_of_regulators() -> None:
    assert len(card_plots(LABELS, None)) == 2
