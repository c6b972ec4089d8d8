"""Merging several networks into one: union, intersection or vote; each edge keeps the names of its sources."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd

from sctransformer.errors import UserError
from sctransformer.prior.network import Network
from sctransformer.prior.pairs import merge_pairs

Merge = Literal["union", "intersection", "vote"]


def union(networks: Mapping[str, Network], weights: Mapping[str, float] | None = None) -> Network:
    """Edges of at least one network; see `vote`."""
    return vote(networks, 1, weights)


def intersection(networks: Mapping[str, Network], weights: Mapping[str, float] | None = None) -> Network:
    """Edges of every network; see `vote`."""
    return vote(networks, len(networks), weights)


def vote(networks: Mapping[str, Network], min_votes: int, weights: Mapping[str, float] | None = None) -> Network:
    """Edges of at least `min_votes` networks.

    - confidence: the noisy-or over the networks with the edge, `1 - prod(1 - weight * confidence)`. It assumes that
      they are independent. Collections that contain one another are not (CollecTRI contains most of TRRUST and of
      DoRothEA's level A): give one of them a small weight.
    - sign: the known sign with the greater sum of weight * confidence; 0 (unknown) if they tie. Sign 0 does not vote.
    - sources: of all networks with the edge.

    The order of the networks makes no difference.

    Args:
        networks: networks by name.
        min_votes: from 1 (union) to the number of networks (intersection).
        weights: weight of each network, in (0, 1]; 1 if not given.

    Returns:
        The merged network; without edges if none has enough votes.

    Raises:
        UserError: there is no network, `min_votes` or a weight is out of range, or a weight names an unknown network.

    Examples:
        >>> merged = vote({"collectri": collectri, "dorothea": dorothea}, min_votes=1, weights={"dorothea": 0.5})
    """
    weights = weights or {}
    _check(networks, min_votes, weights)
    tables = []
    for name in sorted(networks):
        edges = networks[name].edges
        tables.append(edges.assign(confidence=edges["confidence"] * weights.get(name, 1.0)))
    table = pd.concat(tables, ignore_index=True)
    merged = merge_pairs(table[table["confidence"] > 0], "noisy-or")
    enough_J = merged.rows_J >= min_votes  # each network has a pair at most once, so rows are votes
    return Network(merged.edges[np.asarray(enough_J)].reset_index(drop=True))


def votes_needed(merge: Merge, networks: int, min_votes: int | None) -> int:
    """Number of networks that must have an edge.

    Args:
        merge: `union`, `intersection` or `vote`.
        networks: number of networks.
        min_votes: only with `vote`.

    Raises:
        UserError: `vote` without `min_votes`, or `min_votes` without `vote`.
    """
    if merge == "vote":
        if min_votes is None:
            raise UserError("--merge vote needs --min-votes, the number of networks that must have an edge.")
        return min_votes
    if min_votes is not None:
        raise UserError(f"--min-votes needs --merge vote, found --merge {merge}.")
    return 1 if merge == "union" else networks


def _check(networks: Mapping[str, Network], min_votes: int, weights: Mapping[str, float]) -> None:
    if not networks:
        raise UserError("no network to merge; give at least one.")
    if not 1 <= min_votes <= len(networks):
        raise UserError(
            f"the minimum number of votes is {min_votes} for {len(networks)} networks; expected 1 to {len(networks)}."
        )
    for name, weight in weights.items():
        if name not in networks:
            raise UserError(f"a weight names {name!r}; the networks are {', '.join(sorted(networks))}.")
        if not 0 < weight <= 1:
            raise UserError(f"the weight of {name} is {weight}; expected a number above 0 and up to 1.")
