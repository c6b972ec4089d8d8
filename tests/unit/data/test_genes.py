"""Gene identity: Ensembl ids and symbols are found in var, and unusable names are reported."""

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from sctransformer.data.gene_map import ALIASES, GeneMap, read_gene_map
from sctransformer.data.genes import identify
from sctransformer.errors import UserError
from tests.conftest import reference_folder

KNOWN = GeneMap(
    {"ENSG00000156738": "MS4A1", "ENSG00000132465": "JCHAIN", "ENSG00000010610": "CD4", "ENSG00000196126": "HLA-DRB1"},
    {"IGJ": "JCHAIN"},
)


def var(names: list[str], **columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame(columns, index=names)


def test_ensembl_ids_are_mapped_to_symbols_without_their_version() -> None:
    identity = identify(var(["ENSG00000156738.18", "ENSG00000132465", "ENSG00000999999.1"]), KNOWN, "f")
    assert identity.genes.tolist() == ["MS4A1", "JCHAIN"]
    assert identity.gene_of_column_F.tolist() == [0, 1, -1]
    assert identity.lost == ("ENSG00000999999.1",)
    assert identity.summary() == (
        "2 genes found: 3 columns from var_names; 2 Ensembl ids mapped to symbols; 1 lost (ENSG00000999999.1)"
    )


def test_former_symbols_are_renamed_and_unknown_ones_kept() -> None:
    identity = identify(var(["IGJ", "CD4", "RP11-34P13.7"]), KNOWN, "f")
    assert identity.genes.tolist() == ["JCHAIN", "CD4", "RP11-34P13.7"]
    assert (identity.renamed, identity.unknown_symbols) == (1, 1)


def test_columns_of_one_gene_are_summed() -> None:
    identity = identify(var(["JCHAIN", "CD4", "IGJ", "ENSG00000132465"]), KNOWN, "f")
    counts = identity.gather(sparse.csr_matrix(np.array([[1, 2, 3, 4], [0, 5, 0, 6]])))
    assert identity.merged == ("JCHAIN",)
    assert counts.toarray().tolist() == [[8, 2], [6, 5]]


@pytest.mark.parametrize("column", ["feature_name", "gene_symbols", "gene_ids", "ensembl_id"])
def test_names_are_found_in_a_common_column_of_var(column: str) -> None:
    ids = ["ENSG00000156738", "ENSG00000010610"] if "_id" in column else ["MS4A1", "CD4"]
    identity = identify(var(["0", "1"], **{column: ids}), KNOWN, "f")
    assert identity.source == f"var[{column!r}]"
    assert identity.genes.tolist() == ["MS4A1", "CD4"]


def test_the_index_is_used_unless_a_column_has_more_known_names() -> None:
    identity = identify(var(["MS4A1", "CD4"], gene_ids=["ENSG00000156738", "ENSG00000010610"]), KNOWN, "f")
    assert identity.source == "var_names"


def test_a_requested_column_is_always_used() -> None:
    identity = identify(var(["MS4A1", "CD4"], mine=["A", "B"]), KNOWN, "f", "mine")
    assert identity.genes.tolist() == ["A", "B"]
    assert identify(var(["X1", "X2"]), KNOWN, "f", "var_names").genes.tolist() == ["X1", "X2"]
    with pytest.raises(UserError, match=r"var has no column 'yours' \(columns: mine\)"):
        identify(var(["MS4A1", "CD4"], mine=["A", "B"]), KNOWN, "f", "yours")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["ENSMUSG00000000001", "ENSMUSG00000000028"], "2 of 2 gene ids are Ensembl ids of mouse genes"),
        (["ENSDARG00000000001", "ENSDARG00000000028"], "Ensembl ids of genes of another species"),
        (["Ms4a1", "Cd4", "Jchain"], "3 of 3 gene names are human symbols only when capitals are ignored"),
        (["0", "1", "2"], r"no gene name in var_names is a human symbol or Ensembl id \(found 0, 1, 2\)"),
        (["MS4A1", "  "], "1 of 2 gene names in var_names are empty, the first in column 1"),
        ([], "no gene name in var_names"),
    ],
)
def test_genes_that_cannot_be_used_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        identify(var(names), KNOWN, "f.h5ad")


@settings(max_examples=60, deadline=None)
@given(names=st.lists(st.sampled_from([*KNOWN.symbol_of, *KNOWN.symbols, *KNOWN.alias_of, "ODD", "ENSG00000000000"])))
def test_only_the_counts_of_lost_columns_are_dropped(names: list[str]) -> None:
    identity = identify(var([*names, "CD4"]), KNOWN, "f")
    counts = sparse.csr_matrix(np.arange(1, len(names) + 2)[None, :])
    kept = sum(count for count, name in zip(counts.toarray()[0], [*names, "CD4"], strict=True) if name[-6:] != "000000")
    gathered = identity.gather(counts)
    assert gathered.sum() == kept
    assert gathered.shape == (1, len(identity.genes))
    assert identity.genes.is_unique
    assert identity.by_symbol + identity.by_ensembl + len(identity.lost) == len(names) + 1


def test_the_packaged_gene_map_has_human_genes() -> None:
    known = read_gene_map()
    assert known.symbol_of["ENSG00000156738"] == "MS4A1"
    assert len(known.symbol_of) > 60_000
    assert known.alias_of["IGJ"] == "JCHAIN"


def test_every_alias_maps_a_former_to_a_present_symbol() -> None:
    table = pd.read_csv(ALIASES, sep="\t", dtype=str, comment="#")
    known = read_gene_map()
    assert table["former"].is_unique
    assert not set(table["former"]) & known.symbols
    assert set(table["present"]) <= known.symbols


@pytest.mark.parametrize("content", ["ensembl_id\tsymbol\nENSG00000156738.5\tMS4A1\n", "\ufeffENSG00000156738,MS4A1\n"])
def test_a_gene_map_may_be_separated_by_commas_or_tabs(tmp_path: Path, content: str) -> None:
    path = tmp_path / "map.txt"
    path.write_text(content, encoding="utf-8")
    assert read_gene_map(path).symbol_of == {"ENSG00000156738": "MS4A1"}


@pytest.mark.parametrize("content", [b"", b"a,b\nc,d\n", b"\xff\xfe\x00"])
def test_a_gene_map_without_ids_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "map.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"map.txt: (has no line with an Ensembl id|is not text)"):
        read_gene_map(path)


@pytest.mark.parametrize(
    ("name", "genes", "by_ensembl"),
    [("muscat_kang_se", 1276, 1276), ("mudan_sorted_pbmc", 8863, 0), ("mudan_pbmcA_unlabelled", 13939, 0)],
)
def test_genes_of_public_cells_are_recognised(name: str, genes: int, by_ensembl: int) -> None:
    cells = anndata.read_h5ad(reference_folder() / "h5ad" / f"{name}.h5ad", backed="r")
    identity = identify(cells.var, read_gene_map(), name)
    assert (len(identity.genes), identity.by_ensembl) == (genes, by_ensembl)
    assert len(identity.gene_of_column_F) - len(identity.lost) == genes
