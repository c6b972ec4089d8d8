"""Split the cells, choose the gene panel on the training cells, write the cells with the genes of the panel."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from sctransformer import layout
from sctransformer._constants import UNLABELLED
from sctransformer.data.cells import CellFile
from sctransformer.data.count_search import X
from sctransformer.data.gene_map import ensembl_ids, read_gene_map
from sctransformer.data.moments import GeneMoments
from sctransformer.data.panel import LARGEST_DENSE_PANEL, LARGEST_PANEL, choose_expressed_panel, choose_panel
from sctransformer.data.prepared import training_moments, write_prepared
from sctransformer.data.split_choice import choose_splits
from sctransformer.files import atomic_write, write_json
from sctransformer.params import Params, load_params
from sctransformer.pipeline.stage import run_stage
from sctransformer.prior.network import read_network_table
from sctransformer.progress import cells_bar


def main() -> None:
    """Run the stage."""
    params = load_params()
    network = read_network_table(params.prior.network, params.prior.confidence)
    with CellFile(layout.CELLS, X) as cells, cells_bar("Preparing cells") as on_progress:
        method, split = choose_splits(cells.obs, params.prepare, params.seed)
        training_N = (split == "train") | (split == UNLABELLED)
        moments = training_moments(cells, training_N, on_progress)
        panel = panel_for(params, moments, cells.genes.tolist(), network.pairs)
        panel["ensembl_id"] = ensembl_ids(panel["gene"].tolist(), read_gene_map(params.data.gene_map))
        write_prepared(cells, split, panel, layout.PREPARED_CELLS, on_progress)
    with atomic_write(layout.PANEL) as temporary:
        panel.to_parquet(temporary, index=False)
    summary = summarise(panel, split, method)
    write_json(layout.PANEL_SUMMARY, summary)
    print(
        f"panel of {summary['genes']} genes {summary['genes_by_criterion']}, {summary['regulators']} regulators; "
        f"cells, split by {method}: {summary['cells']}"
    )


def panel_for(
    params: Params, moments: GeneMoments, genes: Sequence[str], edges: Sequence[tuple[str, str]]
) -> pd.DataFrame:
    """The panel that suits the model: attention along edges reads all expressed genes."""
    if params.model.by_edge:
        return choose_expressed_panel(moments, genes, edges, params.prepare.gene_budget or LARGEST_PANEL)
    return choose_panel(moments, genes, edges, params.prepare.gene_budget or LARGEST_DENSE_PANEL)


def summarise(panel: pd.DataFrame, split: pd.Categorical, method: str) -> dict[str, Any]:
    """Numbers of genes, regulators and cells, and how the cells were split; the content of panel.json."""
    cells = pd.Series(split).value_counts().loc[lambda counts: counts > 0].sort_index()
    return {
        "genes": len(panel),
        "regulators": int(panel["is_regulator"].sum()),
        "genes_by_criterion": panel["criterion"].value_counts().sort_index().to_dict(),
        "cells": cells.to_dict(),
        "split": method,
    }


if __name__ == "__main__":
    run_stage("prepare", main)
