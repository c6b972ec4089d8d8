"""Coverage of the genes of each public dataset by each public network."""

from pathlib import Path

import numpy as np
import pytest

from sctransformer.data.cells import CellFile
from sctransformer.data.gene_map import read_gene_map
from sctransformer.data.genes import identify
from sctransformer.data.ingest import ingest
from sctransformer.data.panel import choose_panel
from sctransformer.data.prepared import training_moments
from sctransformer.data.settings import CellColumns
from sctransformer.prior.coverage import coverage
from sctransformer.prior.network import Network
from sctransformer.prior.readers import read_network
from tests.conftest import reference_folder

pytestmark = pytest.mark.slow

NETWORKS = {
    "collectri": ("collectri_human.tsv.gz", ()),
    "dorothea": ("dorothea_human_AE.tsv.gz", ("A", "B", "C")),
    "trrust": ("trrust_human_via_dorothea.tsv.gz", ()),
    "remap": ("remap_chipseq_human.parquet", ()),
}
# edges among all genes; edges, regulators and regulated genes of a panel of 1,024
EXPECTED = {
    ("muscat_kang_se", "collectri"): (632, 632, 45, 265),
    ("muscat_kang_se", "dorothea"): (141, 141, 16, 103),
    ("muscat_kang_se", "trrust"): (104, 104, 20, 75),
    ("muscat_kang_se", "remap"): (646, 646, 20, 235),
    # the file names the genes TAP2, PNRC2, CLN3, PSMA2 and TMBIM4 with an added number only (`TAP2.1`)
    ("mudan_sorted_pbmc", "collectri"): (13452, 3062, 95, 546),
    ("mudan_sorted_pbmc", "dorothea"): (5054, 1063, 72, 532),
    ("mudan_sorted_pbmc", "trrust"): (1945, 1200, 89, 527),
    ("mudan_sorted_pbmc", "remap"): (43133, 3276, 70, 536),
}


@pytest.fixture(scope="module")
def networks() -> dict[str, Network]:
    folder = reference_folder() / "prior"
    return {name: read_network(folder / file, levels=levels) for name, (file, levels) in NETWORKS.items()}


@pytest.mark.parametrize(("cells", "n_cells"), [("muscat_kang_se", 12261), ("mudan_sorted_pbmc", 2140)])
def test_each_dataset_can_use_each_network(
    cells: str, n_cells: int, networks: dict[str, Network], tmp_path: Path
) -> None:
    known = read_gene_map()
    with CellFile(reference_folder() / "h5ad" / f"{cells}.h5ad") as file:
        identity = identify(file.var, known, cells)
        sides = ingest(
            file, identity, CellColumns(library_size_column=None), tmp_path / "kept.h5ad", tmp_path / "new.h5ad", 0.0, 0
        )
    assert sides == (n_cells, 0)
    with CellFile(tmp_path / "kept.h5ad") as file:
        moments = training_moments(file, np.ones(n_cells, dtype=bool))
        genes = file.genes.tolist()
    for name, network in networks.items():
        panel = choose_panel(moments, genes, network.pairs, 1024)
        metrics = coverage(network, panel["gene"].tolist())
        found = (
            len(network.among(set(genes))),
            metrics["edges_kept"],
            metrics["regulators_kept"],
            metrics["genes_with_regulator"],
        )
        print(f"{cells} {name}: {found}")
        assert found == EXPECTED[cells, name]
        assert len(panel) == 1024
        assert panel["is_regulator"].sum() == metrics["regulators_kept"]
