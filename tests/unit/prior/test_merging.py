"""Merging and comparing networks, with property tests."""

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sctransformer.errors import UserError
from sctransformer.prior.comparison import compare
from sctransformer.prior.merging import intersection, union, vote, votes_needed
from sctransformer.prior.network import Network, repaired
from sctransformer.prior.repairs import Repairs
from tests.unit.prior.prior_strategies import frame, networks

quick = settings(max_examples=30, deadline=None)


def network(*rows: tuple[str, str, int, float], source: str = "test") -> Network:
    return repaired(frame([(*row, source) for row in rows]), source, Repairs())


def test_a_union_combines_confidences_signs_and_sources() -> None:
    first = network(("A", "B", 1, 0.5), ("A", "C", 0, 1.0), source="first")
    second = network(("A", "B", -1, 0.9), ("A", "D", 1, 0.4), source="second")
    merged = union({"first": first, "second": second}, {"second": 0.5}).edges
    assert merged["target"].tolist() == ["B", "C", "D"]
    assert merged["confidence"].tolist() == pytest.approx([1 - 0.5 * 0.55, 1.0, 0.2])
    assert merged["sign"].tolist() == [1, 0, 1]  # 0.5 for activation, 0.45 against
    assert merged["sources"].tolist() == ["first;second", "first", "second"]


def test_a_vote_counts_networks() -> None:
    three = {
        "x": network(("A", "B", 1, 1.0), ("A", "C", 1, 1.0)),
        "y": network(("A", "B", 1, 1.0), ("A", "D", 1, 1.0)),
        "z": network(("A", "B", 1, 1.0), ("A", "C", 1, 1.0)),
    }
    assert vote(three, 2).pairs == [("A", "B"), ("A", "C")]
    assert vote(three, 3).pairs == [("A", "B")]


@given(networks)
@quick
def test_the_union_of_a_network_with_itself_has_its_pairs_and_signs(one: Network) -> None:
    both = union({"one": one, "again": one})
    assert both.pairs == one.pairs
    assert both.edges["sign"].tolist() == one.edges["sign"].tolist()
    assert (both.edges["confidence"] >= one.edges["confidence"]).all()
    pd.testing.assert_frame_equal(union({"one": one}).edges, one.edges)


@given(networks, networks, networks)
@quick
def test_votes_range_from_union_to_intersection(one: Network, two: Network, three: Network) -> None:
    named = {"one": one, "two": two, "three": three}
    pairs = [set(vote(named, votes).pairs) for votes in (1, 2, 3)]
    assert pairs[0] == set(one.pairs) | set(two.pairs) | set(three.pairs)
    assert pairs[2] == set(one.pairs) & set(two.pairs) & set(three.pairs)
    assert pairs[0] >= pairs[1] >= pairs[2]
    pd.testing.assert_frame_equal(vote(named, 1).edges, union(named).edges)
    pd.testing.assert_frame_equal(vote(named, 3).edges, intersection(named).edges)


@given(networks, networks, st.floats(0.01, 1.0))
@quick
def test_a_merge_does_not_depend_on_the_order_of_networks(one: Network, two: Network, weight: float) -> None:
    forwards = union({"one": one, "two": two}, {"one": weight})
    backwards = union({"two": two, "one": one}, {"one": weight})
    renamed = union({"b": one, "a": two}, {"b": weight})
    pd.testing.assert_frame_equal(forwards.edges, backwards.edges)
    pd.testing.assert_frame_equal(forwards.edges, renamed.edges)
    assert forwards.edges["confidence"].between(0, 1, inclusive="right").all()


def test_no_confidence_is_lost_to_rounding() -> None:
    tiny = network(("A", "B", 1, 1e-300))
    assert union({"x": tiny, "y": tiny}).edges["confidence"].tolist() == [pytest.approx(2e-300)]


def test_an_empty_intersection_is_a_network_without_edges() -> None:
    nothing = intersection({"x": network(("A", "B", 1, 1.0)), "y": network(("B", "A", 1, 1.0))})
    assert len(nothing) == 0
    assert compare(nothing, nothing)["edges_jaccard"] == 0.0


@pytest.mark.parametrize(
    ("votes", "weights", "message"),
    [
        (0, {}, "number of votes is 0 for 1 networks"),
        (2, {}, "expected 1 to 1"),
        (1, {"y": 0.5}, "a weight names 'y'; the networks are x"),
        (1, {"x": 0.0}, "the weight of x is 0.0; expected a number above 0"),
        (1, {"x": 1.5}, "the weight of x is 1.5"),
        (1, {"x": float("nan")}, "the weight of x is nan"),
    ],
)
def test_invalid_merges_are_refused(votes: int, weights: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        vote({"x": network(("A", "B", 1, 1.0))}, votes, weights)


def test_a_merge_of_no_networks_and_inconsistent_vote_options_are_refused() -> None:
    with pytest.raises(UserError, match="no network to merge"):
        union({})
    with pytest.raises(UserError, match="needs --min-votes"):
        votes_needed("vote", 3, None)
    with pytest.raises(UserError, match="needs --merge vote"):
        votes_needed("union", 3, 2)
    assert [votes_needed("union", 3, None), votes_needed("intersection", 3, None), votes_needed("vote", 3, 2)] == [
        1,
        3,
        2,
    ]


def test_a_comparison_counts_shared_genes_and_edges() -> None:
    first = network(("A", "B", 1, 1.0), ("A", "C", 1, 1.0), ("B", "C", 0, 1.0), ("D", "C", 1, 1.0))
    second = network(("A", "B", 1, 0.5), ("A", "C", -1, 0.5), ("B", "C", 1, 0.5))
    metrics = compare(first, second)
    assert (metrics["edges_shared"], metrics["edges_jaccard"]) == (3, 0.75)
    assert (metrics["regulators_shared"], metrics["regulators_jaccard"]) == (2, pytest.approx(2 / 3))
    assert (metrics["signed_edges_shared"], metrics["sign_agreement"]) == (2, 0.5)


@given(networks, networks)
@quick
def test_a_comparison_is_symmetric_and_is_one_for_equal_networks(one: Network, two: Network) -> None:
    there, back = compare(one, two), compare(two, one)
    same = ("edges_shared", "edges_jaccard", "regulators_shared", "regulators_jaccard", "sign_agreement")
    assert [there[name] for name in same] == [back[name] for name in same]
    assert compare(one, one)["edges_jaccard"] == 1.0
