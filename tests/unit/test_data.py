"""Counts, the data contract, splits and the gene panel."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from sctransformer._constants import OBS
from sctransformer.data.counts import check_counts
from sctransformer.data.embedded import CELL_ONTOLOGY, embedded_cells
from sctransformer.data.ingest import keep_back, to_contract
from sctransformer.data.normalise import log_normalised
from sctransformer.data.panel import choose_panel
from sctransformer.data.prepared import labels_of, ontology_of, prepared_cells, split_arrays, write_cells
from sctransformer.data.splits import stratified_splits
from sctransformer.errors import UserError
from sctransformer.files import sha256_file
from tests.conftest import EDGES, GENES, simulated_cells


def test_embedded_cells_keep_the_data_contract() -> None:
    cells = embedded_cells()
    assert cells.shape == (700, 765)
    assert sparse.isspmatrix_csr(cells.X)
    assert np.array_equal(cells.X.data, np.round(cells.X.data))
    assert cells.X.min() == 0
    row_sums = np.asarray(cells.X.sum(axis=1)).ravel()
    assert (cells.obs[OBS.library_size] >= row_sums).all()
    assert 0.1 < row_sums.sum() / cells.obs[OBS.library_size].sum() < 0.3  # the panel holds a fifth of the counts
    assert set(cells.obs[OBS.cell_type].cat.categories) == set(CELL_ONTOLOGY)
    assert ontology_of(cells) == CELL_ONTOLOGY
    # marker genes are where they belong: neither counts nor symbols were shuffled
    b_cells = (cells.obs[OBS.cell_type] == "CD19+ B").to_numpy()
    assert cells[b_cells, "CD79A"].X.mean() > 10 * cells[~b_cells, "CD79A"].X.mean()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, "neither a number"),
        (np.inf, "neither a number"),
        (-1.0, "negative; X looks scaled"),
        (1.37, "X looks log-normalised"),
        (137.4, "X looks normalised"),
    ],
)
def test_what_is_no_count_is_refused_with_its_place(value: float, message: str) -> None:
    counts = sparse.csr_matrix(np.eye(3, dtype=np.float32))
    counts.data[1] = value
    with pytest.raises(UserError, match=message) as caught:
        check_counts(counts, "file.h5ad: X", ["c0", "c1", "c2", "c3"], ["g0", "g1", "g2"], first_cell=1)
    assert "cell 'c2', gene 'g1'" in str(caught.value)


def test_float_noise_around_integers_is_allowed() -> None:
    check_counts(sparse.csr_matrix(np.array([[1.0001, 2.9999]])), "X", ["c"], ["a", "b"])


def test_a_missing_label_column_is_named_with_those_there(cells: AnnData) -> None:
    with pytest.raises(UserError, match=r"obs has no column 'celltype' \(columns: library_size, cell_type\)"):
        to_contract(cells, "mine.h5ad", "celltype")


def test_a_library_size_smaller_than_the_counts_is_refused(cells: AnnData) -> None:
    cells.obs.loc["cell3", OBS.library_size] = 1.0
    with pytest.raises(UserError, match=r"of cell 'cell3' is 1.0, smaller than the sum"):
        to_contract(cells, "mine.h5ad")


def test_without_a_library_size_column_row_sums_are_taken(cells: AnnData) -> None:
    contract = to_contract(cells, "mine.h5ad", library_size_column=None)
    assert np.array_equal(contract.obs[OBS.library_size], np.asarray(cells.X.sum(axis=1)).ravel())


def test_empty_labels_count_as_missing(cells: AnnData) -> None:
    cells.obs[OBS.cell_type] = cells.obs[OBS.cell_type].astype(str)
    cells.obs.loc["cell1", OBS.cell_type] = "  "
    assert to_contract(cells, "mine.h5ad").obs[OBS.cell_type].isna().sum() == 1


def test_new_cells_are_a_stratified_share_without_labels(cells: AnnData) -> None:
    kept, new = keep_back(cells, 0.2, seed=1)
    assert list(new.obs) == [OBS.library_size]
    assert set(kept.obs_names) | set(new.obs_names) == set(cells.obs_names)
    assert not set(kept.obs_names) & set(new.obs_names)
    assert kept.obs[OBS.cell_type].value_counts().tolist() == [24, 24, 24]
    again = keep_back(cells, 0.2, seed=1)[1]
    assert list(again.obs_names) == list(new.obs_names)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(3, 40), min_size=2, max_size=6),
    validation=st.floats(0.05, 0.4),
    test=st.floats(0.05, 0.5),
    seed=st.integers(0, 99),
)
def test_every_class_is_on_every_side(sizes: list[int], validation: float, test: float, seed: int) -> None:
    labels = pd.Series([f"type{index}" for index, size in enumerate(sizes) for _ in range(size)])
    split = stratified_splits(labels, validation, test, seed)
    table = pd.crosstab(labels, np.asarray(split))
    assert (table[["train", "validation", "test"]] >= 1).all().all()
    assert list(split) == list(stratified_splits(labels, validation, test, seed))
    for index, size in enumerate(sizes):
        if size >= 20:
            assert table.loc[f"type{index}", "test"] == pytest.approx(test * size, abs=1)


def test_a_class_that_cannot_be_split_is_named() -> None:
    with pytest.raises(UserError, match="cell type 'rare' has 2 cells"):
        stratified_splits(["common"] * 9 + ["rare"] * 2, 0.2, 0.2, 0)


def test_shares_that_leave_nothing_to_train_on_are_refused() -> None:
    with pytest.raises(UserError, match="leave nothing to train on"):
        stratified_splits(["a"] * 9, 0.5, 0.5, 0)


def test_log_normalised_uses_the_whole_cell() -> None:
    expression = log_normalised(sparse.csr_matrix(np.array([[2.0, 0.0]])), np.array([4000.0]))
    assert expression.toarray().tolist() == [[pytest.approx(np.log1p(5.0)), 0.0]]


def panel_of(budget: int) -> pd.DataFrame:
    cells = simulated_cells()
    return choose_panel(cells.X, cells.obs[OBS.library_size].to_numpy(), GENES, EDGES, budget)


@pytest.mark.parametrize("budget", [6, 12, 24, 1000])
def test_a_panel_keeps_its_budget_and_puts_regulators_first(budget: int) -> None:
    panel = panel_of(budget)
    assert len(panel) == min(budget, len(GENES))
    assert panel["gene"].is_unique
    flags = panel["is_regulator"].tolist()
    assert flags == sorted(flags, reverse=True)
    chosen = set(panel["gene"])
    assert set(panel.loc[panel["is_regulator"], "gene"]) == {r for r, t in EDGES if r in chosen and t in chosen}
    pd.testing.assert_frame_equal(panel, panel_of(budget))


def test_genes_that_training_cells_do_not_express_stay_out() -> None:
    cells = simulated_cells()
    counts = cells.X.tolil()
    counts[:, 7] = 0
    panel = choose_panel(counts.tocsr(), cells.obs[OBS.library_size].to_numpy(), GENES, EDGES, 1000)
    assert "GENE7" not in set(panel["gene"])


def test_a_network_of_other_genes_is_refused() -> None:
    cells = simulated_cells()
    with pytest.raises(UserError, match="no edge with both ends"):
        choose_panel(cells.X, cells.obs[OBS.library_size].to_numpy(), GENES, [("X", "Y")], 10)


def test_prepared_cells_follow_the_panel_and_the_split(cells: AnnData, tmp_path: Path) -> None:
    cells.obs[OBS.split] = stratified_splits(cells.obs[OBS.cell_type], 0.2, 0.2, 0)
    panel = panel_of(12)
    prepared = prepared_cells(cells, panel)
    assert list(prepared.var_names) == panel["gene"].tolist()
    part = split_arrays(prepared, "test")
    chosen = cells[(cells.obs[OBS.split] == "test").to_numpy()]
    assert np.array_equal(part.counts_NG, chosen[:, panel["gene"]].X.toarray())
    assert [labels_of(prepared)[label] for label in part.labels_N] == chosen.obs[OBS.cell_type].tolist()
    write_cells(prepared, tmp_path / "one.h5ad")
    write_cells(prepared, tmp_path / "two.h5ad")
    assert sha256_file(tmp_path / "one.h5ad") == sha256_file(tmp_path / "two.h5ad")
