"""How much of a network a gene panel can use."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from sctransformer.files import atomic_write
from sctransformer.prior.network import Network


def coverage(network: Network, genes: Sequence[str]) -> dict[str, float | int]:
    """Coverage metrics of a network on a gene panel.

    An edge is kept if both of its genes are in the panel.

    Args:
        network: the network.
        genes: the panel, each gene once.

    Returns:
        genes (panel size); edges and edges_kept; regulators and regulators_kept; genes_with_regulator, a number, and
        genes_with_regulator_share, a fraction of the panel; used_share, the larger one of this fraction and the
        fraction of edges that are kept (most genes of a large panel are outside a small network, and most edges of a
        large network outside a small panel; only if both fractions are small do they not fit);
        regulators_per_regulated_gene, a mean; activating_share, the fraction of kept edges with sign 1.
    """
    kept = network.among(set(genes)).edges
    in_degree = kept["target"].value_counts()
    genes_share = len(in_degree) / len(genes)
    return {
        "genes": len(genes),
        "edges": len(network),
        "edges_kept": len(kept),
        "regulators": len(network.regulators),
        "regulators_kept": int(kept["regulator"].nunique()),
        "genes_with_regulator": len(in_degree),
        "genes_with_regulator_share": genes_share,
        "used_share": max(genes_share, len(kept) / max(len(network), 1)),
        "regulators_per_regulated_gene": float(in_degree.mean()) if len(in_degree) else 0.0,
        "activating_share": float((kept["sign"] > 0).mean()) if len(kept) else 0.0,
    }


def degrees(network: Network, genes: Sequence[str]) -> pd.DataFrame:
    """Number of targets of each regulator within a panel.

    Returns:
        Columns regulator and targets, sorted by targets in descending order.
    """
    kept = network.among(set(genes)).edges
    counts = kept["regulator"].value_counts().rename_axis("regulator").rename("targets").reset_index()
    return counts.sort_values(["targets", "regulator"], ascending=[False, True], ignore_index=True)


def degree_distribution(network: Network, genes: Sequence[str]) -> pd.DataFrame:
    """Degree distribution of the genes of a panel.

    Returns:
        Columns degree (0, 1, 2, ... without gaps), genes_with_in_degree (number of genes with that many regulators) and
        genes_with_out_degree (with that many targets); each of the two sums to the number of genes.
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


def write_coverage(network: Network, genes: Sequence[str], folder: Path) -> list[str]:
    """Write coverage.tsv, regulators.tsv, degrees.tsv and coverage.png to a folder.

    Args:
        network: the network.
        genes: the panel, each gene once.
        folder: created if it does not exist.

    Returns:
        Names of the files.

    Raises:
        UserError: the folder cannot be written.
    """
    from sctransformer.prior.plots import plot_coverage  # matplotlib takes a second to import

    metrics, targets, distribution = (
        coverage(network, genes),
        degrees(network, genes),
        degree_distribution(network, genes),
    )
    tables = {
        "coverage.tsv": pd.DataFrame({"figure": list(metrics), "value": list(metrics.values())}, dtype=object),
        "regulators.tsv": targets,
        "degrees.tsv": distribution,
    }
    for file, table in tables.items():
        with atomic_write(folder / file) as temporary:
            table.to_csv(temporary, sep="\t", index=False)
    plot_coverage(metrics, distribution, targets, folder / "coverage.png")
    return [*tables, "coverage.png"]
