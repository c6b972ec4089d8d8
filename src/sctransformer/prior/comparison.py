"""Agreement of two networks: shared edges, regulators and targets, and their signs."""

import pandas as pd

from sctransformer.prior.network import Network


def compare(first: Network, second: Network) -> dict[str, float | int]:
    """Compare two networks.

    Returns:
        Number of edges, regulators and targets of each and shared; Jaccard index (shared over union) of edges and of
        regulators; signed_edges_shared, shared edges with a known sign in both, and sign_agreement, the fraction of
        those with the same sign (0.0 if there are none).
    """
    both = first.edges.merge(second.edges, on=["regulator", "target"], suffixes=("_first", "_second"))
    signed = both[(both["sign_first"] != 0) & (both["sign_second"] != 0)]
    regulators = _sizes(first.edges["regulator"], second.edges["regulator"])
    targets = _sizes(first.edges["target"], second.edges["target"])
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


def _sizes(first: pd.Series, second: pd.Series) -> tuple[int, int, int]:
    """Distinct values of the first, of the second, and of both."""
    in_first, in_second = set(first), set(second)
    return len(in_first), len(in_second), len(in_first & in_second)


def _jaccard(shared: int, first: int, second: int) -> float:
    union = first + second - shared
    return shared / union if union else 0.0
