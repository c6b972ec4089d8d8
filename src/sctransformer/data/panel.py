"""The gene panel, chosen with the prior in mind: the regulators, their targets, and variable genes, up to a budget."""

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from sctransformer.data.normalise import log_normalised, mean_and_std
from sctransformer.errors import UserError

PANEL_COLUMNS = ("gene", "is_regulator", "criterion", "mean", "std")


def choose_panel(
    counts: sparse.csr_matrix,
    library_size_N: NDArray[np.floating],
    genes: Sequence[str],
    edges: Sequence[tuple[str, str]],
    budget: int,
) -> pd.DataFrame:
    """Choose the vocabulary of the model from the training cells.

    First the regulators with a target among the genes, at most a quarter of the budget, those with most targets
    first. Of the places left, half go to the most variable of their targets, and the rest to the most variable genes
    of all. A gene that no training cell expresses is left out. Ties are broken by name: the choice is deterministic.

    Args:
        counts: training cells x genes, raw.
        library_size_N: counts of the whole cell.
        genes: names of the columns.
        edges: (regulator, target) pairs of the network.
        budget: most genes in the panel.

    Returns:
        One row a gene, regulators first, each part sorted by name; columns gene, is_regulator, criterion
        (`regulator`, `target`, `variable`), mean and std (of log1p counts per 10,000 over the training cells).

    Raises:
        UserError: no edge of the network has both ends among the genes.
    """
    expression = log_normalised(counts, library_size_N)
    mean_G, std_G = mean_and_std(expression)
    statistics = pd.DataFrame({"gene": list(genes), "mean": mean_G, "std": std_G}).set_index("gene")
    statistics["dispersion"] = _normalised_dispersion(expression)
    expressed = statistics[statistics["mean"] > 0]
    network = pd.DataFrame(list(edges), columns=["regulator", "target"])
    network = network[network["regulator"].isin(expressed.index) & network["target"].isin(expressed.index)]
    if network.empty:
        raise UserError(
            f"the prior network has no edge with both ends among the {len(expressed)} genes that training cells "
            "express; check that cells and network use the same gene names."
        )
    targets_of = network.groupby("regulator").size()
    by_targets = sorted(targets_of.index, key=lambda gene: (-targets_of[gene], gene))
    by_dispersion = sorted(expressed.index, key=lambda gene: (-expressed["dispersion"][gene], gene))

    chosen = dict.fromkeys(by_targets[: max(1, budget // 4)], "regulator")
    regulated = set(network.loc[network["regulator"].isin(set(chosen)), "target"])
    places_for_targets = max(1, (budget - len(chosen)) // 2)
    targets = [gene for gene in by_dispersion if gene in regulated and gene not in chosen][:places_for_targets]
    chosen |= dict.fromkeys(targets, "target")
    others = [gene for gene in by_dispersion if gene not in chosen]
    chosen |= dict.fromkeys(others[: max(0, budget - len(chosen))], "variable")

    kept = network[network["regulator"].isin(set(chosen)) & network["target"].isin(set(chosen))]
    regulators = set(kept["regulator"])
    panel = expressed.loc[list(chosen), ["mean", "std"]].rename_axis("gene").reset_index()
    panel["criterion"] = panel["gene"].map(chosen)
    panel["is_regulator"] = panel["gene"].isin(regulators)
    return panel.sort_values(["is_regulator", "gene"], ascending=[False, True], ignore_index=True)[list(PANEL_COLUMNS)]


def _normalised_dispersion(expression: sparse.csr_matrix) -> NDArray[np.float64]:
    """Seurat's normalised dispersion: how much more a gene varies than genes of its mean do; 0 where undefined."""
    import scanpy as sc  # slow to import, and needed here only
    from anndata import AnnData

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about bins that hold a single gene
        table = sc.pp.highly_variable_genes(AnnData(expression), flavor="seurat", n_top_genes=1, inplace=False)
    return table["dispersions_norm"].fillna(0.0).to_numpy(dtype=np.float64)
