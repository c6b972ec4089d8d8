"""Write the example data of other packages: scanpy's cells under the data contract, CellTypist's gene map."""

import shutil

from sctransformer import layout
from sctransformer.data.example_data import example_cells
from sctransformer.data.gene_map import packaged_gene_map
from sctransformer.data.h5ad_writer import open_h5ad_writer
from sctransformer.files import atomic_write
from sctransformer.pipeline.stage import run_stage


def main() -> None:
    """Run the stage."""
    cells = example_cells()
    with open_h5ad_writer(layout.EXAMPLE_CELLS, cells.var_names) as file:
        file.append(cells.X)
        file.finish(cells.obs)
    with atomic_write(layout.EXAMPLE_GENE_MAP) as temporary:
        shutil.copyfile(packaged_gene_map(), temporary)
    print(f"{cells.n_obs} cells x {cells.n_vars} genes, {int(cells.X.sum()):,} counts -> {layout.EXAMPLE_CELLS}")
    print(f"Ensembl ids and symbols -> {layout.EXAMPLE_GENE_MAP}")


if __name__ == "__main__":
    run_stage("example_data", main)
