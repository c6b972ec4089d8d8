"""Build models: fresh weights over a gene panel and a prior, or trained weights from files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import pandas as pd
import torch
from safetensors.torch import load_file
from torch import Tensor

from sctransformer.errors import UserError
from sctransformer.files import read_json
from sctransformer.model import ModelConfig, PriorBiasedTransformer
from sctransformer.model.config import ModelSettings
from sctransformer.prior.bias import PRIOR_TENSOR, prior_matrix
from sctransformer.prior.controls import control_network
from sctransformer.prior.network import Network
from sctransformer.prior.settings import PriorSettings


class ModelAndPrior(Protocol):
    """Parameters with the sections `model` and `prior`, such as `sctransformer.params.Params`."""

    @property
    def model(self) -> ModelSettings:
        """Attention mode and layer sizes."""

    @property
    def prior(self) -> PriorSettings:
        """Prior network."""


def model_config(settings: ModelSettings, panel: pd.DataFrame, n_classes: int) -> ModelConfig:
    """The configuration of a model over a panel.

    Args:
        settings: section `model` of params.yaml.
        panel: one row per gene, regulators first, as `choose_panel` returns it.
        n_classes: number of cell types.

    Raises:
        ValueError: the sizes do not fit together.
    """
    n_regulators = int(panel["is_regulator"].sum())
    return settings.part(ModelConfig, n_genes=len(panel), n_regulators=n_regulators, n_classes=n_classes)


def network_prior(config: ModelConfig, network: Network, genes: Sequence[str]) -> Tensor | None:
    """The attention prior of a network; None in the modes that use no edges.

    Args:
        config: mode, number of regulators and of heads.
        network: edges outside `genes` are ignored.
        genes: the panel, regulators first.

    Returns:
        prior_HGS: heads (or 1) x genes x (regulators + 1), see `prior_matrix`.
    """
    edges = network.edges.to_dict("list")
    prior_HGS = prior_matrix(config.mode, edges, genes, config.n_regulators, config.heads)
    return None if prior_HGS is None else torch.from_numpy(prior_HGS)


def load_prior(file: Path) -> Tensor | None:
    """Read the attention prior that the stage `prior` wrote; None in the modes that use no edges."""
    return load_file(file).get(PRIOR_TENSOR)


def build_model(
    config: ModelConfig, prior_HGS: Tensor | None, seed: int, panel: pd.DataFrame | None = None
) -> PriorBiasedTransformer:
    """Build a model with fresh weights.

    Args:
        config: sizes.
        prior_HGS: from `network_prior` or `load_prior`.
        seed: random seed for the weights.
        panel: columns `mean` and `std` standardise expression; None leaves expression as it is.

    Raises:
        ValueError: the prior does not fit the configuration.
    """
    torch.manual_seed(seed)
    model = PriorBiasedTransformer(config, prior_HGS)
    if panel is not None:
        model.set_expression_statistics(panel["mean"].to_numpy(), panel["std"].to_numpy())
    return model


def build_from_params(
    params: ModelAndPrior, panel: pd.DataFrame, network: Network, n_classes: int, seed: int
) -> PriorBiasedTransformer:
    """Build a model with fresh weights from parameters, panel and network.

    Args:
        params: sections `model` and `prior`; `prior.control` replaces the network with a control.
        panel: as `choose_panel` returns it.
        network: the prior; edges outside the panel are ignored.
        n_classes: number of cell types.
        seed: random seed for the weights and the control.
    """
    genes = panel["gene"].tolist()
    config = model_config(params.model, panel, n_classes)
    network = network.among(set(genes))
    if config.uses_edges and params.prior.control != "none":
        network = control_network(params.prior.control, network, genes[: config.n_regulators], genes, seed)
    return build_model(config, network_prior(config, network, genes), seed, panel)


def load_trained_model(config_file: Path, prior_file: Path, weights_file: Path) -> PriorBiasedTransformer:
    """Load a trained model in PyTorch.

    Args:
        config_file: JSON of `ModelConfig`.
        prior_file: safetensors with the attention prior.
        weights_file: safetensors with the weights.

    Raises:
        UserError: configuration, prior and weights do not belong together.
    """
    try:
        model = PriorBiasedTransformer(ModelConfig(**read_json(config_file)), load_prior(prior_file))
    except ValueError as error:
        raise UserError(f"{config_file}: does not fit {prior_file}; run `dvc repro -f -s train`.") from error
    try:
        model.load_state_dict(load_file(weights_file))
    except RuntimeError as error:
        raise UserError(f"{weights_file}: does not fit {config_file}; run `dvc repro -f -s train`.") from error
    return model
