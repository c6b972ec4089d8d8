"""Read the chosen cells, give them the columns of the data contract, keep some back as new cells."""

from pipelines import layout
from pipelines.stage import run_stage
from sctransformer.data.cells import read_cells
from sctransformer.data.ingest import keep_back, to_contract
from sctransformer.data.prepared import write_cells
from sctransformer.params import load_params


def main() -> None:
    """Run the stage."""
    params = load_params()
    data = params.data
    cells = to_contract(read_cells(data.cells), str(data.cells), data.label_column, data.library_size_column)
    kept, new = keep_back(cells, data.new_cells_fraction, params.seed)
    write_cells(kept, layout.CELLS)
    write_cells(new, layout.NEW_CELLS)
    print(f"{kept.n_obs} cells -> {layout.CELLS}; {new.n_obs} new cells, without labels -> {layout.NEW_CELLS}")


if __name__ == "__main__":
    run_stage("ingest", main)
