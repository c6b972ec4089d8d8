"""Names that R, spreadsheets and joined tables changed are read where exactly one gene is possible."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from sctransformer.data.gene_map import GeneMap
from sctransformer.data.gene_repairs import repair_names
from sctransformer.data.genes import identify

IDS = {
    "ENSG00000167286": "CD3D",
    "ENSG00000204287": "HLA-DRA",
    "ENSG00000206503": "HLA-A",
    "ENSG00000145416": "MARCHF1",
    "ENSG00000173926": "MARCHF3",
    "ENSG00000186205": "MTARC1",
    "ENSG00000168385": "SEPTIN2",
    "ENSG00000184702": "SEPTIN5",
    "ENSG00000183291": "SELENOF",
    "ENSG00000136352": "NKX2-1",
}
KNOWN = GeneMap(IDS, {"TTF1A": "NKX2-1"}, frozenset({"7SK", "Y_RNA"}))


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("HLA.DRA", "HLA-DRA"),
        ("HLA-A-1", "HLA-A"),
        ("HLA.A.1", "HLA-A"),
        ("NKX2.1", "NKX2-1"),
        ("X7SK", "7SK"),
        ("Y-RNA", "Y_RNA"),
        ("ENSG00000167286_CD3D", "CD3D"),
        ("ENSG00000167286.12|T3D", "CD3D"),
        ("CD3D_ENSG00000167286", "CD3D"),
        ("HLA-DRA-ENSG00000204287.9", "HLA-DRA"),
        ("ENSG00000999999_HLA.DRA", "HLA-DRA"),
        ("2-Sep", "SEPTIN2"),
        ("02-Sep", "SEPTIN2"),
        ("Sep-02", "SEPTIN2"),
        ("X2.Sep", "SEPTIN2"),
        ("15-Sep", "SELENOF"),
        ("3-Mar", "MARCHF3"),
        ("2006-09-02", "SEPTIN2"),
        ("2019-09-05 00:00:00", "SEPTIN5"),
    ],
)
def test_a_name_with_one_meaning_is_repaired(name: str, symbol: str) -> None:
    assert repair_names([name], KNOWN, KNOWN.symbols).symbol_of == {name: symbol}


@pytest.mark.parametrize(
    ("name", "genes"),
    [
        ("1-Mar", ("MARCHF1", "MTARC1")),
        ("Mar-01", ("MARCHF1", "MTARC1")),
        ("2005-09-01", ("SEPTIN1", "SEPTIN5")),
        ("ENSG00000167286_HLA-A", ("CD3D", "HLA-A")),
    ],
)
def test_a_name_with_several_meanings_is_not_repaired(name: str, genes: tuple[str, ...]) -> None:
    repairs = repair_names([name], KNOWN, KNOWN.symbols)
    assert (repairs.symbol_of, repairs.ambiguous) == ({}, {name: genes})
    assert f"more than one gene is possible ({name}: {' or '.join(genes)})" in repairs.notes()[0]


@pytest.mark.parametrize("name", ["hla.dra", "CD3D", "ENSG00000999999", "5-Apr", "30-Mar", "RP11.1", "", "HLA-A-1234"])
def test_other_names_are_left_alone(name: str) -> None:
    assert repair_names([name], KNOWN, KNOWN.symbols).notes() == ()


def test_a_repaired_name_is_never_added_to_an_exact_one() -> None:
    identity = identify(pd.DataFrame(index=["HLA-A", "HLA-A-1", "HLA.A", "CD3D"]), KNOWN, "f")
    assert identity.genes.tolist() == ["HLA-A", "HLA-A-1", "HLA.A", "CD3D"]
    assert identity.gather(sparse.csr_matrix(np.array([[1, 2, 4, 8]]))).toarray().tolist() == [[1, 2, 4, 8]]
    assert identity.repairs.notes() == (
        "2 gene names were not repaired, because another column has the gene that would be meant "
        "(HLA-A-1: HLA-A, HLA.A: HLA-A); their counts are not added to it",
    )


def test_of_two_names_that_mean_one_gene_the_closer_is_read() -> None:
    repairs = repair_names(["HLA.A.1", "HLA.A", "2-Sep", "Sep-02"], KNOWN, KNOWN.symbols)
    assert repairs.symbol_of == {"HLA.A": "HLA-A"}
    assert repairs.taken == {"HLA.A.1": "HLA-A", "2-Sep": "SEPTIN2", "Sep-02": "SEPTIN2"}


def test_repairs_are_counted_by_kind() -> None:
    identity = identify(pd.DataFrame(index=["CD3D", "HLA.DRA", "2-Sep", "ENSG00000206503_HLA-A"]), KNOWN, "f")
    assert "3 names repaired" in identity.summary()
    assert identity.metrics()["repaired"] == 3
    assert identity.repairs.notes() == (
        "3 gene names were repaired: 1 with an Ensembl id and a symbol (ENSG00000206503_HLA-A -> HLA-A); "
        "1 with replaced characters (HLA.DRA -> HLA-DRA); 1 written as a date (2-Sep -> SEPTIN2)",
    )


def test_names_in_the_index_are_repaired_unless_a_column_has_them_exactly() -> None:
    joined = ["ENSG00000167286_CD3D", "ENSG00000206503_HLA-A"]
    assert identify(pd.DataFrame(index=joined), KNOWN, "f").source == "var_names"
    identity = identify(pd.DataFrame({"gene_ids": ["ENSG00000167286", "ENSG00000206503"]}, index=joined), KNOWN, "f")
    assert (identity.source, identity.repairs.notes()) == ("var['gene_ids']", ())
