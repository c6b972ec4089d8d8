"""Read the cells, find counts and genes, write them under the data contract, set some aside as new cells."""

from sctransformer import layout
from sctransformer.data.cells import CellFile
from sctransformer.data.gene_map import read_gene_map
from sctransformer.data.genes import identify
from sctransformer.data.ingest import ingest
from sctransformer.files import write_json
from sctransformer.params import load_params
from sctransformer.pipeline.stage import run_stage
from sctransformer.progress import cells_bar


def main() -> None:
    """Run the stage."""
    params = load_params()
    data = params.data
    known = read_gene_map(data.gene_map)
    with CellFile(data.cells, data.counts) as file, cells_bar("Reading cells") as on_progress:
        identity = identify(file.var, known, str(data.cells), data.gene_column)
        kept, new = ingest(
            file,
            identity,
            data,
            layout.CELLS,
            layout.NEW_CELLS,
            data.new_cells_fraction,
            params.seed,
            on_progress,
        )
    write_json(layout.GENE_SUMMARY, identity.metrics() | {"counts_in": file.counts_in})
    print(f"counts in {file.counts_in}; {identity.summary()}")
    for note in (*file.notes, *identity.repairs.notes()):
        print(f"note: {note}")
    held_out = f"; {new:,} new cells, without labels -> {layout.NEW_CELLS}" if new else ""
    print(f"{kept:,} cells -> {layout.CELLS}{held_out}")


if __name__ == "__main__":
    run_stage("ingest", main)
