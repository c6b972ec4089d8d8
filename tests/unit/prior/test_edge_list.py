"""The edges that a model attends along: sorted, signed, without self-edges and without small regulators."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from sctransformer.prior.edge_list import EdgeList, edge_list
from sctransformer.prior.network import Network
from tests.conftest import GENES
from tests.regulated_cells import SIGNED_EDGES, edges_of_panel

MODES = ["mask", "bias", "regulators"]


def columns(*rows: tuple[str, str, int, float]) -> dict[str, list[object]]:
    """Columns of edges."""
    names = ("regulator", "target", "sign", "confidence")
    return {name: [row[index] for row in rows] for index, name in enumerate(names)}


def pairs(edges: EdgeList, genes: list[str]) -> list[tuple[str, str, float]]:
    """(regulator, target, weight) of each edge."""
    ends = zip(edges.regulator_J, edges.target_J, edges.weight_J, strict=True)
    return [(edges.regulators[row], genes[target], round(float(weight), 6)) for row, target, weight in ends]


def test_weights_are_sign_times_confidence() -> None:
    """An unknown sign counts as activation; the regulator Z is not a gene of the panel."""
    genes = ["A", "B", "C"]
    edges = columns(("Z", "C", -1, 0.4), ("Z", "A", 1, 1.0), ("A", "C", 0, 0.7), ("A", "OTHER", 1, 1.0))
    found = edge_list(edges, genes, "mask")
    assert pairs(found, genes) == [("A", "C", 0.7), ("Z", "A", 1.0), ("Z", "C", -0.4)]
    assert not found.bias_J.any()
    assert (len(found), found.n_genes, found.n_regulators) == (3, 3, 2)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), mode=st.sampled_from(MODES))
def test_the_order_of_the_network_does_not_matter(seed: int, mode: str) -> None:
    mixed = edges_of_panel(mode, SIGNED_EDGES.sample(frac=1.0, random_state=seed))
    for one, other in zip(mixed.tensors().values(), edges_of_panel(mode).tensors().values(), strict=True):
        assert np.array_equal(one, other)
    assert mixed.regulators == edges_of_panel(mode).regulators == sorted(mixed.regulators)


@pytest.mark.parametrize("mode", MODES)
def test_regulators_with_few_targets_in_the_panel_are_left_out(mode: str) -> None:
    """Targets outside the panel and a regulator as its own target do not count."""
    genes = ["A", "B", "C"]
    rows = [("A", "B", 1, 1.0), ("A", "C", 1, 1.0), ("B", "B", 1, 1.0), ("B", "C", 1, 1.0), ("C", "C", -1, 1.0)]
    rows += [("Z", "A", 1, 1.0), ("Z", "OTHER", 1, 1.0), ("Z", "OTHER2", 1, 1.0)]
    for least, left in ((1, ["A", "B", "Z"]), (2, ["A"]), (3, [])):
        assert edge_list(columns(*rows), genes, mode, min_targets=least).regulators == left


def test_a_regulator_may_have_two_thousand_targets() -> None:
    genes = [f"G{index}" for index in range(2001)]
    found = edge_list(columns(*[("G0", gene, 1, 1.0) for gene in genes], ("Z", "G0", 1, 1.0)), genes, "mask")
    assert np.bincount(found.regulator_J).tolist() == [2000, 1]


@pytest.mark.parametrize("mode", ["bias", "regulators"])
def test_open_modes_hold_all_pairs_but_a_regulator_and_itself(mode: str) -> None:
    found, masked = edges_of_panel(mode), edges_of_panel("mask")
    assert len(found) == 5 * 24 - 4
    assert not any(regulator == target for regulator, target, _ in pairs(found, GENES))
    if mode == "bias":
        assert [edge for edge in pairs(found, GENES) if edge[2] != 0] == pairs(masked, GENES)
    else:
        assert not found.weight_J.any()
    assert np.array_equal(found.bias_J, np.abs(found.weight_J))


@pytest.mark.parametrize("mode", MODES)
def test_a_file_gives_the_edges_back(mode: str, tmp_path: Path) -> None:
    edges, file = edges_of_panel(mode), tmp_path / "prior.safetensors"
    save_file(edges.tensors(), file, edges.metadata())
    with safe_open(file, "np") as stored:
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        found = EdgeList.from_tensors(tensors, stored.metadata())
    assert (found.regulators, found.n_genes) == (edges.regulators, edges.n_genes)
    for one, other in zip(found.tensors().values(), edges.tensors().values(), strict=True):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)


def test_a_network_is_restricted_to_the_targets_of_a_panel() -> None:
    """A regulator need not be in the panel; it needs enough targets there."""
    rows = [("A", "B"), ("A", "C"), ("B", "C"), ("Z", "B"), ("Z", "C"), ("Z", "OTHER")]
    frame = pd.DataFrame(rows, columns=["regulator", "target"]).assign(sign=1, confidence=1.0, sources="x")
    network = Network(frame)
    assert network.onto({"B", "C"}, 2).pairs == [("A", "B"), ("A", "C"), ("Z", "B"), ("Z", "C")]
    assert network.onto({"B", "C"}, 1).pairs == rows[:5]
    assert len(network.onto({"B", "C"}, 3)) == 0
    assert len(network.onto(set(), 1)) == 0
    assert network.onto({"B"}, 1).edges.index.tolist() == [0, 1]
