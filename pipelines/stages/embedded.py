"""Write the cells that come with scanpy, under the data contract."""

from pipelines import layout
from pipelines.stage import run_stage
from sctransformer.data.embedded import embedded_cells
from sctransformer.data.prepared import write_cells


def main() -> None:
    """Run the stage."""
    cells = embedded_cells()
    write_cells(cells, layout.EMBEDDED_CELLS)
    print(f"{cells.n_obs} cells x {cells.n_vars} genes, {int(cells.X.sum()):,} counts -> {layout.EMBEDDED_CELLS}")


if __name__ == "__main__":
    run_stage("embedded", main)
