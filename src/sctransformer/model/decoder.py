"""The decoder of masked expression: from gene tokens and cell embedding back to expression. Used in training alone."""

import torch
from torch import Tensor, nn

from sctransformer.model.config import ModelConfig
from sctransformer.model.tokens import HiddenGenes
from sctransformer.model.transformer import PriorBiasedTransformer


class ExpressionDecoder(nn.Module):
    """Predicts the standardised expression of every gene from its contextual token and from the cell embedding.

    The token says what a gene's regulators say of it; the embedding says what the whole cell says of it, and is what
    teaches the readout. The path from the tokens starts at zero, so that the embedding is not left idle by an easier
    way. Not part of the registered model.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.hidden_value_D = nn.Parameter(torch.zeros(config.width))
        """Stands in a token where the value of a hidden gene would stand; at first as if it were at its mean."""
        self.token_weight_GD = nn.Parameter(torch.zeros(config.n_genes, config.width))
        self.embedding_weight_EG = nn.Parameter(torch.randn(config.embedding, config.n_genes) * config.embedding**-0.5)
        self.bias_G = nn.Parameter(torch.zeros(config.n_genes))

    @torch.no_grad()
    def start_from(self, loading_EG: Tensor) -> None:
        """Begin with a linear map from embeddings to standardised expression that is known already."""
        self.embedding_weight_EG.copy_(loading_EG)

    def forward(self, x_NGD: Tensor, embedding_NE: Tensor) -> Tensor:
        """Standardised expression, cells x genes.

        Args:
            x_NGD: contextual tokens, cells x genes x width.
            embedding_NE: cell embeddings of the same tokens.
        """
        return (x_NGD * self.token_weight_GD).sum(dim=-1) + embedding_NE @ self.embedding_weight_EG + self.bias_G


class MaskedExpressionModel(nn.Module):
    """Model and decoder as one module: cells with hidden genes in, the expression of all their genes out."""

    def __init__(self, model: PriorBiasedTransformer, decoder: ExpressionDecoder) -> None:
        super().__init__()
        self.model = model
        self.decoder = decoder

    def forward(self, counts_NG: Tensor, library_size_N: Tensor, hidden_NG: Tensor) -> Tensor:
        """Standardised expression as predicted from the genes that are not hidden, cells x genes.

        Args:
            counts_NG: raw counts, cells x genes; those of hidden genes change nothing.
            library_size_N: counts of the whole cell, hidden genes included, as in scoring: depth is no secret.
            hidden_NG: True where a gene is hidden.
        """
        hidden = HiddenGenes(hidden_NG, self.decoder.hidden_value_D)
        x_NGD = self.model.contextual_tokens(counts_NG, library_size_N, hidden)
        return self.decoder(x_NGD, self.model.readout(x_NGD))
