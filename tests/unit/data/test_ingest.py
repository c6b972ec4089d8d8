"""Conversion of a user's file to the data contract, with any column names."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sctransformer._constants import OBS
from sctransformer.data.cells import CellFile, read_cells
from sctransformer.data.gene_map import GeneMap
from sctransformer.data.genes import identify
from sctransformer.data.ingest import choose_held_out, contract_columns, ingest
from sctransformer.data.settings import CellColumns
from sctransformer.errors import UserError
from sctransformer.files import sha256_file

KNOWN = GeneMap({"ENSG00000000005": "GENE5"}, {})
COLUMNS = CellColumns()


def run(cells: AnnData, folder: Path, columns: CellColumns = COLUMNS, fraction: float = 0.0) -> tuple[AnnData, Path]:
    folder.mkdir(exist_ok=True)
    cells.write_h5ad(folder / "mine.h5ad")
    with CellFile(folder / "mine.h5ad") as file:
        identity = identify(file.var, KNOWN, "mine.h5ad", "var_names")
        ingest(file, identity, columns, folder / "kept.h5ad", folder / "new.h5ad", fraction, 0)
    return read_cells(folder / "kept.h5ad"), folder / "new.h5ad"


def test_the_error_for_a_missing_label_column_lists_the_columns(cells: AnnData, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"obs has no column 'celltype' \(columns: library_size, cell_type\)"):
        run(cells, tmp_path, CellColumns(label_column="celltype"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.h5ad"]


@pytest.mark.parametrize(("value", "words"), [(1.0, "smaller than the sum"), (np.nan, "not a positive number")])
def test_an_invalid_library_size_is_refused(cells: AnnData, tmp_path: Path, value: float, words: str) -> None:
    cells.obs.loc["cell83", OBS.library_size] = value
    with pytest.raises(UserError, match=rf"of cell 'cell83' is {value}, {words}"):
        run(cells, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.h5ad"]


def test_without_a_library_size_column_row_sums_over_all_genes_are_used(cells: AnnData, tmp_path: Path) -> None:
    expected = np.asarray(cells.X.sum(axis=1)).ravel()
    cells.var_names = ["ENSG00000999999", *cells.var_names[1:]]  # lost, but counted
    del cells.obs[OBS.library_size]
    kept, _ = run(cells, tmp_path, CellColumns(library_size_column=None))
    assert "ENSG00000999999" not in kept.var_names
    assert np.array_equal(kept.obs[OBS.library_size], expected)


def test_empty_labels_are_missing_and_unused_categories_are_removed(cells: AnnData, tmp_path: Path) -> None:
    cells.obs[OBS.cell_type] = cells.obs[OBS.cell_type].cat.add_categories(["  ", "never"])
    cells.obs.loc["cell1", OBS.cell_type] = "  "
    kept, _ = run(cells, tmp_path)
    assert kept.obs[OBS.cell_type].isna().sum() == 1
    assert list(kept.obs[OBS.cell_type].cat.categories) == ["alpha", "beta", "gamma"]


@pytest.mark.parametrize("word", ["nan", "NA", "None", " ", np.nan])
def test_words_for_missing_labels_and_donors_are_treated_as_missing(
    cells: AnnData, tmp_path: Path, word: object
) -> None:
    cells.obs[OBS.cell_type] = cells.obs[OBS.cell_type].astype(object)
    cells.obs[OBS.donor] = "d"
    cells.obs["suspension_type"] = "na"  # which CELLxGENE's schema allows
    for field in (OBS.cell_type, OBS.donor):
        cells.obs.loc["cell1", field] = word
    kept, _ = run(cells, tmp_path)
    assert [kept.obs[field].isna().sum() for field in (OBS.cell_type, OBS.donor, "suspension_type")] == [1, 1, 0]


def test_labels_with_numbers_or_special_characters_become_text(cells: AnnData, tmp_path: Path) -> None:
    cells.obs[OBS.cell_type] = (np.arange(90) % 3).astype(np.int64)
    kept, _ = run(cells, tmp_path)
    assert list(kept.obs[OBS.cell_type].cat.categories) == ["0", "1", "2"]
    odd = ["T/NK (γδ) +", "B cell\u00a0naïve", "a,b;c\t'd'"]
    cells.obs[OBS.cell_type] = [odd[index % 3] for index in range(90)]
    kept, _ = run(cells, tmp_path)
    assert list(kept.obs[OBS.cell_type].cat.categories) == sorted(odd)


def test_cells_with_numeric_names_keep_their_labels(cells: AnnData) -> None:
    obs = cells.obs.set_axis(range(90))
    contract = contract_columns(obs, COLUMNS, "mine.h5ad")
    assert contract.index.tolist() == [str(index) for index in range(90)]
    assert contract[OBS.cell_type].tolist() == cells.obs[OBS.cell_type].tolist()


def test_donors_and_cellxgene_columns_are_kept(cells: AnnData, tmp_path: Path) -> None:
    cells.obs["batch"] = [f"p{index % 4}" for index in range(90)]
    cells.obs["suspension_type"], cells.obs["score"] = "cell", 1.0
    kept, _ = run(cells, tmp_path, CellColumns(donor_column="batch"))
    assert list(kept.obs) == [OBS.library_size, OBS.cell_type, OBS.donor, "suspension_type"]
    assert kept.obs[OBS.donor].tolist() == cells.obs["batch"].tolist()
    for field in (OBS.cell_type, OBS.donor, "suspension_type"):  # text would take a hundred times the space
        assert isinstance(kept.obs[field].dtype, pd.CategoricalDtype)
        assert kept.obs[field].cat.categories.dtype == object
    with pytest.raises(UserError, match=r"set data\.donor_column"):
        run(cells, tmp_path, CellColumns(donor_column="patient"))


@pytest.mark.parametrize("rows", [1, 7, 4096])
def test_new_cells_are_a_stratified_sample_without_labels(
    cells: AnnData, tmp_path: Path, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunks = CellFile.chunks
    monkeypatch.setattr(CellFile, "chunks", lambda file, size=rows, wanted=None: chunks(file, size, wanted))
    kept, path = run(cells, tmp_path, fraction=0.2)
    new = read_cells(path)
    assert list(new.obs) == [OBS.library_size]
    assert set(kept.obs_names) | set(new.obs_names) == set(cells.obs_names)
    assert not set(kept.obs_names) & set(new.obs_names)
    assert kept.obs[OBS.cell_type].value_counts().tolist() == [24, 24, 24]
    for part in (kept, new):
        assert np.array_equal(part.X.toarray(), cells[part.obs_names].X.toarray())


def test_the_same_cells_give_an_identical_file(cells: AnnData, tmp_path: Path) -> None:
    for name in ("one", "two"):
        run(cells.copy(), tmp_path / name, fraction=0.2)
    for name in ("kept.h5ad", "new.h5ad"):
        assert sha256_file(tmp_path / "one" / name) == sha256_file(tmp_path / "two" / name)


def test_repeated_cell_names_are_refused(cells: AnnData, tmp_path: Path) -> None:
    cells.obs_names = ["cell0", *cells.obs_names[:-1]]
    with pytest.raises(UserError, match="names of cells must be unique, but 'cell0'"):
        run(cells, tmp_path)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=5), fraction=st.floats(0, 0.99), seed=st.integers(0, 9))
def test_every_type_keeps_at_least_one_cell(sizes: list[int], fraction: float, seed: int) -> None:
    labels = pd.Series([f"t{index}" for index, size in enumerate(sizes) for _ in range(size)], dtype="category")
    away_N = choose_held_out(labels, fraction, seed)
    assert set(labels[~away_N]) == set(labels)
    assert np.array_equal(away_N, choose_held_out(labels, fraction, seed))
