"""Genes are found by name, gathered without densifying the rest, and refused when too many are missing."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from sctransformer.annotation import genes
from sctransformer.annotation.genes import match_genes, match_table, named_by_symbol, require_coverage
from sctransformer.errors import UserError

VOCABULARY = pd.DataFrame({"gene": ["A", "B", "C", "D"], "mean": [1.0, 2.0, 3.0, 4.0]})


def test_genes_are_found_in_any_column() -> None:
    match = match_genes(VOCABULARY, pd.Index(["X", "D", "A", "Y", "B"]))
    assert match.column_G.tolist() == [2, 4, -1, 1]
    assert match.gene_of_column_F.tolist() == [-1, 3, 0, -1, 1]
    assert match.missing == ["C"]
    assert match.coverage == pytest.approx(0.7)
    assert match.repeated == []


def test_missing_genes_come_most_expressed_first() -> None:
    assert match_genes(VOCABULARY, pd.Index(["X", "C"])).missing == ["D", "B", "A"]


def test_counts_under_a_repeated_name_are_summed() -> None:
    match = match_genes(VOCABULARY, pd.Index(["A", "X", "A", "B", "X"]))
    assert match.repeated == ["A"]
    assert match.column_G.tolist() == [0, 3, -1, -1]
    counts = sparse.csr_matrix(np.array([[1, 10, 2, 3, 20], [0, 0, 5, 0, 1]]))
    assert match.gather(counts).tolist() == [[3, 3, 0, 0], [5, 0, 0, 0]]


@settings(max_examples=60, deadline=None)
@given(
    names=st.lists(st.sampled_from("ABCDEFGH"), min_size=1, max_size=12),
    n_cells=st.integers(1, 5),
    seed=st.integers(0, 1000),
    dtype=st.sampled_from([np.float32, np.float64, np.int64, np.uint16]),
)
def test_gathering_equals_summing_the_columns_of_each_name(
    names: list[str], n_cells: int, seed: int, dtype: type
) -> None:
    counts: np.ndarray = np.random.default_rng(seed).poisson(0.7, (n_cells, len(names))).astype(dtype)
    gathered = match_genes(VOCABULARY, pd.Index(names)).gather(sparse.csr_matrix(counts))
    expected = np.stack([counts[:, [name == gene for name in names]].sum(axis=1) for gene in "ABCD"], axis=1)
    np.testing.assert_array_equal(gathered, expected)
    assert gathered.dtype == np.float32


def test_entries_stored_twice_are_summed() -> None:
    counts: sparse.csr_matrix = sparse.csr_matrix(
        (np.array([1.0, 2.0]), np.array([0, 0]), np.array([0, 2])), shape=(1, 2)
    )
    assert match_genes(VOCABULARY, pd.Index(["A", "B"])).gather(counts).tolist() == [[3, 0, 0, 0]]


def test_enough_coverage_passes() -> None:
    genes = pd.Index(["A", "C", "D"])
    require_coverage(match_genes(VOCABULARY, genes), VOCABULARY, genes, "cells.h5ad", 0.8)


def test_low_coverage_is_refused_with_coverage_minimum_and_genes() -> None:
    genes = pd.Index(["A", "B"])
    with pytest.raises(UserError, match=r"cells\.h5ad: .* 30\.0% .*80\.0%; most expressed missing genes: D, C; "):
        require_coverage(match_genes(VOCABULARY, genes), VOCABULARY, genes, "cells.h5ad", 0.8)


def test_at_most_ten_genes_are_named() -> None:
    vocabulary = pd.DataFrame({"gene": [f"G{index}" for index in range(30)], "mean": 1.0})
    with pytest.raises(UserError, match=r"most expressed missing genes: (G\d+, ){9}G\d+ and 20 more;"):
        require_coverage(match_genes(vocabulary, pd.Index([])), vocabulary, pd.Index([]), "cells.h5ad", 0.8)


@pytest.mark.parametrize(
    ("wanted", "found", "advice"),
    [
        (["CD3E", "MS4A1"], ["ENSG00000198851", "ENSG00000156738.18"], "genes are named by Ensembl ids"),
        (["ENSG00000198851", "ENSG00000156738"], ["CD3E", "MS4A1"], "the model uses Ensembl ids"),
        (["CD3E", "MS4A1"], ["Cd3e", "Ms4a1"], "genes are named as mouse genes, but the model is for human cells"),
        (
            ["CD3E", "MS4A1"],
            ["GRCh38_CD3E", "GRCh38_MS4A1"],
            "start with 'GRCh38_', .*: keep only",
        ),
        (["CD3E", "MS4A1"], ["hg19_CD3E", "mm10___Cd3e"], "start with 'hg19_' and 'mm10___'"),
        (["CD3E", "MS4A1"], ["geneA", "geneB"], "check that var_names"),
    ],
)
def test_the_error_names_the_likely_cause(wanted: list[str], found: list[str], advice: str) -> None:
    vocabulary, genes = pd.DataFrame({"gene": wanted, "mean": 1.0}), pd.Index(found)
    with pytest.raises(UserError, match=advice):
        require_coverage(match_genes(vocabulary, genes), vocabulary, genes, "cells.h5ad", 0.8)


def test_genes_of_a_panel_without_expression_have_equal_weights() -> None:
    silent = VOCABULARY.assign(mean=0.0)
    assert match_genes(silent, pd.Index(["A"])).coverage == pytest.approx(0.25)


WITH_IDS = pd.DataFrame(
    {
        "gene": ["JCHAIN", "CD4", "OWN"],
        "mean": [1.0, 1.0, 1.0],
        "ensembl_id": ["ENSG00000132465", "ENSG00000010610;ENSG00000299999", ""],
    }
)


@pytest.mark.parametrize(
    ("names", "symbols"),
    [
        (["CD4", "JCHAIN", "OWN", "X"], ["CD4", "JCHAIN", "OWN", "X"]),
        (["IGJ", "CD4"], ["JCHAIN", "CD4"]),
        (
            ["ENSG00000132465.7", "ENSG00000299999", "OWN", "ENSG00000000001"],
            ["JCHAIN", "CD4", "OWN", "ENSG00000000001"],
        ),
    ],
)
def test_a_file_is_read_by_symbol_former_symbol_or_id(names: list[str], symbols: list[str]) -> None:
    translated, place, _ = named_by_symbol(WITH_IDS, pd.DataFrame(index=names), "f")
    assert (translated.tolist(), place) == (symbols, "var_names")


def test_a_column_of_var_is_used_where_it_names_more_genes() -> None:
    var = pd.DataFrame({"feature_name": ["JCHAIN", "CD4"]}, index=["0", "1"])
    translated, place, _ = named_by_symbol(WITH_IDS, var, "f")
    assert (translated.tolist(), place) == (["JCHAIN", "CD4"], "feature_name")


def test_a_model_that_knows_no_ids_matches_by_symbol() -> None:
    translated, _, _ = named_by_symbol(VOCABULARY, pd.DataFrame(index=["B", "ENSG00000132465"]), "f")
    assert translated.tolist() == ["B", "ENSG00000132465"]


@pytest.mark.parametrize(
    ("found", "advice"),
    [
        (
            ["ENSG00000132465", "ENSG00000010610", *(f"ENSG0000077{index:04}" for index in range(9))],
            "from before genes",
        ),
        (["ENSG00000132465", "ENSG00000010610"], "from before genes were filtered"),
        (["ENSMUSG00000067149", "ENSMUSG00000023274"], "named as mouse genes, but the model is for human cells"),
    ],
)
def test_the_error_does_not_blame_ids_that_the_model_knows(found: list[str], advice: str) -> None:
    genes, _, _ = named_by_symbol(WITH_IDS, pd.DataFrame(index=found), "f")
    with pytest.raises(UserError, match=advice):
        require_coverage(match_genes(WITH_IDS, genes), WITH_IDS, genes, "cells.h5ad", 0.8)


def test_names_that_r_changed_are_read_with_a_note() -> None:
    vocabulary = pd.DataFrame({"gene": ["HLA-DRA", "HLA-A", "CD3D"], "mean": 1.0})
    match = match_table(vocabulary, pd.DataFrame(index=["HLA.DRA", "HLA.A", "CD3D", "X.1"]), "f", 0.9)
    assert match.gene_of_column_F.tolist() == [0, 1, 2, -1]
    assert match.notes == (
        "2 gene names were repaired: 2 with replaced characters (HLA.DRA -> HLA-DRA, HLA.A -> HLA-A)",
    )


def test_low_coverage_shows_the_names_of_the_file_beside_those_expected() -> None:
    genes = pd.Index(["A", "g1", "g2", "g3", "g4"])
    with pytest.raises(UserError, match=r"\(names in the file: g1, g2, g3; expected: D, C, B\)\."):
        require_coverage(match_genes(VOCABULARY, genes), VOCABULARY, genes, "cells.h5ad", 0.8)


def test_names_are_translated_once_for_files_with_the_same_genes(monkeypatch: pytest.MonkeyPatch) -> None:
    translated: list[str] = []
    translate = genes._named_by_symbol

    def counting(vocabulary: pd.DataFrame, var: pd.DataFrame, source: str) -> genes.SymbolNames:
        translated.append(source)
        return translate(vocabulary, var, source)

    monkeypatch.setattr(genes, "_named_by_symbol", counting)
    monkeypatch.setattr(genes, "_recent", {})
    first = pd.DataFrame({"gene_ids": ["x", "y"]}, index=["A", "B"])
    tables = {"one": first, "two": first.copy(), "three": first[::-1], "four": first.assign(gene_ids="A")}
    for source, var in tables.items():
        genes.named_by_symbol(VOCABULARY, var, source)
    genes.named_by_symbol(VOCABULARY[:1], first, "five")
    assert translated == ["one", "three", "four", "five"]
    assert genes.named_by_symbol(VOCABULARY, first[::-1], "again").genes.tolist() == ["B", "A"]
