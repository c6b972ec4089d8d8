"""Only genes of the model's species are read: antibodies, peaks and other genomes are in no sum."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st

from sctransformer.data.anndata_cells import AnnDataCells
from sctransformer.data.cells import CellFile
from sctransformer.data.check import inspect_cells
from sctransformer.data.features import genome_prefix, select_features
from sctransformer.data.gene_map import GeneMap
from sctransformer.data.library_size import choose_library_sizes
from sctransformer.data.settings import CellColumns
from sctransformer.data.species import mixed_species, require_species, species_of
from sctransformer.errors import UserError


def var(names: list[str], **columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame(columns, index=names)


@pytest.mark.parametrize("column", ["feature_types", "Feature_Types", "feature.type", "modality"])
@pytest.mark.parametrize(
    ("gene", "other"),
    [("Gene Expression", "Antibody Capture"), ("rna", "prot"), ("gex", "adt"), ("Gene Expression", "Peaks"),
     ("Gene Expression", "Multiplexing Capture"), ("rna", "atac"), ("", "Antibody Capture")],
)  # fmt: skip
def test_features_that_are_no_genes_are_left_out(column: str, gene: str, other: str) -> None:
    found = select_features(var(["CD3E", "CD4", "CD4", "B2M"], **{column: [gene, gene, other, gene]}), "f")
    assert found.var.index.tolist() == ["CD3E", "CD4", "B2M"]
    assert found.kept_F is not None
    assert found.kept_F.tolist() == [0, 1, 3]
    assert found.notes == (
        f"1 of 4 features are not gene expression ({other} 1) and are left out of genes and library sizes",
    )


def test_antibodies_are_found_in_a_column_type_and_in_texts_of_bytes() -> None:
    """A column `type` may hold biotypes instead, which leave nothing out."""
    for types in (["gene", "antibody"], ["b'Gene Expression'", "b'Antibody Capture'"]):
        assert select_features(var(["CD3E", "CD4"], type=types), "f").var.index.tolist() == ["CD3E"]
    assert select_features(var(["CD3E", "MALAT1"], type=["gene", "lncRNA"]), "f").kept_F is None


@pytest.mark.parametrize("names", [["CD3E", "CD4", "mm10_Cd3e"], ["GRCh38_CD3E", "GRCh38_CD4", "Cd3e"]])
def test_one_of_two_genomes_may_have_no_prefix(names: list[str]) -> None:
    found = select_features(var(names), "f")
    assert found.var.index.tolist() == ["CD3E", "CD4"]
    assert found.other_genome_F is not None
    assert found.other_genome_F.tolist() == [2]


def test_a_few_names_without_a_prefix_are_no_genome() -> None:
    """For example a transgene."""
    names = [*(f"GRCh38_GENE{index}" for index in range(20)), "EGFP"]
    assert select_features(var(names), "f").var.index.tolist()[-1] == "EGFP"


@pytest.mark.parametrize(
    "types", [["Gene Expression"] * 2, ["protein_coding", "lncRNA"], ["", ""], ["protein_coding", "miRNA"]]
)
def test_genes_and_their_biotypes_are_kept(types: list[str]) -> None:
    found = select_features(var(["CD3E", "MALAT1"], feature_type=types), "f")
    assert (found.kept_F, found.notes, len(found.var)) == (None, (), 2)


def test_a_file_of_peaks_is_refused() -> None:
    with pytest.raises(UserError, match=r"f: has no gene expression; its features are Peaks 2; give the file with"):
        select_features(var(["chr1:1-9", "chr2:1-9"], feature_types=["Peaks", "Peaks"]), "f")


@pytest.mark.parametrize(
    ("human", "mouse"),
    [("GRCh38_", "mm10___"), ("hg19_", "mm10_"), ("GRCh38_", "GRCm39_"), ("GRCh38-", "mm10---"), ("HUMAN_", "MOUSE_"),
     ("GRCh38.p13_", "GRCm38_____")],
)  # fmt: skip
def test_of_two_genomes_that_of_the_species_is_read(human: str, mouse: str) -> None:
    names = [f"{human}CD3E", f"{mouse}Cd3e", f"{human}HLA-A", f"{mouse}H2-K1"]
    ids = [f"{human}ENSG00000198851", f"{mouse}ENSMUSG00000032093", f"{human}ENSG00000206503", f"{mouse}ENSMUSG1"]
    found = select_features(var(names, gene_ids=ids), "f")
    assert found.var.index.tolist() == ["CD3E", "HLA-A"]
    assert found.var["gene_ids"].tolist() == ["ENSG00000198851", "ENSG00000206503"]
    assert "2 of 4 features belong to another genome" in found.notes[0]
    assert select_features(var(names, gene_ids=ids), "f", "mouse").var.index.tolist() == ["Cd3e", "H2-K1"]


def test_the_column_genome_and_the_type_are_both_read() -> None:
    table = var(
        ["CD4", "Cd4", "CD4_protein"],
        genome=["GRCh38", "mm10", ""],
        feature_types=["Gene Expression", "Gene Expression", "Antibody Capture"],
    )
    found = select_features(table, "f")
    assert found.var.index.tolist() == ["CD4"]
    assert len(found.notes) == 2


@pytest.mark.parametrize("genome", ["GRCh38", "GRCh38-2020-A", "hg19", "mm10", "my_genome", ""])
def test_a_single_genome_leaves_nothing_out(genome: str) -> None:
    found = select_features(var(["CD4", "CD8A"], genome=[genome, genome]), "f")
    assert (found.kept_F, found.notes, found.var.index.tolist()) == (None, (), ["CD4", "CD8A"])


@settings(max_examples=100, deadline=None)
@given(
    name=st.sampled_from(["CD3E", "HLA-DRA", "MT-CO1", "HS3ST1", "RN7SK", "MMP9", "HG-1", "CE10_X", "AC012.1", "MM1"])
)
def test_gene_names_are_not_taken_for_genomes(name: str) -> None:
    assert genome_prefix(name) is None
    assert select_features(var([name]), "f").var.index.tolist() == [name]


@pytest.mark.parametrize(
    ("column", "value"),
    [("organism", "Mus musculus"), ("Species", "mouse"), ("organism_ontology_term_id", "NCBITaxon:10090")],
)
def test_cells_that_obs_states_to_be_of_another_species_are_refused(column: str, value: str) -> None:
    obs = pd.DataFrame({column: pd.Categorical([value, "unknown", value])})
    with pytest.raises(
        UserError, match=rf"f: obs\['{column}'\] is '{value}' for 2 of 3 cells, and the model is for human"
    ):
        require_species(obs, "human", "f")
    require_species(obs, "mouse", "f")


def test_the_species_of_a_panel_follows_from_its_symbols() -> None:
    assert species_of(["CD3E", "MS4A1", "C1orf43", "GENE1"]) == "human"
    assert species_of(["Cd3e", "Ms4a1", "H2-K1"]) == "mouse"
    assert species_of(["ENSMUSG00000000001"]) == "mouse"
    assert species_of([]) == "human"


HUMAN = ["CD3D", "CD3E", "MS4A1", "LYZ", "C1orf112"]
MOUSE = ["Cd3d", "Cd3e", "Ms4a1", "Gm1992", "mt-Nd1"]


def test_genes_of_two_species_are_told_apart_by_how_they_are_written() -> None:
    assert mixed_species([[*HUMAN, *MOUSE]]) == ["human"] * 5 + ["mouse"] * 5
    assert mixed_species([["x", "y"], ["ENSG00000167286", "ENSMUSG00000032094"]]) == ["human", "mouse"]
    assert not any(mixed_species([HUMAN]) + mixed_species([MOUSE]) + mixed_species([]))
    assert not any(mixed_species([[*HUMAN, "Tumor", "Stroma"]]))  # capitalised, but no orthologues


@pytest.mark.parametrize(
    "names", [[*HUMAN, *MOUSE], [f"GRCh38_{name}" for name in HUMAN] + [f"mm10_{n}" for n in MOUSE]]
)
def test_cells_of_another_species_have_no_counts(names: list[str]) -> None:
    counts = np.zeros((3, 10), dtype=np.float32)
    counts[0, :5], counts[0, 5] = 4, 3  # human
    counts[1, 5:], counts[1, 0] = 4, 3  # mouse
    counts[2, :5], counts[2, 5:] = 1, 1  # as many of each: kept
    cells = AnnDataCells(AnnData(counts, var=pd.DataFrame(index=names)), "X")
    ((_, read),) = cells.chunks()
    assert cells.genes.tolist() == HUMAN
    assert read.sum(axis=1).ravel().tolist() == [[20, 0, 5]]
    (note,) = cells.notes
    assert note.startswith("5 of 10 features belong to another genome (m")
    assert "read as cells without counts (label `unknown`, reason `no counts`)" in note


def cite_seq() -> AnnData:
    """Three genes and two antibodies, one of which has the name of a gene."""
    rng = np.random.default_rng(0)
    counts = np.concatenate([rng.poisson(4, (40, 3)), rng.poisson(300, (40, 2))], axis=1).astype(np.float32)
    types = ["Gene Expression"] * 3 + ["Antibody Capture"] * 2
    table = pd.DataFrame({"feature_types": types}, index=["CD3E", "CD4", "MS4A1", "CD4", "CD19"])
    return AnnData(counts, obs=pd.DataFrame(index=[f"c{index}" for index in range(40)]), var=table)


def test_antibodies_enter_neither_genes_nor_library_sizes(tmp_path: Path) -> None:
    adata = cite_seq()
    genes = adata.X[:, :3]
    found = AnnDataCells(adata)
    ((start, chunk),) = found.chunks()
    np.testing.assert_array_equal(chunk.toarray(), genes)
    np.testing.assert_array_equal(choose_library_sizes(found.obs, None, "f").of_chunk(start, chunk), genes.sum(axis=1))
    adata.write_h5ad(tmp_path / "cells.h5ad")
    known = GeneMap({}, {}, frozenset({"CD3E", "CD4", "MS4A1"}))
    checked = inspect_cells(tmp_path / "cells.h5ad", known, CellColumns(library_size_column=None))
    summary = list(checked.summary())
    assert ("note", checked.notes[0]) in summary
    assert "2 of 5 features are not gene expression (Antibody Capture 2)" in checked.notes[0]
    assert checked.identity.merged == ()
    np.testing.assert_array_equal(checked.statistics.counts_N, genes.sum(axis=1))


def test_values_of_features_that_are_left_out_need_not_be_counts(tmp_path: Path) -> None:
    adata = cite_seq()
    adata.X[:, 3:] = np.log1p(adata.X[:, 3:])
    adata.write_h5ad(tmp_path / "cells.h5ad")
    with CellFile(tmp_path / "cells.h5ad") as file:
        assert file.counts_in == "X"
        assert [chunk.shape for _, chunk in file.chunks()] == [(40, 3)]
