"""Check cells and network with Great Expectations; a critical expectation that fails stops the pipeline."""

from pathlib import Path

import pandas as pd

from sctransformer import layout
from sctransformer._constants import OBS
from sctransformer.data.cells import CellFile
from sctransformer.data.count_search import X
from sctransformer.data.label_names import label_warnings
from sctransformer.data.statistics import count_statistics
from sctransformer.data.validation.tables import network_tables, training_tables
from sctransformer.data.validation.validate import run_suites
from sctransformer.errors import UserError
from sctransformer.files import write_json
from sctransformer.params import Params, load_params
from sctransformer.pipeline.stage import run_stage
from sctransformer.prior.network import read_network_table
from sctransformer.progress import cells_bar


def collect_tables(params: Params) -> dict[Path, dict[str, pd.DataFrame]]:
    """The tables to check, by the file to fix if a check fails."""
    with CellFile(layout.CELLS, X) as cells, cells_bar("Validating") as on_progress:
        total = cells.n_cells
        statistics = count_statistics(cells.chunks(), cells.genes, lambda done: on_progress(done, total))
        training = training_tables(cells.obs, cells.genes, statistics)
        for sentence in label_warnings(cells.obs[OBS.cell_type].dropna().astype(str).unique()):
            print(f"Warning: {params.data.cells}: {sentence}.")
        genes = cells.genes
    network = read_network_table(params.prior.network, params.prior.confidence)
    network_checks = network_tables(network.edges, genes, network.repairs.counts())
    return {params.data.cells: training, params.prior.network: network_checks}


def main() -> None:
    """Run the stage."""
    params = load_params()
    by_file = collect_tables(params)
    tables = {name: table for file_tables in by_file.values() for name, table in file_tables.items()}
    file_of = {name: file for file, file_tables in by_file.items() for name in file_tables}
    report = run_suites(tables, params.validation.model_dump(), layout.DATA_DOCS, file_of)
    write_json(layout.VALIDATION, report.to_json())
    for warning in report.warnings:
        print(f"Warning: {warning.sentence(file_of[warning.suite])}")
    if report.critical:
        sentences = " ".join(failure.sentence(file_of[failure.suite]) for failure in report.critical)
        raise UserError(f"{sentences} See {layout.DATA_DOCS / 'index.html'}.")
    print(
        f"{report.met} expectations met, {len(report.warnings)} warnings; Data Docs: {layout.DATA_DOCS / 'index.html'}"
    )


if __name__ == "__main__":
    run_stage("validate", main)
