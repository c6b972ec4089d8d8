"""Decoder of masked expression, from gene tokens and cell embedding to expression. Used in pretraining only."""

import torch
from torch import Tensor, nn

from sctransformer.model.config import ModelConfig
from sctransformer.model.tokens import HiddenGenes
from sctransformer.model.transformer import PriorBiasedTransformer


class ExpressionDecoder(nn.Module):
    """Predicts the standardised expression of every gene from its contextual token and from the cell embedding.

    The token carries information from the gene's regulators, the embedding from the whole cell. The weights of the
    tokens start at zero, so that the embedding, and with it the readout, is trained too. Not part of the registered
    model.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.hidden_value_D = nn.Parameter(torch.zeros(config.width))
        """Replaces the value of a hidden gene in its token; zero, its initial value, is the mean of the gene."""
        self.token_weight_GD = nn.Parameter(torch.zeros(config.n_genes, config.width))
        self.embedding_weight_EG = nn.Parameter(torch.randn(config.embedding, config.n_genes) * config.embedding**-0.5)
        self.bias_G = nn.Parameter(torch.zeros(config.n_genes))

    @torch.no_grad()
    def start_from(self, loading_EG: Tensor) -> None:
        """Set the linear map from embeddings to standardised expression, for example from principal components."""
        self.embedding_weight_EG.copy_(loading_EG)

    def forward(self, x_NGD: Tensor, embedding_NE: Tensor) -> Tensor:
        """Standardised expression, cells x genes.

        Args:
            x_NGD: contextual tokens, cells x genes x width.
            embedding_NE: cell embeddings of the same tokens.
        """
        return (x_NGD * self.token_weight_GD).sum(dim=-1) + embedding_NE @ self.embedding_weight_EG + self.bias_G


class MaskedExpressionModel(nn.Module):
    """Model and decoder as one module: from cells with hidden genes to the expression of all genes."""

    def __init__(self, model: PriorBiasedTransformer, decoder: ExpressionDecoder) -> None:
        super().__init__()
        self.model = model
        self.decoder = decoder

    def forward(self, counts_NG: Tensor, library_size_N: Tensor, hidden_NG: Tensor) -> Tensor:
        """Standardised expression predicted from the shown genes, cells x genes.

        Args:
            counts_NG: raw counts, cells x genes; those of hidden genes have no effect.
            library_size_N: counts of the whole cell, with hidden genes, as in scoring.
            hidden_NG: True where a gene is hidden.
        """
        hidden = HiddenGenes(hidden_NG, self.decoder.hidden_value_D)
        x_NGD = self.model.contextual_tokens(counts_NG, library_size_N, hidden)
        return self.decoder(x_NGD, self.model.readout(x_NGD))
