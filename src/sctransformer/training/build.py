"""Build models: fresh weights over a gene panel and a prior, or trained weights from files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import pandas as pd
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from safetensors.torch import load_file
from torch import Tensor

from sctransformer.errors import UserError
from sctransformer.files import read_json
from sctransformer.model import ActivityTransformer, Model, ModelConfig, PriorBiasedTransformer
from sctransformer.model.config import ModelSettings
from sctransformer.prior.bias import PRIOR_TENSOR, prior_matrix
from sctransformer.prior.controls import control_network
from sctransformer.prior.edge_list import EdgeList, edge_list
from sctransformer.prior.network import Network
from sctransformer.prior.settings import Control, PriorSettings

Prior = Tensor | EdgeList | None
"""What a network adds to attention: a matrix over genes and regulators, a list of edges, or nothing."""


class ModelAndPrior(Protocol):
    """Parameters with the sections `model` and `prior`, such as `sctransformer.params.Params`."""

    @property
    def model(self) -> ModelSettings:
        """Attention mode and layer sizes."""

    @property
    def prior(self) -> PriorSettings:
        """Prior network."""


def model_config(settings: ModelSettings, panel: pd.DataFrame, n_classes: int, prior: Prior = None) -> ModelConfig:
    """The configuration of a model over a panel.

    Args:
        settings: section `model` of params.yaml.
        panel: one row per gene, regulators first, as `choose_panel` returns it.
        n_classes: number of cell types.
        prior: from `network_prior` or `load_prior`; a list of edges determines the number of regulators.

    Raises:
        ValueError: the sizes do not fit together.
    """
    n_regulators = prior.n_regulators if isinstance(prior, EdgeList) else int(panel["is_regulator"].sum())
    return settings.part(ModelConfig, n_genes=len(panel), n_regulators=n_regulators, n_classes=n_classes)


def network_prior(
    settings: ModelSettings, network: Network, genes: Sequence[str], n_regulators: int, min_targets: int = 1
) -> Prior:
    """What a network adds to the attention of a model; None in the modes that use no edges.

    Args:
        settings: direction, mode and number of heads.
        network: edges outside `genes` are ignored.
        genes: the panel; with direction `regulators` its regulators come first.
        n_regulators: number of regulators among `genes`.
        min_targets: with direction `targets`, regulators with fewer targets in the panel are left out.

    Returns:
        With direction `targets`, the edges; otherwise heads (or 1) x genes x (regulators + 1), see `prior_matrix`.
    """
    edges = network.edges.to_dict("list")
    if settings.by_edge:
        return edge_list(edges, genes, settings.mode, min_targets)
    prior_HGS = prior_matrix(settings.mode, edges, genes, n_regulators, settings.heads)
    return None if prior_HGS is None else torch.from_numpy(prior_HGS)


def save_prior(prior: Prior, file: Path) -> None:
    """Write what `load_prior` reads."""
    if isinstance(prior, EdgeList):
        save_file(prior.tensors(), file, prior.metadata())
    else:
        save_file({} if prior is None else {PRIOR_TENSOR: prior.numpy()}, file)


def load_prior(file: Path) -> Prior:
    """Read the attention prior that the stage `prior` wrote; None in the modes that use no edges."""
    with safe_open(file, "np") as stored:
        tensors, metadata = {name: stored.get_tensor(name) for name in stored.keys()}, stored.metadata()  # noqa: SIM118
    if metadata and "regulators" in metadata:
        return EdgeList.from_tensors(tensors, metadata)
    return torch.from_numpy(tensors[PRIOR_TENSOR]) if PRIOR_TENSOR in tensors else None


def build_model(config: ModelConfig, prior: Prior, seed: int, panel: pd.DataFrame | None = None) -> Model:
    """Build a model with fresh weights.

    Args:
        config: sizes.
        prior: from `network_prior` or `load_prior`.
        seed: random seed for the weights.
        panel: columns `mean` and `std` standardise expression; None leaves expression as it is.

    Raises:
        ValueError: the prior does not fit the configuration.
    """
    torch.manual_seed(seed)
    model = _empty_model(config, prior)
    if panel is not None:
        model.set_expression_statistics(panel["mean"].to_numpy(), panel["std"].to_numpy())
    return model


def _empty_model(config: ModelConfig, prior: Prior) -> Model:
    if config.by_edge:
        if not isinstance(prior, EdgeList):
            raise ValueError("direction 'targets' needs a list of edges as its prior")
        return ActivityTransformer(config, prior)
    if isinstance(prior, EdgeList):
        raise ValueError("direction 'regulators' needs a matrix as its prior")
    return PriorBiasedTransformer(config, prior)


def build_from_params(params: ModelAndPrior, panel: pd.DataFrame, network: Network, n_classes: int, seed: int) -> Model:
    """Build a model with fresh weights from parameters, panel and network.

    Args:
        params: sections `model` and `prior`; `prior.control` replaces the network with a control.
        panel: as `choose_panel` returns it.
        network: the prior; edges outside the panel are ignored.
        n_classes: number of cell types.
        seed: random seed for the weights and the control.
    """
    genes, n_regulators = panel["gene"].tolist(), int(panel["is_regulator"].sum())
    inside = panel_network(network, genes, params.model, params.prior)
    if params.model.uses_edges and params.prior.control != "none":
        inside = control_of(params.prior.control, inside, genes, n_regulators, params.model, seed)
    prior = network_prior(params.model, inside, genes, n_regulators)
    return build_model(model_config(params.model, panel, n_classes, prior), prior, seed, panel)


def panel_network(network: Network, genes: Sequence[str], model: ModelSettings, prior: PriorSettings) -> Network:
    """The edges of a network that a model over this panel uses.

    With direction `targets` a regulator need not be a gene of the panel, but needs `prior.min_targets` targets in it.
    """
    if not model.by_edge:
        return network.among(set(genes))
    return network.onto(set(genes), prior.min_targets)


def control_of(
    kind: Control, network: Network, genes: Sequence[str], n_regulators: int, model: ModelSettings, seed: int
) -> Network:
    """The control network of a panel's network.

    Args:
        kind: of the control.
        network: from `panel_network`.
        genes: the panel; with direction `regulators` its first `n_regulators` are the regulators.
        n_regulators: number of regulators among `genes`.
        model: direction.
        seed: random seed.
    """
    if not model.by_edge:
        return control_network(kind, network, genes[:n_regulators], genes, seed)
    return control_network(kind, network, network.regulators, sorted(set(network.edges["target"])), seed)


def load_trained_model(config_file: Path, prior_file: Path, weights_file: Path) -> Model:
    """Load a trained model in PyTorch.

    Args:
        config_file: JSON of `ModelConfig`.
        prior_file: safetensors with the attention prior.
        weights_file: safetensors with the weights.

    Raises:
        UserError: configuration, prior and weights do not belong together.
    """
    try:
        model = _empty_model(ModelConfig(**read_json(config_file)), load_prior(prior_file))
    except ValueError as error:
        raise UserError(f"{config_file}: does not fit {prior_file}; run `dvc repro -f -s train`.") from error
    weights = load_file(weights_file)
    for name in ("regulator_J", "target_J") if isinstance(model, ActivityTransformer) else ():
        if name in weights and not torch.equal(weights[name], model.get_buffer(name)):
            raise UserError(
                f"{weights_file}: was trained on other edges than those of {prior_file}; run `dvc repro -f -s train`."
            )
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(f"{weights_file}: does not fit {config_file}; run `dvc repro -f -s train`.") from error
    return model
