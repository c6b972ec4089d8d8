"""How far two networks agree: edges, regulators, and signs where both have one."""

import pandas as pd

from sctransformer.prior.network import Network


def compare(first: Network, second: Network) -> dict[str, float | int]:
    """Figures of two networks beside one another.

    Returns:
        edges, regulators and targets of each; shared ones; Jaccard index (shared over either) of edges and of
        regulators; shared edges with a known sign in both, and the share of those on which the signs agree (0.0 if
        there are none).
    """
    both = first.edges.merge(second.edges, on=["regulator", "target"], suffixes=("_first", "_second"))
    signed = both[(both["sign_first"] != 0) & (both["sign_second"] != 0)]
    regulators = _shared(first.edges["regulator"], second.edges["regulator"])
    targets = _shared(first.edges["target"], second.edges["target"])
    return {
        "edges_first": len(first),
        "edges_second": len(second),
        "edges_shared": len(both),
        "edges_jaccard": _jaccard(len(both), len(first), len(second)),
        "regulators_first": regulators[0],
        "regulators_second": regulators[1],
        "regulators_shared": regulators[2],
        "regulators_jaccard": _jaccard(regulators[2], regulators[0], regulators[1]),
        "targets_first": targets[0],
        "targets_second": targets[1],
        "targets_shared": targets[2],
        "signed_edges_shared": len(signed),
        "sign_agreement": float((signed["sign_first"] == signed["sign_second"]).mean()) if len(signed) else 0.0,
    }


def _shared(first: pd.Series, second: pd.Series) -> tuple[int, int, int]:
    ours, theirs = set(first), set(second)
    return len(ours), len(theirs), len(ours & theirs)


def _jaccard(shared: int, first: int, second: int) -> float:
    either = first + second - shared
    return shared / either if either else 0.0
