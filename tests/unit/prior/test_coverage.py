"""Coverage of a gene panel by a network: metrics, tables and plot."""

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings

from sctransformer.prior.coverage import coverage, degree_distribution, degrees
from sctransformer.prior.network import Network, repaired
from sctransformer.prior.plots import plot_coverage
from sctransformer.prior.repairs import Repairs
from tests.unit.prior.prior_strategies import GENES, frame, networks

ROWS = [("A", "B", 1, 1.0, "x"), ("A", "C", -1, 1.0, "x"), ("X", "B", 1, 1.0, "x"), ("A", "Y", 1, 1.0, "x")]
NETWORK = repaired(frame(ROWS), "x", Repairs())


def test_coverage_counts_edges_and_genes_of_the_panel() -> None:
    metrics = coverage(NETWORK, ["A", "B", "C", "D"])
    assert metrics["edges"] == 4
    assert metrics["edges_kept"] == 2
    assert metrics["regulators_kept"] == 1
    assert metrics["genes_with_regulator_share"] == 0.5
    assert metrics["used_share"] == 0.5
    assert coverage(NETWORK, ["A", "B", *(f"G{index}" for index in range(98))])["used_share"] == 0.25
    assert metrics["activating_share"] == 0.5
    assert degrees(NETWORK, ["A", "B", "C"]).to_dict("list") == {"regulator": ["A"], "targets": [2]}


def test_coverage_of_a_panel_without_edges_is_zero() -> None:
    metrics = coverage(NETWORK, ["Q"])
    zero = (
        "edges_kept",
        "genes_with_regulator_share",
        "used_share",
        "regulators_per_regulated_gene",
        "activating_share",
    )
    assert [metrics[name] for name in zero] == [0] * 5
    assert degree_distribution(NETWORK, ["Q"]).to_numpy().tolist() == [[0, 1, 1]]
    assert degrees(NETWORK, ["Q"]).empty


@pytest.mark.parametrize("genes", [["A", "B", "C"], ["Q"]])
def test_the_plot_is_written_with_and_without_covered_genes(genes: list[str], tmp_path: Path) -> None:
    target = tmp_path / "coverage.png"
    plot_coverage(coverage(NETWORK, genes), degree_distribution(NETWORK, genes), degrees(NETWORK, genes), target)
    assert target.read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == [target]


def test_the_degree_distribution_counts_genes() -> None:
    table = degree_distribution(NETWORK, ["A", "B", "C", "X"])
    expected = {"degree": [0, 1, 2], "genes_with_in_degree": [2, 1, 1], "genes_with_out_degree": [2, 1, 1]}
    pd.testing.assert_frame_equal(table, pd.DataFrame(expected), check_dtype=False)


@given(networks)
@settings(max_examples=50, deadline=None)
def test_degrees_sum_to_the_number_of_edges(network: Network) -> None:
    table = degree_distribution(network, GENES)
    for column in ("genes_with_in_degree", "genes_with_out_degree"):
        assert table[column].sum() == len(GENES)
        assert (table[column] * table["degree"]).sum() == len(network)
    assert degrees(network, GENES)["targets"].sum() == len(network) == coverage(network, GENES)["edges_kept"]
