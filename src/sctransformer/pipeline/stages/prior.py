"""Turn the prior network, or a control network, into the attention prior of the panel, and report its coverage."""

from dataclasses import dataclass

import pandas as pd

from sctransformer import layout
from sctransformer.errors import UserError
from sctransformer.files import atomic_write, write_json
from sctransformer.params import Params, load_params
from sctransformer.pipeline.stage import run_stage
from sctransformer.prior.coverage import coverage, degree_distribution, degrees
from sctransformer.prior.network import Network, read_network_table
from sctransformer.prior.plots import plot_coverage
from sctransformer.training.build import Prior, control_of, network_prior, panel_network, save_prior


@dataclass(frozen=True)
class PanelPrior:
    """The prior network restricted to the panel, as attention uses it."""

    network: Network
    """The edges that the model uses; those of a control if one was asked for."""
    prior: Prior
    """The attention prior; None in the modes that use no edges."""
    coverage: dict[str, float | int]
    """How much of the network is in the panel, and how many genes have a regulator; the content of coverage.json."""


def panel_prior(network: Network, panel: pd.DataFrame, params: Params) -> PanelPrior:
    """Restrict a network to a panel and build the attention prior.

    Args:
        network: the prior network.
        panel: the gene panel, regulators first.
        params: sections `prior` and `model`, and the seed of a control network.

    Raises:
        UserError: the panel has no regulator, no edge of the network is in the panel, no regulator has
            prior.min_targets targets in it, or coverage is below prior.min_coverage.
    """
    genes, n_regulators = panel["gene"].tolist(), int(panel["is_regulator"].sum())
    if n_regulators == 0 and not params.model.by_edge:
        raise UserError(f"{layout.PANEL}: has no regulator; run `dvc repro -f -s prepare`.")
    covered = coverage(network, genes)
    kept = panel_network(network, genes, params.model, params.prior)
    if len(kept) == 0 and params.model.by_edge and covered["edges_kept"] > 0:
        raise UserError(
            f"{params.prior.network}: no regulator has {params.prior.min_targets} targets among the {len(genes)} genes "
            "of the panel; use a larger network, or lower prior.min_targets in params.yaml."
        )
    if len(kept) == 0:
        raise UserError(
            f"{params.prior.network}: none of its {len(network)} edges has both ends among the {len(genes)} genes of "
            "the panel; check that cells and network use the same gene names, and run `dvc repro`."
        )
    if covered["used_share"] < params.prior.min_coverage:
        raise UserError(
            f"{params.prior.network}: {covered['genes_with_regulator']} of {len(genes)} genes of the panel have a "
            f"regulator, and {covered['edges_kept']} of {covered['edges']} edges are in the panel, a share of "
            f"{covered['used_share']:.3f} at most; prior.min_coverage in params.yaml asks for "
            f"{params.prior.min_coverage}: check that the network has these genes, or lower it."
        )
    if params.prior.control != "none":
        kept = control_of(params.prior.control, kept, genes, n_regulators, params.model, params.seed)
    return PanelPrior(kept, network_prior(params.model, kept, genes, n_regulators), covered)


def main() -> None:
    """Run the stage."""
    params = load_params()
    network = read_network_table(params.prior.network, params.prior.confidence)
    panel = pd.read_parquet(layout.PANEL)
    prior = panel_prior(network, panel, params)
    with atomic_write(layout.EDGES) as temporary:
        prior.network.edges.to_parquet(temporary, index=False)
    with atomic_write(layout.BIAS) as temporary:
        save_prior(prior.prior, temporary)
    write_json(layout.COVERAGE, prior.coverage)
    genes = panel["gene"].tolist()
    targets = degrees(network, genes)
    with atomic_write(layout.DEGREES) as temporary:
        targets.to_csv(temporary, index=False)
    plot_coverage(prior.coverage, degree_distribution(network, genes), targets, layout.COVERAGE_PLOT)
    print_summary(network, prior, params)


def print_summary(network: Network, prior: PanelPrior, params: Params) -> None:
    """Print what was changed in the network, and how much of it is in the panel."""
    covered = prior.coverage
    for sentence in dict.fromkeys([*network.repairs.sentences(), *prior.network.repairs.sentences()]):
        print(f"{params.prior.network}: {sentence}")
    print(
        f"{covered['edges_kept']} of {covered['edges']} edges and {covered['regulators_kept']} of "
        f"{covered['regulators']} regulators are in the panel; {covered['genes_with_regulator']} genes of the panel "
        "have a regulator"
    )
    if params.model.by_edge:
        print(
            f"{len(prior.network.regulators)} regulators with at least {params.prior.min_targets} targets attend to "
            f"them along {len(prior.network)} edges"
        )


if __name__ == "__main__":
    run_stage("prior", main)
