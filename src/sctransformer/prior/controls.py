"""Control networks: rewired with the same degrees, random with the same density, and held-out edges."""

import random
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sctransformer.errors import UserError
from sctransformer.prior.network import Network
from sctransformer.prior.pairs import EDGE_COLUMNS
from sctransformer.prior.repairs import Repairs
from sctransformer.prior.settings import Control
from sctransformer.wording import counted

SWAPS_PER_EDGE = 20
"""Swaps tried per edge. On CollecTRI the fraction of changed edges no longer grows beyond 5 per edge."""


def control_network(
    kind: Control, network: Network, regulators: Sequence[str], genes: Sequence[str], seed: int
) -> Network:
    """The control network of a kind, see `shuffled` and `random_network`."""
    if kind == "shuffled":
        return shuffled(network, {*regulators, *genes}, seed)
    return random_network(network, regulators, genes, seed)


def shuffled(network: Network, genes: Collection[str] | None, seed: int) -> Network:
    """Rewire a network at random, keeping the number of targets and of regulators of each gene.

    Pairs of edges swap their targets: a -> b and c -> d become a -> d and c -> b, unless that creates a self-edge or
    an edge that exists already (`igraph.Graph.rewire`; Milo et al. 2003, On the uniform generation of random graphs
    with prescribed degree sequences, arXiv:cond-mat/0312028). Sign and confidence stay with the regulator's edge.

    Args:
        network: the network to shuffle.
        genes: keep only edges with both ends among these genes; None keeps all.
        seed: the same seed gives the same network, with the same version of igraph.

    Returns:
        The control; its source is `shuffled`, and its notes report the fraction of changed edges.

    Raises:
        UserError: no edge has both ends among the genes.
    """
    inside = _among(network, genes)
    edges = inside.edges
    regulators, targets, names = _codes(edges)
    control = edges.assign(target=names[_rewired(regulators, targets, len(names), seed)], sources="shuffled")
    share = changed_share(network, Network(control))
    note = f"Shuffled {counted(len(edges), 'edge')} with seed {seed}: {share:.1%} were not in the network."
    return _sorted(control, note)


def random_network(network: Network, regulators: Sequence[str], genes: Sequence[str], seed: int) -> Network:
    """Random network with as many edges as the network has from these regulators to these genes.

    Each pair is equally likely. Signs and confidences are those of the network's edges, in random order.

    Args:
        network: the network whose number of edges is matched.
        regulators: possible regulators.
        genes: possible targets.
        seed: the same seed gives the same network.

    Raises:
        UserError: the network has no edge from these regulators to these genes.
    """
    sources = np.array(sorted(set(regulators)), dtype=object)
    targets = np.array(sorted(set(genes)), dtype=object)
    known = network.edges[network.edges["regulator"].isin(sources) & network.edges["target"].isin(targets)]
    if known.empty:
        raise UserError("the network has no edge from these regulators to these genes; check the gene names.")
    allowed = np.flatnonzero(sources[:, None] != targets[None, :])
    rng = np.random.default_rng(seed)
    drawn_J = np.sort(rng.choice(allowed, len(known), replace=False))
    permuted = known.iloc[rng.permutation(len(known))]
    control = pd.DataFrame(
        {
            "regulator": sources[drawn_J // len(targets)],
            "target": targets[drawn_J % len(targets)],
            "sign": permuted["sign"].to_numpy(),
            "confidence": permuted["confidence"].to_numpy(),
            "sources": "random",
        }
    )
    share = changed_share(network, Network(control))
    note = f"Drew {counted(len(control), 'edge')} with seed {seed}: {share:.1%} are not in the network."
    return _sorted(control, note)


def held_out(network: Network, share: float, seed: int) -> tuple[Network, Network]:
    """Split the edges at random into those to train with and those held out.

    Args:
        network: the network to split.
        share: fraction of the edges to hold out, in (0, 1); each part has at least one edge.
        seed: the same seed gives the same split.

    Returns:
        The network without the held-out edges, and the held-out edges.

    Raises:
        UserError: the share is out of range, or there are fewer than two edges.
    """
    if not 0 < share < 1:
        raise UserError(f"the fraction of edges to hold out is {share}; expected a number between 0 and 1.")
    if len(network) < 2:
        raise UserError(f"the network has {counted(len(network), 'edge')}; holding some out needs at least two.")
    number = min(max(1, round(share * len(network))), len(network) - 1)
    out_J = np.zeros(len(network), dtype=bool)
    out_J[np.random.default_rng(seed).choice(len(network), number, replace=False)] = True
    edges = network.edges
    return (
        replace(network, edges=edges[~out_J].reset_index(drop=True)),
        replace(network, edges=edges[out_J].reset_index(drop=True)),
    )


def changed_share(network: Network, control: Network) -> float:
    """Fraction of the control's edges that are not in the network."""
    known = pd.MultiIndex.from_frame(network.edges[["regulator", "target"]])
    return float((~pd.MultiIndex.from_frame(control.edges[["regulator", "target"]]).isin(known)).mean())


def _rewired(regulators: NDArray[np.int64], targets: NDArray[np.int64], n_genes: int, seed: int) -> NDArray[np.int64]:
    """Target of each edge after the swaps; `regulators` must be in ascending order."""
    import igraph  # imports matplotlib, which each training worker would wait for

    graph = igraph.Graph(n=n_genes, edges=np.column_stack([regulators, targets]), directed=True)
    igraph.set_random_number_generator(random.Random(int(seed)))
    try:
        graph.rewire(n=SWAPS_PER_EDGE * len(targets))  # simple: neither self-edges nor double edges
    finally:
        igraph.set_random_number_generator(random)  # igraph's default
    rewired = np.array(graph.get_edgelist(), dtype=np.int64)
    return rewired[np.argsort(rewired[:, 0], kind="stable"), 1]


def _codes(edges: pd.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.object_]]:
    codes, names = pd.factorize(pd.concat([edges["regulator"], edges["target"]]), sort=True)
    codes = codes.astype(np.int64)
    return codes[: len(edges)], codes[len(edges) :], np.asarray(names, dtype=object)


def _among(network: Network, genes: Collection[str] | None) -> Network:
    inside = network if genes is None else network.among(set(genes))
    if len(inside) == 0:
        raise UserError("the network has no edge with both ends among these genes; check the gene names.")
    return inside


def _sorted(edges: pd.DataFrame, note: str) -> Network:
    ordered = edges.sort_values(["regulator", "target"], ignore_index=True)[list(EDGE_COLUMNS)]
    return Network(ordered, Repairs(notes=(note,)))
