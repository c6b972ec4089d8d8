"""How much of a network a gene panel can use."""

from collections.abc import Sequence

import pandas as pd

from sctransformer.prior.network import Network


def coverage(network: Network, genes: Sequence[str]) -> dict[str, float | int]:
    """Figures of a network on a panel.

    Returns:
        edges and regulators of the network; those kept (both ends in the panel); genes of the panel that have a
        regulator, as a number and as a share; mean regulators of such a gene; share of activating edges kept.
    """
    kept = network.among(set(genes)).edges
    in_degree = kept["target"].value_counts()
    return {
        "genes": len(genes),
        "edges": len(network),
        "edges_kept": len(kept),
        "regulators": len(network.regulators),
        "regulators_kept": int(kept["regulator"].nunique()),
        "genes_with_regulator": len(in_degree),
        "genes_with_regulator_share": len(in_degree) / len(genes),
        "regulators_per_regulated_gene": float(in_degree.mean()) if len(in_degree) else 0.0,
        "activating_share": float((kept["sign"] > 0).mean()) if len(kept) else 0.0,
    }


def degrees(network: Network, genes: Sequence[str]) -> pd.DataFrame:
    """Targets of each regulator that the panel keeps: columns regulator, targets; most targets first."""
    kept = network.among(set(genes)).edges
    counts = kept["regulator"].value_counts().rename_axis("regulator").rename("targets").reset_index()
    return counts.sort_values(["targets", "regulator"], ascending=[False, True], ignore_index=True)


def degree_distribution(network: Network, genes: Sequence[str]) -> pd.DataFrame:
    """How many genes of the panel have how many regulators and targets there.

    Returns:
        Columns degree (from 0, without gaps), genes_with_in_degree (genes with so many regulators) and
        genes_with_out_degree (genes with so many targets); each of the two sums to the number of genes.
    """
    panel = pd.Index(pd.unique(pd.Series(list(genes), dtype=object)))
    kept = network.among(set(genes)).edges
    in_degree = kept["target"].value_counts().reindex(panel, fill_value=0)
    out_degree = kept["regulator"].value_counts().reindex(panel, fill_value=0)
    highest = int(max(in_degree.max(), out_degree.max())) if len(panel) else 0
    degree = pd.RangeIndex(highest + 1, name="degree")
    return pd.DataFrame(
        {
            "genes_with_in_degree": in_degree.value_counts().reindex(degree, fill_value=0),
            "genes_with_out_degree": out_degree.value_counts().reindex(degree, fill_value=0),
        }
    ).reset_index()
