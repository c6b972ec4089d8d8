"""The whole model: raw counts in, class scores and cell embedding out."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sctransformer.model.config import ModelConfig
from sctransformer.model.layers import CellReadout, RegulationLayer
from sctransformer.model.tokens import GeneTokens


class ModelOutput(NamedTuple):
    """What the model says of each cell."""

    logits_NC: Tensor
    """Class scores before softmax and before calibration, cells x classes."""
    embedding_NE: Tensor
    """Cell embedding, cells x embedding."""


class PriorBiasedTransformer(nn.Module):
    """Genes are tokens, and a gene reads the genes known to regulate it (Milia et al., arXiv 2606.09558).

    Information flows one way, regulator -> target -> cell: layer by layer along the network's cascades, then into
    the cell token.

    Args:
        config: sizes.
        bias_HGS: the prior as an attention bias, heads (or 1) x genes x (regulators + 1), last column the sink;
            0 where a pair is open and `prior.bias.CLOSED` where it is not. A constant, never trained.
    """

    bias_HGS: Tensor

    def __init__(self, config: ModelConfig, bias_HGS: Tensor) -> None:
        super().__init__()
        expected = (config.n_genes, config.n_regulators + 1)
        if bias_HGS.ndim != 3 or tuple(bias_HGS.shape[1:]) != expected or bias_HGS.shape[0] not in (1, config.heads):
            raise ValueError(
                f"bias has shape {tuple(bias_HGS.shape)}; expected (1 or {config.heads}, {expected[0]}, {expected[1]})"
            )
        self.config = config
        self.tokens = GeneTokens(config.n_genes, config.width)
        self.layers = nn.ModuleList(
            RegulationLayer(config.width, config.heads, config.feedforward) for _ in range(config.depth)
        )
        self.readout = CellReadout(config.n_genes, config.width, config.readout_heads, config.embedding)
        self.classifier = nn.Linear(config.embedding, config.n_classes)
        self.register_buffer("bias_HGS", bias_HGS.detach().to(torch.float32))

    def forward(self, counts_NG: Tensor, library_size_N: Tensor) -> ModelOutput:
        """Score cells.

        Args:
            counts_NG: raw counts, cells x genes in vocabulary order (float32).
            library_size_N: counts of the whole cell (float32).
        """
        x_NGD = self.tokens(counts_NG, library_size_N)
        for layer in self.layers:
            x_NGD = layer(x_NGD, self.bias_HGS)
        embedding_NE = self.readout(x_NGD)
        return ModelOutput(self.classifier(embedding_NE), embedding_NE)

    @torch.no_grad()
    def set_expression_statistics(self, mean_G: NDArray[np.floating], std_G: NDArray[np.floating]) -> None:
        """Set how expression is standardised, from the training cells' log1p counts per 10,000.

        A gene that does not vary gets the scale 0: it says nothing about a cell.
        """
        std = torch.as_tensor(np.asarray(std_G, dtype=np.float32))
        self.tokens.mean_G.copy_(torch.as_tensor(np.asarray(mean_G, dtype=np.float32)))
        self.tokens.scale_G.copy_(torch.where(std > 1e-6, 1.0 / std.clamp(min=1e-6), torch.zeros_like(std)))
