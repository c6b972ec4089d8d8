"""Attention along edges: equal to dense masked softmax attention, whatever the order of edges and cells."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sctransformer.model.edge_attention import EdgeAttention, buckets
from sctransformer.model.layers import INITIAL_SCALE


class Case(NamedTuple):
    """Random edges with random numbers, and the values of the keys."""

    query_J: NDArray[np.int64]
    key_J: NDArray[np.int64]
    numbers_3J: NDArray[np.float32]
    """Score, slope and weight."""
    value_KN: NDArray[np.float32]
    n_queries: int

    def attention(self) -> EdgeAttention:
        """The module with these numbers."""
        score_J, slope_J, weight_J = self.numbers_3J
        layer = EdgeAttention(self.query_J, self.key_J, self.n_queries, weight_J)
        with torch.no_grad():
            layer.score_J.copy_(torch.from_numpy(score_J))
            layer.slope_J.copy_(torch.from_numpy(slope_J))
        return layer

    def output(self, shown_KN: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Output of the module, queries x cells."""
        shown = None if shown_KN is None else torch.from_numpy(shown_KN)
        value_KN = self.value_KN if shown_KN is None else self.value_KN * shown_KN
        with torch.no_grad():
            return self.attention()(torch.from_numpy(value_KN), shown).numpy()

    def reordered(self, order_J: NDArray[np.integer]) -> "Case":
        """The same edges in another order."""
        return self._replace(
            query_J=self.query_J[order_J], key_J=self.key_J[order_J], numbers_3J=self.numbers_3J[:, order_J]
        )


def case_of(n_queries: int, n_keys: int, density: float, seed: int, n_cells: int = 5, scores: float = 1.0) -> Case:
    """Edges at random, in random order."""
    rng = np.random.default_rng(seed)
    pairs_J2 = rng.permutation(np.argwhere(rng.random((n_queries, n_keys)) < density))
    numbers_3J = rng.normal(size=(3, len(pairs_J2))) * np.array([[2.0 * scores], [scores], [1.0]])
    value_KN = rng.normal(size=(n_keys, n_cells)) * 1.5
    return Case(pairs_J2[:, 0], pairs_J2[:, 1], numbers_3J.astype(np.float32), value_KN.astype(np.float32), n_queries)


def dense(case: Case, shown_KN: NDArray[np.float32] | None = None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Queries x keys attention with masked softmax, written out: output (queries x cells) and weights of the edges."""
    n_keys, n_cells = case.value_KN.shape
    value_KN = case.value_KN.astype(np.float64)
    shown_KN = np.ones((n_keys, 1)) if shown_KN is None else shown_KN
    shown_KN = np.broadcast_to(shown_KN, (n_keys, n_cells))
    matrix_3QK = np.zeros((3, case.n_queries, n_keys))
    is_edge_QK = np.zeros((case.n_queries, n_keys), dtype=bool)
    matrix_3QK[:, case.query_J, case.key_J] = case.numbers_3J
    is_edge_QK[case.query_J, case.key_J] = True
    output_QN, weight_QKN = np.zeros((case.n_queries, n_cells)), np.zeros((case.n_queries, n_keys, n_cells))
    for cell in range(n_cells):
        open_QK = is_edge_QK & (shown_KN[:, cell] > 0)
        score_QK = np.where(open_QK, matrix_3QK[0] + matrix_3QK[1] * value_KN[:, cell], -np.inf)
        for query in np.flatnonzero(open_QK.any(axis=1)):
            exp_K = np.exp(score_QK[query] - score_QK[query].max())
            weight_QKN[query, :, cell] = exp_K / exp_K.sum()
            message_K = matrix_3QK[2, query] * value_KN[:, cell]
            output_QN[query, cell] = np.sqrt(open_QK[query].sum()) * (weight_QKN[query, :, cell] * message_K).sum()
    return output_QN, weight_QKN[case.query_J, case.key_J]


CASES = st.builds(
    case_of,
    n_queries=st.integers(1, 8),
    n_keys=st.integers(1, 25),
    density=st.sampled_from([0.0, 0.05, 0.3, 1.0]),
    seed=st.integers(0, 10_000),
)


@settings(max_examples=60, deadline=None)
@given(case=CASES, hidden=st.sampled_from(["none", "of all cells", "by cell", "all"]))
def test_attention_along_edges_equals_dense_masked_softmax_attention(case: Case, hidden: str) -> None:
    """Also with hidden keys, and for queries without edges or without shown keys, which get zero."""
    rng = np.random.default_rng(0)
    shape = {"of all cells": (len(case.value_KN), 1), "by cell": case.value_KN.shape, "all": case.value_KN.shape}
    shown_KN = None
    if hidden != "none":
        shown_KN = (rng.random(shape[hidden]) < (0.0 if hidden == "all" else 0.6)).astype(np.float32)
    expected_QN, weight_JN = dense(case, shown_KN)
    np.testing.assert_allclose(case.output(shown_KN), expected_QN, rtol=1e-4, atol=2e-5)
    value_KN = case.value_KN if shown_KN is None else case.value_KN * shown_KN
    shown = None if shown_KN is None else torch.from_numpy(shown_KN)
    with torch.no_grad():
        found_JN = case.attention().attention_weights(torch.from_numpy(value_KN), shown)
    np.testing.assert_allclose(found_JN.numpy(), weight_JN, rtol=1e-4, atol=1e-5)
    if shown_KN is not None:
        counted = np.zeros((case.n_queries, shown_KN.shape[1]))
        np.add.at(counted, case.query_J, shown_KN[case.key_J])
        assert np.array_equal(case.attention().n_shown(torch.from_numpy(shown_KN)).numpy(), counted)


@pytest.mark.parametrize("n_edges", [1, 2, 5, 9, 300, 2000])
def test_a_query_may_have_one_edge_or_thousands(n_edges: int) -> None:
    """Beside a query with one edge and one without edges."""
    rng = np.random.default_rng(n_edges)
    query_J = np.array([*[1] * n_edges, 2], dtype=np.int64)
    key_J = np.array([*rng.permutation(n_edges), 0], dtype=np.int64)
    numbers_3J = rng.normal(size=(3, n_edges + 1)).astype(np.float32)
    case = Case(query_J, key_J, numbers_3J, rng.normal(size=(n_edges, 3)).astype(np.float32), 3)
    expected_QN, _ = dense(case)
    np.testing.assert_allclose(case.output(), expected_QN, rtol=1e-4, atol=1e-4)
    assert not case.output()[0].any()


@pytest.mark.parametrize("score", [-40.0, -20.0, -5.0, 0.0, 20.0])
def test_only_differences_of_scores_count(score: float) -> None:
    """Softmax does not change if all scores of a query do, so the only edge of a query has the weight 1."""
    case = case_of(4, 10, 0.3, seed=1)
    expected_QN, _ = dense(case)
    shifted_3J = case.numbers_3J + np.array([[score], [0.0], [0.0]], dtype=np.float32)
    np.testing.assert_allclose(case._replace(numbers_3J=shifted_3J).output(), expected_QN, rtol=1e-4, atol=1e-5)
    alone = Case(np.array([0]), np.array([0]), np.array([[score], [0.0], [2.0]], np.float32), np.ones((1, 1)), 1)
    alone = alone._replace(value_KN=np.full((1, 1), 3.0, dtype=np.float32))
    np.testing.assert_allclose(alone.output(), [[6.0]], rtol=1e-5)


def test_large_scores_stay_finite() -> None:
    case = case_of(4, 30, 0.5, seed=2, scores=100.0)
    layer, value_KN = case.attention(), torch.from_numpy(case.value_KN)
    output_QN = layer(value_KN)
    output_QN.sum().backward()
    assert torch.isfinite(output_QN).all()
    for parameter in layer.parameters():
        assert torch.isfinite(parameter.grad).all()  # type: ignore[arg-type]


@settings(max_examples=30, deadline=None)
@given(case=CASES, seed=st.integers(0, 100))
def test_the_order_of_edges_and_cells_does_not_matter(case: Case, seed: int) -> None:
    rng = np.random.default_rng(seed)
    order_J, order_N = rng.permutation(len(case.key_J)), rng.permutation(case.value_KN.shape[1])
    np.testing.assert_allclose(case.reordered(order_J).output(), case.output(), rtol=1e-5, atol=1e-5)
    other = case._replace(value_KN=case.value_KN[:, order_N])
    np.testing.assert_allclose(other.output(), case.output()[:, order_N], rtol=1e-6, atol=1e-6)
    alone = case._replace(value_KN=case.value_KN[:, :1])
    np.testing.assert_allclose(alone.output(), case.output()[:, :1], rtol=1e-6, atol=1e-6)


def test_a_query_reads_the_keys_of_its_edges_only() -> None:
    case = case_of(6, 20, 0.2, seed=4)
    before = case.output()
    for key in range(20):
        value_KN = case.value_KN.copy()
        value_KN[key] += 3.0
        changed = (case._replace(value_KN=value_KN).output() != before).any(axis=1)
        assert set(np.flatnonzero(changed)) == set(case.query_J[case.key_J == key])


def test_gradients_are_those_of_dense_attention() -> None:
    """With hidden keys, for score, slope and weight of each edge."""
    case, rng = case_of(5, 12, 0.4, seed=5), np.random.default_rng(6)
    shown_KN = (rng.random(case.value_KN.shape) < 0.7).astype(np.float32)
    factor_QN = rng.normal(size=(5, 5)).astype(np.float32)
    layer = case.attention()
    output_QN = layer(torch.from_numpy(case.value_KN * shown_KN), torch.from_numpy(shown_KN))
    (output_QN * torch.from_numpy(factor_QN)).sum().backward()
    step = 1e-3
    for row, parameter in enumerate((layer.score_J, layer.slope_J, layer.weight_J)):
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0.1
        for edge in range(0, len(case.key_J), 5):
            sums = []
            for sign in (1.0, -1.0):
                numbers_3J = case.numbers_3J.astype(np.float64)
                numbers_3J[row, edge] += sign * step
                sums.append((dense(case._replace(numbers_3J=numbers_3J), shown_KN)[0] * factor_QN).sum())
            difference = (sums[0] - sums[1]) / (2 * step)
            np.testing.assert_allclose(float(parameter.grad[edge]), difference, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("learns_scale", [False, True])
def test_the_prior_is_added_to_the_scores(learns_scale: bool) -> None:
    case = case_of(4, 10, 0.6, seed=7)
    bias_J = np.random.default_rng(8).random(len(case.key_J)).astype(np.float32)
    layer = EdgeAttention(case.query_J, case.key_J, 4, case.numbers_3J[2], bias_J, learns_scale)
    scale = INITIAL_SCALE if learns_scale else 1.0
    plain = case._replace(numbers_3J=np.stack([scale * bias_J, 0 * bias_J, case.numbers_3J[2]]))
    with torch.no_grad():
        found = layer(torch.from_numpy(case.value_KN))
    np.testing.assert_allclose(found.numpy(), dense(plain)[0], rtol=1e-4, atol=1e-5)
    assert (layer.scale is not None) == learns_scale
    layer(torch.from_numpy(case.value_KN)).sum().backward()
    if learns_scale:
        assert layer.raw_scale is not None
        assert layer.raw_scale.grad is not None
        assert layer.raw_scale.grad.abs() > 0


@settings(max_examples=30, deadline=None)
@given(case=CASES)
def test_buckets_hold_each_edge_once(case: Case) -> None:
    """Queries without edges are in none, and padding is at most about a third."""
    found = buckets(case.query_J, case.key_J)
    lengths = [bucket.key_QJ.shape[1] for bucket in found]
    assert lengths == sorted(set(lengths))
    edges, queries = [], []
    for bucket in found:
        open_QJ = bucket.open_QJ > 0
        queries += bucket.query_Q.tolist()
        query_QJ = bucket.query_Q[:, None].expand_as(open_QJ)
        edge_J = bucket.edge_QJ[open_QJ].numpy()
        edges += edge_J.tolist()
        assert np.array_equal(case.query_J[edge_J], query_QJ[open_QJ].numpy())
        assert np.array_equal(case.key_J[edge_J], bucket.key_QJ[open_QJ].numpy())
        assert open_QJ.any(dim=1).all()
        assert open_QJ.sum(dim=1).min() * 1.6 + 1 > open_QJ.shape[1]
    assert sorted(edges) == list(range(len(case.key_J)))
    assert sorted(queries) == sorted(set(case.query_J.tolist()))
