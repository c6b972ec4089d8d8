"""What the label of a cell rests on: contributions add up to the reported probabilities, whatever is measured."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as array_of

import sctransformer as sct
from sctransformer._constants import OBS
from sctransformer.annotation.explain_cells import CellExplanation, contributions, read_rows
from sctransformer.annotation.label_weights import LabelWeights
from sctransformer.annotation.model import Model, checked_settings
from tests.conftest import GENES, LABELS, simulated_cells

OLD_BUNDLE = Path(__file__).parents[2] / "golden" / "bundle-0.1.0"
NAMES = ["cell7", "cell0", "cell50", "cell11"]


@pytest.fixture(scope="session")
def model(activity_bundle: Path) -> Model:
    return sct.load_model(activity_bundle)


def adds_up(found: CellExplanation) -> None:
    table = found.summary
    expected = np.log(table["confidence"].astype(float) / table["runner_up_confidence"].astype(float))
    np.testing.assert_allclose(table["log_odds"], expected, atol=2e-4)
    np.testing.assert_allclose(table["log_odds"], table["genes"] + table["activities"] + table["baseline"])


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_contributions_add_up_to_the_difference_of_logits(data: st.DataObject) -> None:
    numbers = st.floats(-4, 4, width=32)

    def drawn(*shape: int) -> np.ndarray:
        return data.draw(array_of(np.float64, shape, elements=numbers))

    gene_GC, activity_RC, bias_C, mean_R = drawn(5, 3), drawn(2, 3), drawn(3), drawn(2)
    centred_NG, activity_NR = drawn(4, 5), drawn(4, 2)
    activity_NR[0, 1] = np.nan
    pairs_N2 = data.draw(array_of(np.int64, (4, 2), elements=st.integers(0, 2)))
    none = np.zeros(0)
    weights = LabelWeights(gene_GC, activity_RC, bias_C, none, none, none.astype(int), none.astype(int), none)
    parts = contributions(weights, centred_NG, activity_NR, mean_R, pairs_N2)
    logits_NC = centred_NG @ gene_GC + np.nan_to_num(activity_NR) @ activity_RC + bias_C
    every = np.arange(4)
    expected_N = logits_NC[every, pairs_N2[:, 0]] - logits_NC[every, pairs_N2[:, 1]]
    np.testing.assert_allclose(parts.log_odds_N, expected_N, atol=1e-9)


def test_contributions_add_up_to_the_probabilities_of_an_annotation(model: Model, cells: AnnData) -> None:
    found = model.explain_cells(cells, NAMES, top=24)
    adds_up(found)
    assert found.summary.index.tolist() == NAMES
    of_genes = found.genes.groupby("cell")["contribution"].sum()
    np.testing.assert_allclose(of_genes[NAMES], found.summary["genes"])
    annotated = sct.annotate(cells.copy(), model).obs.loc[NAMES]
    for column, field in (
        ("label", OBS.predicted_labels),
        ("most_likely", OBS.raw_labels),
        ("runner_up", OBS.second_labels),
    ):
        assert found.summary[column].tolist() == annotated[field].tolist()
    named = [
        " ".join(
            f"{row.regulator}{'+' if row.activity > 0 else '-'}"
            for row in found.regulators[found.regulators["cell"] == name].itertuples()
        )
        for name in NAMES
    ]
    assert named == annotated[OBS.top_regulators].astype(object).fillna("").tolist()


@pytest.mark.parametrize("absent_genes", ["mean", "zero"])
def test_genes_that_a_file_lacks_contribute_as_the_graph_reads_them(model: Model, absent_genes: str) -> None:
    cells = simulated_cells(40, seed=3)[:, [*GENES[:5], *GENES[9:]]].copy()
    found = model.explain_cells(cells, NAMES[:2], top=24, min_coverage=0.0, absent_genes=absent_genes)
    adds_up(found)
    absent = found.genes[found.genes["gene"].isin(GENES[5:9])]
    if absent_genes == "mean":
        assert (absent["contribution"].abs() < 1e-5).all()
    else:
        assert absent["contribution"].abs().max() > 1e-3


def test_markers_of_the_label_speak_for_it(model: Model, cells: AnnData) -> None:
    found = model.explain_cells(cells, "cell0", top=4)
    genes, label = found.genes, LABELS.index(found.summary["label"].iloc[0])
    assert (genes["contribution"] > 0).tolist() == [True] * 4 + [False] * 4
    assert genes["contribution"].iloc[:4].is_monotonic_decreasing
    assert genes["contribution"].iloc[4:].is_monotonic_increasing
    assert len(set(genes["gene"].iloc[:4]) & set(GENES[label * 8 : label * 8 + 8])) >= 2


def test_an_unknown_cell_has_a_reason_and_is_explained_by_its_most_likely_type(model: Model, cells: AnnData) -> None:
    cells.X = cells.X.multiply((np.arange(cells.n_obs) != 3)[:, None]).tocsr()
    row = model.explain_cells(cells, "cell3").summary.iloc[0]
    assert (row["label"], row["unknown_reason"]) == ("unknown", "no counts")
    assert row["most_likely"] in LABELS
    assert row["genes"] + row["activities"] + row["baseline"] == pytest.approx(row["log_odds"])


def test_cells_are_read_in_the_given_order_across_chunks(model: Model) -> None:
    cells = simulated_cells(1100, seed=2)
    read = model._read(cells, checked_settings())
    rows = np.array([1099, 3, 600, 511, 512])
    chunk = read_rows(read, rows)
    np.testing.assert_array_equal(chunk.counts_NG.toarray(), cells.X[rows].toarray())
    np.testing.assert_array_equal(chunk.library_size_N, cells.obs[OBS.library_size].iloc[rows].astype(np.float32))


def test_a_cell_that_cannot_be_explained_is_refused(model: Model, cells: AnnData) -> None:
    with pytest.raises(sct.UserError, match=r"has no cell 'Cell_77'; did you mean cell77"):
        model.explain_cells(cells, ["cell0", "Cell_77"])
    with pytest.raises(sct.UserError, match=r"has no cell 'AAAC'; the first cell is cell0"):
        model.explain_cells(cells, "AAAC")
    with pytest.raises(sct.UserError, match="top is 0"):
        model.explain_cells(cells, "cell0", top=0)
    cells.obs_names = pd.Index(["same"] * cells.n_obs)
    with pytest.raises(sct.UserError, match="90 cells have the name 'same'; make the names of cells unique"):
        model.explain_cells(cells, "same")
    with pytest.raises(sct.UserError, match="not linear in expression"):
        sct.load_model(OLD_BUNDLE).explain_cells(simulated_cells(), "cell0")
