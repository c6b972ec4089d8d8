"""Build a model and its training settings from parameters."""

from dataclasses import fields

import pandas as pd
import torch

from sctransformer.model import ModelConfig, PriorBiasedTransformer
from sctransformer.params import Params
from sctransformer.prior.bias import prior_matrix
from sctransformer.prior.controls import control_network
from sctransformer.prior.network import Network
from sctransformer.training.config import TrainConfig

TRAIN_FIELDS = frozenset(field.name for field in fields(TrainConfig)) - {"seed"}
"""Parameters of `train` that decide the result; the others say on which workers it is computed."""


def new_model(
    panel: pd.DataFrame, network: Network, params: Params, n_classes: int, seed: int
) -> PriorBiasedTransformer:
    """A model with fresh weights over a panel, with the network or the control in its place that `params` names.

    Args:
        panel: as `choose_panel` gives it.
        network: the prior; edges with an end outside the panel are passed over.
        params: model, and prior.control.
        n_classes: cell types.
        seed: of the weights and of the control.
    """
    genes, n_regulators = panel["gene"].tolist(), int(panel["is_regulator"].sum())
    config = ModelConfig(
        n_genes=len(genes), n_regulators=n_regulators, n_classes=n_classes, **params.model.model_dump()
    )
    among = network.among(set(genes))
    if config.uses_edges and params.prior.control != "none":
        among = control_network(params.prior.control, among, genes[:n_regulators], genes, seed)
    prior = prior_matrix(config.mode, among.edges.to_dict("list"), genes, n_regulators, config.heads)
    torch.manual_seed(seed)
    model = PriorBiasedTransformer(config, None if prior is None else torch.from_numpy(prior))
    model.set_expression_statistics(panel["mean"].to_numpy(), panel["std"].to_numpy())
    return model


def train_config(params: Params, seed: int) -> TrainConfig:
    """The optimisation that `params.train` describes."""
    return TrainConfig(seed=seed, **params.train.model_dump(include=set(TRAIN_FIELDS)))
