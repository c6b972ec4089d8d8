"""Write what comes with the packages: scanpy's cells under the data contract, CellTypist's gene map."""

import shutil

from pipelines import layout
from pipelines.stage import run_stage
from sctransformer.data.embedded import embedded_cells
from sctransformer.data.genes import packaged_gene_map
from sctransformer.data.writing import growing_cells
from sctransformer.files import written_whole


def main() -> None:
    """Run the stage."""
    cells = embedded_cells()
    with growing_cells(layout.EMBEDDED_CELLS, cells.var_names) as file:
        file.append(cells.X)
        file.finish(cells.obs)
    with written_whole(layout.EMBEDDED_GENE_MAP) as temporary:
        shutil.copyfile(packaged_gene_map(), temporary)
    print(f"{cells.n_obs} cells x {cells.n_vars} genes, {int(cells.X.sum()):,} counts -> {layout.EMBEDDED_CELLS}")
    print(f"Ensembl ids and symbols -> {layout.EMBEDDED_GENE_MAP}")


if __name__ == "__main__":
    run_stage("embedded", main)
