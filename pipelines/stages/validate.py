"""Check cells and network with Great Expectations; a failing expectation stops the pipeline."""

import shutil

from pipelines import layout
from pipelines.stage import run_stage
from sctransformer.data.cells import read_cells
from sctransformer.data.expectations import cell_suites, network_suites, validate
from sctransformer.data.ingest import to_contract
from sctransformer.errors import UserError
from sctransformer.files import write_json
from sctransformer.params import load_params
from sctransformer.prior.network import read_network


def main() -> None:
    """Run the stage."""
    params = load_params()
    cells = to_contract(read_cells(layout.CELLS), str(layout.CELLS))
    network = read_network(params.prior.network, params.prior.confidence)
    cell_checks = cell_suites(cells, params.validation)
    network_checks = network_suites(network.edges, cells.var_names, params.validation)
    shutil.rmtree(layout.DATA_DOCS, ignore_errors=True)
    records, failures = validate({**cell_checks, **network_checks}, layout.DATA_DOCS)
    if failures:
        files = {**dict.fromkeys(cell_checks, params.data.cells), **dict.fromkeys(network_checks, params.prior.network)}
        sentences = " ".join(failure.sentence(files[failure.suite]) for failure in failures)
        raise UserError(f"{sentences} See {layout.DATA_DOCS / 'index.html'}.")
    write_json(layout.VALIDATION, {"success": True, "expectations": records})
    print(f"{len(records)} expectations met; Data Docs: {layout.DATA_DOCS / 'index.html'}")


if __name__ == "__main__":
    run_stage("validate", main)
