"""Held-out edges: targets that follow the other targets of their regulator."""

import numpy as np
import pytest
from scipy import sparse

from sctransformer.evaluation.held_out_edges import held_out_correlation, unit_columns
from sctransformer.evaluation.prior_score import expressed_genes, network_matrix, score_network
from tests.regulated_cells import regulated_cells
from tests.unit.evaluation.test_prior_score import counted


def test_held_out_edges_of_a_network_that_cells_follow_beat_rewired_networks() -> None:
    regulated = regulated_cells()
    cells, network = expressed_genes(counted(regulated), regulated.network, 5)
    card = score_network(network, cells, hidden_edges=0.2, shuffles=20)
    edges = {one.name: one for one in card.measurements}["hidden edges"]
    assert edges.passed
    assert edges.network > 0.2
    assert edges.without_network == 0.0, "the regulators' own genes are not measured"
    assert int(edges.detail.split()[0]) == pytest.approx(0.2 * len(network), rel=0.6)
    assert all(abs(value) < edges.network for value in edges.shuffled)


def test_a_held_out_target_is_not_in_the_mean_of_the_others() -> None:
    """Genes that do not vary together have no correlation, however many of them there are."""
    rng = np.random.default_rng(0)
    z_NG, weight_RG = rng.normal(size=(2000, 40)), sparse.csr_matrix(np.ones((1, 40)))
    found = held_out_correlation(weight_RG, z_NG, np.zeros((2000, 1)), 0.5, 0)
    assert found.edges > 10
    assert abs(found.mean) < 0.02
    assert held_out_correlation(weight_RG, z_NG, np.zeros((2000, 1)), 0.0, 0).mean == 0.0


def test_the_sign_of_an_edge_counts() -> None:
    rng = np.random.default_rng(0)
    common_N1, sign_G = rng.normal(size=(500, 1)), np.array([1.0, -1.0] * 10)
    z_NG = common_N1 * sign_G + rng.normal(size=(500, 20))
    right, wrong = (
        held_out_correlation(sparse.csr_matrix(signs[None]), z_NG, common_N1, 0.3, 0)
        for signs in (sign_G, np.roll(sign_G, 1))
    )
    assert right.mean > 0.5
    assert right.own > 0.5
    assert wrong.own < -0.5


def test_a_constant_column_stays_zero() -> None:
    assert unit_columns(np.ones((4, 2))).tolist() == [[0.0, 0.0]] * 4


def test_the_matrix_of_a_network_has_a_weight_for_each_edge() -> None:
    regulated = regulated_cells()
    assert network_matrix(regulated.network, regulated.genes).nnz == len(regulated.network)
