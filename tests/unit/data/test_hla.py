"""Cells of another species whose genes have human names are told by the HLA genes that they lack."""

from scipy import sparse

from sctransformer.data.hla import HlaGenes, foreign_share

NAMES = ["HLA-A", "HLA-B", "HLA-DRA", "HLA-DRB1", "B2M", "CD74", "ACTB"]
CELLS = sparse.csr_matrix([
    [3, 0, 0, 0, 40, 0, 9],  # human
    [0, 0, 0, 0, 40, 0, 9],  # no HLA gene although B2M
    [0, 0, 0, 0, 0, 15, 9],  # no HLA gene although CD74
    [0, 0, 0, 0, 5, 0, 9],  # too few counts to tell
])  # fmt: skip


def test_cells_with_b2m_or_cd74_have_hla_genes_if_they_are_human() -> None:
    genes = HlaGenes.of(NAMES, "human")
    assert genes is not None
    assert genes.expected(CELLS).tolist() == [True, True, True, False]
    assert genes.without(CELLS).tolist() == [False, True, True, True]


def test_ensembl_ids_are_read() -> None:
    ids = ["ENSG00000206503.13", "ENSG00000234745", "ENSG00000166710"]
    genes = HlaGenes.of(ids, "human")
    assert genes is not None
    assert genes.hla_F.tolist() == [0, 1] and [part.tolist() for part in genes.partners] == [[2]]


def test_files_that_do_not_allow_a_judgement() -> None:
    assert HlaGenes.of(NAMES, "mouse") is None
    assert HlaGenes.of(["HLA-A", "B2M", "CD74", "HLA-DRA"], "human") is None  # one gene of each class
    assert HlaGenes.of(["HLA-A", "HLA-B", "HLA-DRA", "HLA-DRB1"], "human") is None


def test_few_human_cells_without_hla_genes_are_not_of_another_species() -> None:
    assert foreign_share(12_101, 13) is None
    assert foreign_share(4, 4) is None
    assert foreign_share(300, 150) == 0.5
