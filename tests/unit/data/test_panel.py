"""The gene panel and the prepared cells."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from sctransformer._constants import OBS
from sctransformer.data.cells import CellFile, read_cells
from sctransformer.data.normalise import log1p_cp10k
from sctransformer.data.panel import choose_expressed_panel, choose_panel
from sctransformer.data.prepared import class_names, select_split, training_moments, write_prepared
from sctransformer.data.splits import stratified_splits
from sctransformer.errors import UserError
from sctransformer.files import sha256_file
from tests.conftest import EDGES, GENES, simulated_cells
from tests.unit.data.test_moments import moments_of


def panel_of(budget: int, counts: sparse.csr_matrix | None = None) -> pd.DataFrame:
    cells = simulated_cells()
    moments = moments_of(cells.X if counts is None else counts, cells.obs[OBS.library_size].to_numpy())
    return choose_panel(moments, GENES, EDGES, budget)


@pytest.mark.parametrize("budget", [6, 12, 24, 1000])
def test_a_panel_keeps_to_its_size_and_has_regulators_first(budget: int) -> None:
    panel = panel_of(budget)
    assert len(panel) == min(budget, len(GENES))
    assert panel["gene"].is_unique
    flags = panel["is_regulator"].tolist()
    assert flags == sorted(flags, reverse=True)
    chosen = set(panel["gene"])
    assert set(panel.loc[panel["is_regulator"], "gene"]) == {r for r, t in EDGES if r in chosen and t in chosen}
    pd.testing.assert_frame_equal(panel, panel_of(budget))


def test_genes_not_expressed_in_training_cells_are_left_out() -> None:
    counts = simulated_cells().X.tolil()
    counts[:, 7] = 0
    assert "GENE7" not in set(panel_of(1000, counts.tocsr())["gene"])


def test_a_network_without_genes_of_the_cells_is_refused() -> None:
    cells = simulated_cells()
    moments = moments_of(cells.X, cells.obs[OBS.library_size].to_numpy())
    with pytest.raises(UserError, match="no edge with both ends"):
        choose_panel(moments, GENES, [("X", "Y")], 10)


def expressed_panel(counts: sparse.csr_matrix, budget: int = 100) -> pd.DataFrame:
    moments = moments_of(counts, simulated_cells().obs[OBS.library_size].to_numpy())
    return choose_expressed_panel(moments, GENES, [*EDGES, ("OUTSIDE", GENES[10])], budget)


def test_a_panel_of_expressed_genes_has_all_of_them() -> None:
    counts = simulated_cells().X.tolil()
    counts[:, 7] = 0
    counts[1:, 2] = 0
    counts[0, 2] = 3  # a regulator that one cell of ninety expresses
    panel = expressed_panel(counts.tocsr())
    assert set(panel["gene"]) == set(GENES) - {"GENE7"}
    assert panel.loc[panel["gene"] == GENES[2], "criterion"].tolist() == ["regulator"]
    assert panel.loc[panel["gene"] == GENES[10], "is_regulated"].tolist() == [True]  # OUTSIDE need not be a gene


def test_rare_genes_are_left_out_unless_they_are_regulators() -> None:
    cells = simulated_cells(400)
    counts = cells.X.tolil()
    for gene in (2, 23):
        counts[:, gene] = 0
        counts[0, gene] = 3  # one cell of 400 is less than 0.5 %
    moments = moments_of(counts.tocsr(), cells.obs[OBS.library_size].to_numpy())
    panel = choose_expressed_panel(moments, GENES, EDGES)
    assert set(GENES) - set(panel["gene"]) == {GENES[23]}


def test_a_budget_keeps_the_network_and_then_the_most_variable_genes() -> None:
    panel = expressed_panel(simulated_cells().X, 12)
    assert len(panel) == 12
    in_network = {gene for edge in EDGES for gene in edge} | {GENES[10]}
    assert set(panel["gene"]) <= in_network if len(in_network) >= 12 else in_network <= set(panel["gene"])


def test_a_network_without_targets_among_the_cells_is_refused() -> None:
    cells = simulated_cells()
    moments = moments_of(cells.X, cells.obs[OBS.library_size].to_numpy())
    with pytest.raises(UserError, match="no edge to the 24 genes"):
        choose_expressed_panel(moments, GENES, [(GENES[0], "Y")])


def test_prepared_cells_follow_the_panel_and_the_split(cells: AnnData, tmp_path: Path) -> None:
    cells.write_h5ad(tmp_path / "cells.h5ad")
    split = stratified_splits(cells.obs[OBS.cell_type], 0.2, 0.2, 0)
    training = np.asarray(split == "train")
    with CellFile(tmp_path / "cells.h5ad") as file:
        panel = choose_panel(training_moments(file, training), GENES, EDGES, 12)
        for name in ("one.h5ad", "two.h5ad"):
            write_prepared(file, split, panel, tmp_path / name)
    assert sha256_file(tmp_path / "one.h5ad") == sha256_file(tmp_path / "two.h5ad")
    prepared = read_cells(tmp_path / "one.h5ad")
    assert list(prepared.var_names) == panel["gene"].tolist()
    part = select_split(prepared, "test")
    chosen = cells[np.asarray(split == "test")]
    assert np.array_equal(part.counts_NG, chosen[:, panel["gene"]].X.toarray())
    assert [class_names(prepared)[label] for label in part.labels_N] == chosen.obs[OBS.cell_type].tolist()
    logged = log1p_cp10k(cells[training].X, cells[training].obs[OBS.library_size].to_numpy()).toarray()
    by_gene = dict(zip(GENES, logged.mean(axis=0), strict=True))
    np.testing.assert_allclose(panel["mean"], [by_gene[gene] for gene in panel["gene"]])
