"""Several networks into one: union, intersection, or a vote; each edge keeps the names of its sources."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd

from sctransformer.errors import UserError
from sctransformer.prior.network import Network
from sctransformer.prior.pairs import merge_pairs

Merge = Literal["union", "intersection", "vote"]


def union(networks: Mapping[str, Network], weights: Mapping[str, float] | None = None) -> Network:
    """Edges that stand in at least one network; see `vote`."""
    return vote(networks, 1, weights)


def intersection(networks: Mapping[str, Network], weights: Mapping[str, float] | None = None) -> Network:
    """Edges that stand in every network; see `vote`."""
    return vote(networks, len(networks), weights)


def vote(networks: Mapping[str, Network], min_votes: int, weights: Mapping[str, float] | None = None) -> Network:
    """Edges that stand in at least `min_votes` networks.

    - confidence: the noisy-or of the networks that have the edge, `1 - prod(1 - weight * confidence)`. It takes them
      as independent; collections that contain one another (CollecTRI holds most of TRRUST and of DoRothEA's level A)
      are not: give one of them a small weight.
    - sign: the known sign with the greater sum of weight * confidence; a tie is 0, not known; 0 does not vote.
    - sources: of all networks that have the edge.

    The order of the networks makes no difference.

    Args:
        networks: by name.
        min_votes: from 1 (union) to the number of networks (intersection).
        weights: of each network in (0, 1]; 1 where none is given.

    Returns:
        The network; it has no edge if none has enough votes.

    Raises:
        UserError: there is no network, `min_votes` is out of range, or a weight is out of range or names no network.
    """
    weights = weights or {}
    _check(networks, min_votes, weights)
    tables = []
    for name in sorted(networks):
        edges = networks[name].edges
        tables.append(edges.assign(confidence=edges["confidence"] * weights.get(name, 1.0)))
    table = pd.concat(tables, ignore_index=True)
    merged = merge_pairs(table[table["confidence"] > 0], "noisy-or")
    enough_E = merged.lines_E >= min_votes  # a network has a pair once, so lines are votes
    return Network(merged.edges[np.asarray(enough_E)].reset_index(drop=True))


def votes_needed(merge: Merge, networks: int, min_votes: int | None) -> int:
    """Votes that a way of merging asks for.

    Raises:
        UserError: a vote without a number, or a number without a vote.
    """
    if merge == "vote":
        if min_votes is None:
            raise UserError("--merge vote needs --min-votes: in how many networks an edge must stand.")
        return min_votes
    if min_votes is not None:
        raise UserError(f"--min-votes belongs to --merge vote, not to --merge {merge}.")
    return 1 if merge == "union" else networks


def _check(networks: Mapping[str, Network], min_votes: int, weights: Mapping[str, float]) -> None:
    if not networks:
        raise UserError("there is no network to merge; name at least one.")
    if not 1 <= min_votes <= len(networks):
        raise UserError(
            f"{min_votes} votes were asked for among {len(networks)} networks; expected 1 to {len(networks)}."
        )
    for name, weight in weights.items():
        if name not in networks:
            raise UserError(f"a weight names {name!r}; the networks are {', '.join(sorted(networks))}.")
        if not 0 < weight <= 1:
            raise UserError(f"the weight of {name} is {weight}; expected a number above 0 and up to 1.")
