"""Published networks: number of edges in the files and after cleaning, and time to read them."""

import time
from pathlib import Path

import pandas as pd
import pytest

from sctransformer.prior.comparison import compare
from sctransformer.prior.network import Network, read_network_table, write_network
from sctransformer.prior.readers import read_network
from tests.unit.prior.test_immune_network import reference_folder

pytestmark = pytest.mark.slow

SECONDS = 120
"""Upper limit for reading a network; it takes about two seconds on an idle machine."""


def read(file: str, name: str, **options: object) -> Network:
    path = reference_folder() / file
    start = time.perf_counter()
    network = read_network(path, name=name, **options)  # type: ignore[arg-type]
    seconds = time.perf_counter() - start
    print(f"\n{file}: {seconds:.2f} s; {network.repairs}")
    assert seconds < SECONDS
    return network


def regulators_in(file: str) -> int:
    path = reference_folder() / file
    table = pd.read_parquet(path) if file.endswith("parquet") else pd.read_csv(path, sep="\t")
    return int(table["tf"].nunique())


def test_collectri_has_its_edges_and_complexes_are_replaced_by_their_members() -> None:
    network = read("collectri_human.tsv.gz", "collectri", file_format="collectri")
    assert (network.repairs.lines, regulators_in("collectri_human.tsv.gz")) == (43_178, 1_186)
    nfkb, ap1 = network.repairs.complexes
    assert (nfkb.name, nfkb.edges, nfkb.expanded) == ("NFKB", 799, 3_995)
    assert (ap1.name, ap1.edges, ap1.expanded) == ("AP1", 596, 4_172)
    repairs = network.repairs
    assert (repairs.self_edges, repairs.merged) == (471, 1_702)
    assert len(network) == 43_178 - 799 - 596 + 3_995 + 4_172 - 471 - 1_702 == 47_777
    assert len(network.regulators) == 1_176  # ten fewer: two complexes, and regulators with only a self-edge
    assert repairs.sign_ties == (network.edges["sign"] == 0).sum() == 85


@pytest.mark.parametrize(("levels", "edges"), [("", 454_504), ("ABC", 13_223)])
def test_dorothea_has_its_edges_and_levels(levels: str, edges: int) -> None:
    network = read("dorothea_human_AE.tsv.gz", "dorothea", levels=list(levels))
    assert len(network) == network.repairs.lines == edges
    assert regulators_in("dorothea_human_AE.tsv.gz") == 1_333
    assert len(network.regulators) == (271 if levels else 1_333)
    assert network.edges["confidence"].value_counts().loc[[1.0, 1 / 2, 1 / 3]].tolist() == [5_434, 974, 6_815]


def test_trrust_has_its_edges_and_its_unknown_signs() -> None:
    network = read("trrust_human_via_dorothea.tsv.gz", "trrust", file_format="trrust")
    assert (network.repairs.lines, regulators_in("trrust_human_via_dorothea.tsv.gz")) == (7_041, 523)
    assert (len(network), len(network.regulators), network.repairs.self_edges) == (7_019, 522, 22)
    assert set(network.edges["sign"]) == {-1, 0, 1}


def test_remap_has_its_edges_and_no_signs() -> None:
    network = read("remap_chipseq_human.parquet", "remap", file_format="chip")
    assert (network.repairs.lines, regulators_in("remap_chipseq_human.parquet")) == (129_787, 296)
    assert (len(network), len(network.regulators), network.repairs.self_edges) == (129_694, 296, 93)
    assert set(network.edges["sign"]) == {0}


def test_collectri_contains_most_of_trrust_and_shares_few_edges_with_remap(tmp_path: Path) -> None:
    collectri = read("collectri_human.tsv.gz", "collectri")
    trrust = read("trrust_human_via_dorothea.tsv.gz", "trrust")
    remap = read("remap_chipseq_human.parquet", "remap")
    assert compare(collectri, trrust)["edges_shared"] / len(trrust) > 0.9
    assert compare(collectri, trrust)["sign_agreement"] > 0.9
    assert 1_500 < compare(collectri, remap)["edges_shared"] < 3_000
    write_network(collectri, tmp_path / "collectri.tsv")
    pd.testing.assert_frame_equal(read_network_table(tmp_path / "collectri.tsv", {}).edges, collectri.edges)
