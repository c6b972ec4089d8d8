"""Control networks preserve the documented properties and randomise the others."""

import time
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sctransformer.errors import UserError
from sctransformer.prior.controls import changed_share, held_out, random_network, shuffled
from sctransformer.prior.network import Network, repaired
from sctransformer.prior.repairs import Repairs
from tests.unit.prior.prior_strategies import GENES, frame, networks

quick = settings(max_examples=40, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def drawn(n_regulators: int, n_genes: int, n_edges: int) -> Network:
    """A network with hubs: regulators and targets are drawn with a power law of their rank."""
    rng = np.random.default_rng(0)
    regulators = (n_regulators * rng.random(3 * n_edges) ** 2).astype(int)
    targets = (n_genes * rng.random(3 * n_edges) ** 1.5).astype(int)
    pairs = pd.DataFrame({"regulator": regulators, "target": targets}).drop_duplicates()
    pairs = pairs[pairs["regulator"] != pairs["target"]].head(n_edges)
    names = pairs.map(lambda index: f"G{index}").assign(sources="drawn")
    sign, confidence = rng.choice([-1, 0, 1], len(names)), rng.random(len(names)) * 0.9 + 0.1
    return repaired(names.assign(sign=sign, confidence=confidence), "drawn", Repairs())


def slots(network: Network) -> Counter:
    """Number of edges of each regulator with each sign and confidence."""
    edges = network.edges
    return Counter(zip(edges["regulator"], edges["sign"], edges["confidence"], strict=True))


def check_whole(network: Network) -> None:
    edges = network.edges
    assert (edges["regulator"] != edges["target"]).all()
    assert not edges.duplicated(["regulator", "target"]).any()
    assert network.pairs == sorted(network.pairs)


@given(networks, st.sets(st.sampled_from(GENES), min_size=2), seeds)
@quick
def test_a_shuffle_keeps_degrees_and_the_signs_and_confidences_of_each_regulator(
    network: Network, genes: set, seed: int
) -> None:
    inside = network.among(genes)
    assume(len(inside) > 0)
    control = shuffled(network, genes, seed)
    check_whole(control)
    assert slots(control) == slots(inside)
    assert Counter(control.edges["target"]) == Counter(inside.edges["target"])
    pd.testing.assert_frame_equal(control.edges, shuffled(network, genes, seed).edges)


def test_a_shuffle_of_many_edges_is_fast_and_changes_most() -> None:
    network = drawn(1200, 6000, 40_000)
    assert len(network) == 40_000
    start = time.perf_counter()
    control = shuffled(network, None, 0)
    seconds = time.perf_counter() - start
    check_whole(control)
    assert slots(control) == slots(network)
    assert changed_share(network, control) > 0.8
    assert f"{changed_share(network, control):.1%} were not in the network" in control.repairs.notes[0]
    assert seconds < 20, "a shuffle of 40,000 edges took longer than it may, even on a busy machine"
    assert shuffled(network, None, 1).pairs != control.pairs


@pytest.mark.slow
def test_every_network_of_the_same_degrees_is_equally_likely() -> None:
    """Three regulators with two edges each to three genes: the 6 possible networks are equally frequent."""
    rows = [(f"R{index}", f"T{target}", 1, 1.0, "x") for index in range(3) for target in range(3) if index != target]
    network = repaired(frame(rows), "x", Repairs())
    seen = Counter(tuple(shuffled(network, None, seed).pairs) for seed in range(1200))
    assert len(seen) == 6
    expected = 1200 / 6
    chi_square = sum((count - expected) ** 2 / expected for count in seen.values())
    assert chi_square < 20.5, seen  # p = 0.001 with five degrees of freedom


def test_a_network_without_possible_swaps_is_unchanged() -> None:
    star = repaired(frame([("A", target, 1, 1.0, "x") for target in "BCD"]), "x", Repairs())
    assert shuffled(star, None, 0).pairs == star.pairs


@given(networks, seeds)
@quick
def test_a_random_network_matches_the_density(network: Network, seed: int) -> None:
    control = random_network(network, network.regulators, GENES, seed)
    check_whole(control)
    assert len(control) == len(network)
    assert set(control.regulators) <= set(network.regulators)
    edges = network.edges
    assert Counter(zip(control.edges["sign"], control.edges["confidence"], strict=True)) == Counter(
        zip(edges["sign"], edges["confidence"], strict=True)
    )
    pd.testing.assert_frame_equal(
        control.edges, random_network(network, network.regulators[::-1], GENES[::-1], seed).edges
    )


def test_every_pair_is_equally_likely_in_a_random_network() -> None:
    network = repaired(frame([("G0", "G1", 1, 1.0, "x"), ("G1", "G0", 1, 1.0, "x")]), "x", Repairs())
    seen = Counter(pair for seed in range(300) for pair in random_network(network, ["G0", "G1"], GENES[:4], seed).pairs)
    assert len(seen) == 6
    assert all(60 < count < 140 for count in seen.values()), seen


@given(networks, st.floats(0.01, 0.99), seeds)
@quick
def test_held_out_and_remaining_edges_make_up_the_network(network: Network, share: float, seed: int) -> None:
    assume(len(network) > 1)
    kept, out = held_out(network, share, seed)
    assert sorted(kept.pairs + out.pairs) == network.pairs
    assert len(out) == min(max(1, round(share * len(network))), len(network) - 1)
    assert held_out(network, share, seed)[1].pairs == out.pairs


def test_networks_without_usable_edges_are_refused() -> None:
    network = repaired(frame([("A", "B", 1, 1.0, "x")]), "x", Repairs())
    with pytest.raises(UserError, match="no edge with both ends among these genes"):
        shuffled(network, ["A", "C"], 0)
    with pytest.raises(UserError, match="no edge from these regulators to these genes"):
        random_network(network, ["B"], ["A"], 0)
    with pytest.raises(UserError, match="expected a number between 0 and 1"):
        held_out(network, 1.0, 0)
    with pytest.raises(UserError, match="1 edge; holding some out needs at least two"):
        held_out(network, 0.5, 0)
