"""`sctransformer data check` on valid, doubtful and broken files: it describes them, warns, or refuses."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse

from sctransformer._constants import OBS
from sctransformer.annotation.pipeline import annotate_file
from sctransformer.cli.data import check_cells
from sctransformer.errors import UserError
from sctransformer.registry.loading import load_model
from tests.conftest import simulated_cells
from tests.malformed import MALFORMED

SYMBOLS = [
    "SPI1", "PAX5", "GATA3", "TBX21", "CD3D", "CD3E", "CD19", "CD79A", "MS4A1", "NKG7", "GNLY", "LYZ", "CD14", "FCGR3A",
    "LST1", "CST3", "S100A8", "S100A9", "IL7R", "CCR7", "MT-CO1", "MT-ND1", "HLA-DRA", "JCHAIN",
]  # fmt: skip
ENSEMBL = {"CD3D": "ENSG00000167286", "CD19": "ENSG00000177455", "MS4A1": "ENSG00000156738", "LYZ": "ENSG00000090382"}


def good_cells(n_cells: int = 90) -> AnnData:
    rng = np.random.default_rng(0)
    labels = pd.Categorical.from_codes(np.arange(n_cells) % 3, ["T", "B", "Mono"])
    counts = rng.poisson(3.0, (n_cells, len(SYMBOLS))) * (rng.random((n_cells, len(SYMBOLS))) < 0.6)
    counts[:, 0] += 1
    obs = pd.DataFrame({OBS.cell_type: labels}, index=[f"cell{index}" for index in range(n_cells)])
    return AnnData(sparse.csr_matrix(counts.astype(np.float32)), obs=obs, var=pd.DataFrame(index=SYMBOLS))


def write(cells: AnnData, folder: Path) -> Path:
    cells.write_h5ad(folder / "cells.h5ad")
    return folder / "cells.h5ad"


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_a_valid_file_is_described(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, cells = tmp_path / f"cells.{kind}", good_cells()
    cells.obs[OBS.donor] = [f"d{index % 2}" for index in range(90)]
    (cells.write_h5ad if kind == "h5ad" else cells.write_zarr)(path)
    check_cells(path)
    out = capsys.readouterr().out
    for words in (
        "90",
        "24 genes found",
        "24 symbols (0 not in the gene map)",
        "raw, in X",
        "3 types",
        "Mono",
        "sum of X",
    ):
        assert words in out, out
    assert "donors        2" in out
    assert "0 warnings" in out


def test_recognised_genes_and_labels_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = good_cells()
    cells.layers["counts"], cells.X = cells.X, sparse.csr_matrix(np.log1p(cells.X.toarray()))
    cells.var["gene_symbols"] = cells.var_names
    cells.var_names = [f"probe{index}" for index in range(24)]
    check_cells(write(cells, tmp_path))
    out = capsys.readouterr().out
    assert "raw, in counts" in out
    assert "24 columns from var['gene_symbols']" in out


def test_of_many_labels_the_most_frequent_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = good_cells()
    cells.obs[OBS.cell_type] = [f"type{number}" for number in range(cells.n_obs)]
    with pytest.raises(UserError):
        check_cells(write(cells, tmp_path))
    out = capsys.readouterr().out
    assert f"{cells.n_obs} types" in out
    assert out.count("  type") == 60
    assert f"{cells.n_obs - 60} rarer types" in out


def test_repaired_gene_names_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = good_cells()
    cells.var_names = [name.replace("-", ".") for name in SYMBOLS]
    check_cells(write(cells, tmp_path))
    out = capsys.readouterr().out
    assert "3 names repaired" in out
    assert "3 gene names were repaired: 3 with replaced characters (MT.CO1 -> MT-CO1," in out


Change = Callable[[AnnData], AnnData | None]


def with_value(value: float) -> Change:
    def change(cells: AnnData) -> None:
        counts = cells.X.toarray()
        counts[40, 6] = value
        cells.X = sparse.csr_matrix(counts)

    return change


def with_names(rename: Callable[[int, str], str]) -> Change:
    def change(cells: AnnData) -> None:
        cells.var_names = [rename(index, name) for index, name in enumerate(cells.var_names)]

    return change


def logged(cells: AnnData) -> None:
    cells.X = sparse.csr_matrix(np.log1p(cells.X.toarray() / 3.0))


def scaled(cells: AnnData) -> None:
    counts = cells.X.toarray()
    cells.X = (counts - counts.mean(axis=0)) / counts.std(axis=0)


def repeated_cells(cells: AnnData) -> None:
    cells.obs_names = ["cell0", *cells.obs_names[:-1]]


def one_type(cells: AnnData) -> None:
    cells.obs[OBS.cell_type] = "T"


def rare_type(cells: AnnData) -> None:
    cells.obs[OBS.cell_type] = ["T", "B", *["Mono"] * 88]


def with_label(word: str) -> Change:
    def change(cells: AnnData) -> None:
        cells.obs[OBS.cell_type] = ["T", "B", word] * 30

    return change


def labels_missing(cells: AnnData) -> None:
    cells.obs[OBS.cell_type] = [None, "", *["T", "B"] * 44]


def library_column(values: object) -> Change:
    def change(cells: AnnData) -> None:
        cells.obs[OBS.library_size] = values

    return change


def malformed_ontology(cells: AnnData) -> None:
    cells.obs[OBS.ontology_term] = "T cell"


def of_mice(cells: AnnData) -> None:
    cells.obs["organism_ontology_term_id"] = (
        "NCBITaxon:10090"  # mouse cells according to obs, in spite of human symbols
    )


def logged_beside_an_empty_layer(cells: AnnData) -> None:
    logged(cells)
    cells.layers["counts"] = sparse.csr_matrix(cells.shape)


def without_layers_of_counts(cells: AnnData) -> None:
    logged(cells)
    cells.layers["scaled"] = cells.X.toarray() - 1.0
    cells.layers["smooth"] = cells.X.toarray() + 0.5


REFUSED: dict[str, tuple[Change, str]] = {
    "a cell that is NaN": (with_value(np.nan), "cell 'cell40', gene 'CD19' is nan, neither a number nor zero"),
    "a cell that is infinite": (with_value(np.inf), "cell 'cell40', gene 'CD19' is inf"),
    "a negative count": (with_value(-3), "cell 'cell40', gene 'CD19' is -3, negative; it looks scaled"),
    "a fraction": (with_value(2.5), "gene 'CD19' is 2.5, not an integer"),
    "log-normalised": (logged, "it looks log-normalised; give raw counts"),
    "scaled": (scaled, "negative; it looks scaled"),
    "an impossible count": (with_value(1e18), "gene 'CD19' is 1e+18, larger than any count"),
    "labels that mean missing": (with_label("nan"), "30 of 90: 'cell2', cell_type None"),
    "cells of mice": (of_mice, "organism_ontology_term_id 'NCBITaxon:10090'"),
    "an empty layer": (
        logged_beside_an_empty_layer,
        "it looks log-normalised), layer 'counts' (zeros only)",
    ),
    "no layer of counts": (without_layers_of_counts, "log-normalised), layer 'scaled' (negative: it looks"),
    "one name for two cells": (repeated_cells, "names of cells must be unique, but 'cell0' occurs more than once"),
    "no cells": (lambda cells: cells[:0].copy(), "has no cells"),
    "no genes": (lambda cells: cells[:, :0].copy(), "has no genes"),
    "mouse symbols": (with_names(lambda i, name: name.capitalize()), "as mouse symbols are"),
    "mouse ids": (with_names(lambda i, name: f"ENSMUSG{i:011d}"), "24 of 24 gene ids are Ensembl ids of mouse genes"),
    "numbers as gene names": (
        with_names(lambda i, name: str(i)),
        "is a human symbol or Ensembl id (found 0, 1, 2, 3, 4",
    ),
    "an empty name": (with_names(lambda i, name: " " if i == 5 else name), "1 of 24 gene names in var_names are empty"),
    "one type": (one_type, "expect_table_row_count_to_be_between (suite training_cell_types) failed"),
    "a type too rare": (rare_type, "'T', cells 1"),
    "missing labels": (labels_missing, "'cell0'"),
    "a library size that is text": (library_column("many"), "of cell 'cell0' is many, not a positive number"),
    "a library size too small": (library_column(1.0), "is 1.0, smaller than the sum of the cell's counts"),
    "a negative library size": (library_column(-5.0), "is -5.0, not a positive number"),
    "invalid ontology ids": (malformed_ontology, "cell_type_ontology_term_id"),
    "too few cells": (lambda cells: cells[:20].copy(), "expect_table_row_count_to_be_between"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_invalid_file_gives_an_error_of_one_sentence(name: str, tmp_path: Path) -> None:
    change, words = REFUSED[name]
    cells = good_cells()
    changed = change(cells)
    path = write(cells if changed is None else changed, tmp_path)
    before = path.read_bytes()
    with pytest.raises(UserError) as caught:
        check_cells(path)
    assert words in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


def zero_cells(cells: AnnData) -> None:
    counts = cells.X.toarray()
    counts[3], counts[:, 7] = 0, 0
    cells.X = sparse.csr_matrix(counts)


def twins(cells: AnnData) -> None:
    counts = cells.X.toarray()
    counts[:30] = counts[0]
    cells.X = sparse.csr_matrix(counts)


def unused_category(cells: AnnData) -> None:
    cells.obs[OBS.cell_type] = cells.obs[OBS.cell_type].cat.add_categories("never")


def mixed_ids(cells: AnnData) -> None:
    cells.var_names = [ENSEMBL.get(name, name) for name in cells.var_names]


def repeated_genes(cells: AnnData) -> None:
    cells.var_names = ["IGJ" if name == "SPI1" else name for name in cells.var_names]


def noisy(cells: AnnData) -> None:
    cells.X.data += np.float32(1e-5)
    cells.obs[OBS.library_size] = np.floor(np.asarray(cells.X.sum(axis=1)).ravel())


def mitochondrial(cells: AnnData) -> None:
    counts = cells.X.toarray()
    counts[:, SYMBOLS.index("MT-CO1")] = 500
    cells.X = sparse.csr_matrix(counts)


READ: dict[str, tuple[Change, str]] = {
    "all-zero cells and genes": (zero_cells, "cells_expressing"),
    "identical cells": (twins, "same_counts_as"),
    "a category without cells": (unused_category, "3 types"),
    "ids of both kinds": (mixed_ids, "20 symbols (0 not in the gene map); 4 Ensembl ids mapped to symbols"),
    "a gene named twice": (repeated_genes, "1 symbol named more than once, summed (JCHAIN)"),
    "a type called unknown": (with_label("unknown"), "1 of 3: 'unknown'; this is not the name of a cell type"),
    "counts with float noise": (noisy, "0 warnings"),
    "labels with odd characters": (with_label("T/NK (γδ), naïve"), "  T/NK (γδ), naïve  30"),
    "mostly mitochondrial": (mitochondrial, "mitochondrial_share"),
}


@pytest.mark.parametrize("name", READ)
def test_an_unusual_file_is_read_and_reported(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change, words = READ[name]
    cells = good_cells()
    change(cells)
    try:
        check_cells(write(cells, tmp_path))
        captured = capsys.readouterr()
        printed = captured.out + captured.err
    except UserError as error:
        printed = str(error)
        assert name == "all-zero cells and genes"  # a cell without counts cannot be trained on
        words = "'cell3'"
    assert words in printed


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def text_values(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        values = file["X/data"][:].astype("S8")
        del file["X/data"]
        file["X/data"] = values


def other_shape(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["X"].attrs["shape"] = (80, 24)


def no_obs(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["obs"]


def wild_index(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["X/indices"][10] = 10**6


def empty(path: Path) -> None:
    path.write_bytes(b"")


def of_10x(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_group("matrix")["barcodes"] = ["a"]


def not_hdf5(path: Path) -> None:
    path.write_text("cell,CD3D\n1,2\n")


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "cut": (cut, "is not a readable h5ad file; it is cut short or damaged"),
    "text in place of counts": (text_values, "X is not a matrix of counts: its values are not numbers"),
    "another shape": (other_shape, "X has shape (80, 24), but obs and var have (90, 24)"),
    "no obs": (no_obs, "has no 'obs'"),
    "an index outside": (wild_index, "X cannot be read; the file is damaged"),
    "a text file": (not_hdf5, "is not a readable h5ad file; it is not HDF5 (it starts with b'cell,CD3'"),
    "an empty file": (empty, "is not a readable h5ad file; it is empty"),
    "a 10x file": (of_10x, "expected an AnnData file, but this is a 10x file: convert it with"),
    "no file": (lambda path: path.unlink(), "no such file"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_gives_an_error_of_one_sentence(name: str, tmp_path: Path) -> None:
    damage, words = DAMAGE[name]
    path = write(good_cells(), tmp_path)
    damage(path)
    with pytest.raises(UserError) as caught:
        check_cells(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_with_changed_bytes_gives_a_result_or_an_error(data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "cells.h5ad"
    if not path.exists():
        write(good_cells(), tmp_path)
    original = path.read_bytes()
    content = bytearray(original)
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    other = tmp_path / "changed.h5ad"
    other.write_bytes(content)
    from sctransformer.data.check import inspect_cells
    from sctransformer.data.gene_map import GeneMap
    from sctransformer.data.settings import CellColumns

    try:
        found = inspect_cells(other, GeneMap({}, {}, frozenset(SYMBOLS)), CellColumns(library_size_column=None))
    except UserError as error:
        assert str(error).startswith(str(other))
    else:
        assert found.statistics.n_cells == len(found.obs)


@pytest.mark.parametrize("option", ["label", "donor", "library_size", "gene"])
def test_the_error_for_a_missing_column_names_its_option(option: str, tmp_path: Path) -> None:
    words = rf"cells\.h5ad: (obs|var) has no column 'kind' \(.*\); correct --{option.replace('_', '-')}-column\."
    with pytest.raises(UserError, match=words):
        check_cells(write(good_cells(), tmp_path), **{f"{option}_column": "kind"})


def test_a_network_that_shares_no_genes_is_refused(tmp_path: Path) -> None:
    network = tmp_path / "network.tsv"
    network.write_text("regulator\ttarget\tsign\tconfidence\nAAA\tBBB\t1\thigh\n")
    with pytest.raises(UserError, match=r"network\.tsv: .*network_in_cells"):
        check_cells(write(good_cells(), tmp_path), network=network)


def test_cells_are_checked_against_a_model(bundle_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="batch_file"):
        check_cells(write(good_cells(), tmp_path), model=str(bundle_folder))


def test_the_counts_that_the_model_would_read_are_checked(
    bundle_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = simulated_cells()
    whole.var_names = [*whole.var_names[:-1], "SPI1"]  # a gene in every gene map
    cells = whole[:, :12].copy()
    cells.raw = whole
    check_cells(write(cells, tmp_path), model=str(bundle_folder))
    assert "raw, in raw.X" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["log-normalised, of some genes", "log-normalised, of other genes"])
def test_a_check_and_an_annotation_give_the_same_reason(name: str, bundle_folder: Path, tmp_path: Path) -> None:
    path, model = MALFORMED[name][0](tmp_path), load_model(str(bundle_folder))
    for attempt in (
        lambda: check_cells(path),
        lambda: check_cells(path, model=str(bundle_folder)),
        lambda: annotate_file(model, path, tmp_path / "out"),
        lambda: model.embed(anndata.read_h5ad(path)),
    ):
        with pytest.raises(UserError, match=r"X: expected raw counts, but cell 'cell0', gene .* looks log-normalised"):
            attempt()


def test_html_pages_are_written_on_request(tmp_path: Path) -> None:
    check_cells(write(good_cells(), tmp_path), data_docs=tmp_path / "docs")
    assert (tmp_path / "docs" / "index.html").is_file()


def test_a_failing_command_exits_with_an_error_and_no_traceback(tmp_path: Path) -> None:
    cells = good_cells()
    logged(cells)
    words = [sys.executable, "-m", "sctransformer.cli.main", "data", "check", str(write(cells, tmp_path))]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "SCTRANSFORMER_DEBUG": ""})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: ")
    assert len(done.stderr.splitlines()) == 1


def test_donors_and_names_of_types_that_training_could_not_use_are_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = good_cells()
    cells.obs[OBS.donor] = [f"d{index % 2}" for index in range(90)]
    cells.obs["code"] = cells.obs[OBS.cell_type].cat.codes
    check_cells(write(cells, tmp_path), label_column="code")
    err = capsys.readouterr().err
    assert "cells.h5ad: 3 of 3 cell types are numbers (0, 1, 2)" in err
    assert "there are 2 donors; train, validation and test need one each" in err
    assert "`train -S prepare.shared_donors=true`" in err
