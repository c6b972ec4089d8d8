"""Split the cells, choose the gene panel on the training cells, write the panel's columns."""

from pipelines import layout
from pipelines.stage import run_stage
from sctransformer._constants import OBS
from sctransformer.data.cells import read_cells
from sctransformer.data.ingest import to_contract
from sctransformer.data.panel import choose_panel
from sctransformer.data.prepared import prepared_cells, write_cells
from sctransformer.data.splits import stratified_splits
from sctransformer.files import write_json, written_whole
from sctransformer.params import load_params
from sctransformer.prior.network import read_network


def main() -> None:
    """Run the stage."""
    params = load_params()
    cells = to_contract(read_cells(layout.CELLS), str(layout.CELLS))
    cells = cells[cells.obs[OBS.cell_type].notna()].copy()
    shares = params.prepare
    cells.obs[OBS.split] = stratified_splits(
        cells.obs[OBS.cell_type], shares.validation_fraction, shares.test_fraction, params.seed
    )
    training = cells[cells.obs[OBS.split] == "train"]
    network = read_network(params.prior.network, params.prior.confidence)
    panel = choose_panel(
        training.X,
        training.obs[OBS.library_size].to_numpy(),
        training.var_names,
        network.pairs,
        shares.gene_budget,
    )
    write_cells(prepared_cells(cells, panel), layout.PREPARED_CELLS)
    with written_whole(layout.PANEL) as temporary:
        panel.to_parquet(temporary, index=False)
    figures = {
        "genes": len(panel),
        "regulators": int(panel["is_regulator"].sum()),
        "genes_by_criterion": panel["criterion"].value_counts().sort_index().to_dict(),
        "cells": cells.obs[OBS.split].value_counts().sort_index().to_dict(),
    }
    write_json(layout.PANEL_FIGURES, figures)
    print(f"panel of {figures['genes']} genes, {figures['regulators']} regulators; cells {figures['cells']}")


if __name__ == "__main__":
    run_stage("prepare", main)
