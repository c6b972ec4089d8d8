"""Turn the network, or a control in its place, into what attention adds, and report how much the panel can use."""

import pandas as pd
from safetensors.numpy import save_file

from sctransformer import layout
from sctransformer.errors import UserError
from sctransformer.files import atomic_write, write_json
from sctransformer.params import load_params
from sctransformer.pipeline.stage import run_stage
from sctransformer.prior.bias import PRIOR_TENSOR, prior_matrix
from sctransformer.prior.controls import control_network
from sctransformer.prior.coverage import coverage, degree_distribution, degrees
from sctransformer.prior.network import read_network_table
from sctransformer.prior.plots import plot_coverage


def main() -> None:
    """Run the stage."""
    params = load_params()
    network = read_network_table(params.prior.network, params.prior.confidence)
    panel = pd.read_parquet(layout.PANEL)
    genes = panel["gene"].tolist()
    n_regulators = int(panel["is_regulator"].sum())
    if n_regulators == 0:
        raise UserError(f"{layout.PANEL}: names no regulator; run `dvc repro -f -s prepare`.")
    figures = coverage(network, genes)
    if figures["edges_kept"] == 0:
        raise UserError(
            f"{params.prior.network}: none of its {len(network)} edges has both ends among the {len(genes)} genes of "
            "the panel; check that cells and network use the same gene names, and run `dvc repro`."
        )
    if figures["genes_with_regulator_share"] < params.prior.min_coverage:
        raise UserError(
            f"{params.prior.network}: {figures['genes_with_regulator']} of {len(genes)} genes of the panel have a "
            f"regulator, a share of {figures['genes_with_regulator_share']:.3f}; prior.min_coverage in params.yaml "
            f"asks for {params.prior.min_coverage}: use a larger network or lower it."
        )
    kept = network.among(set(genes))
    if params.prior.control != "none":
        kept = control_network(params.prior.control, kept, genes[:n_regulators], genes, params.seed)
    prior_HGS = prior_matrix(params.model.mode, kept.edges.to_dict("list"), genes, n_regulators, params.model.heads)
    with atomic_write(layout.EDGES) as temporary:
        kept.edges.to_parquet(temporary, index=False)
    with atomic_write(layout.BIAS) as temporary:
        save_file({} if prior_HGS is None else {PRIOR_TENSOR: prior_HGS}, temporary)
    table = degrees(network, genes)
    with atomic_write(layout.DEGREES) as temporary:
        table.to_csv(temporary, index=False)
    plot_coverage(figures, degree_distribution(network, genes), table, layout.COVERAGE_PLOT)
    write_json(layout.COVERAGE, figures)
    for sentence in dict.fromkeys([*network.repairs.sentences(), *kept.repairs.sentences()]):
        print(f"{params.prior.network}: {sentence}")
    print(
        f"{figures['edges_kept']} of {figures['edges']} edges and {figures['regulators_kept']} of "
        f"{figures['regulators']} regulators lie in the panel; {figures['genes_with_regulator']} of {len(genes)} genes "
        "have a regulator"
    )


if __name__ == "__main__":
    run_stage("prior", main)
