"""Attention blocks: the regulation layer, and the readout from gene tokens to the cell embedding."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, softplus

from sctransformer.model.attention import RegulationAttention

INITIAL_SCALE = 2.0
"""Initial strength of the prior in `bias` mode: an edge of confidence 1 multiplies the attention weight by e**2."""


class RegulationLayer(nn.Module):
    """A pre-norm Transformer block over genes.

    Args:
        width, heads, feedforward: sizes.
        learns_scale: whether each head learns the strength of the prior.
    """

    raw_scale_H: nn.Parameter | None

    def __init__(self, width: int, heads: int, feedforward: int, learns_scale: bool = False) -> None:
        super().__init__()
        initial = math.log(math.expm1(INITIAL_SCALE))  # inverse of softplus
        self.raw_scale_H = nn.Parameter(torch.full((heads,), initial)) if learns_scale else None
        self.attention_norm = nn.LayerNorm(width)
        self.attention = RegulationAttention(width, heads)
        feedforward_output = nn.Linear(feedforward, width)
        self.feedforward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, feedforward), nn.GELU(), feedforward_output
        )
        for output in (self.attention.output, feedforward_output):
            init_zero(output)

    @property
    def scale_H(self) -> Tensor | None:
        """Strength of the prior per head, not negative; None if it is not learned."""
        return None if self.raw_scale_H is None else softplus(self.raw_scale_H)

    def forward(self, x_NGD: Tensor, n_keys: int, prior_HGS: Tensor | None) -> Tensor:
        """Contextual tokens, cells x genes x width; arguments as in `RegulationAttention`."""
        x_NGD = x_NGD + self.attention(self.attention_norm(x_NGD), n_keys, prior_HGS, self.scale_H)
        return x_NGD + self.feedforward(x_NGD)

    def fold_scale(self, prior_HGS: Tensor) -> Tensor:
        """Multiply the learned strength into the prior and return it: the exported graph needs a constant."""
        scale_H, self.raw_scale_H = self.scale_H, None
        return prior_HGS if scale_H is None else scale_H.detach()[:, None, None] * prior_HGS


class CellReadout(nn.Module):
    """From gene tokens to the cell embedding, by attention and by a weighted sum over genes.

    Attention: each head has a learned query. Keys and values are the tokens, without projections: those could be moved
    into the query and behind the sum, where they are computed once per cell instead of once per gene. Weighted sum:
    each token is mapped to a score, and signed weights per gene and dimension map the scores to the embedding.
    Attention weights are positive and start out equal, so a few hundred cells hardly teach them which genes are
    evidence against a type; the weights of the scores have a closed-form initialization
    (`sctransformer.training.pca_init`). A feed-forward block follows. The cost is genes x (width x heads + embedding).
    Tokens are not normalised, since the length of a token reflects the expression of its gene.
    """

    def __init__(self, n_genes: int, width: int, heads: int, embedding: int) -> None:
        super().__init__()
        self.cell_token_HD = nn.Parameter(torch.randn(heads, width) * 0.3)
        self.score_GD = nn.Parameter(torch.randn(n_genes, width) * width**-0.5)
        self.score_weight_GE = nn.Parameter(torch.randn(n_genes, embedding) * n_genes**-0.5)
        self.attended = nn.Linear(heads * width, embedding)
        feedforward_output = nn.Linear(embedding, embedding)
        self.feedforward = nn.Sequential(
            nn.LayerNorm(embedding), nn.Linear(embedding, embedding), nn.GELU(), feedforward_output
        )
        for output in (self.attended, feedforward_output):
            init_zero(output)

    def forward(self, x_NGD: Tensor) -> Tensor:
        """Tokens, cells x genes x width, to cell embeddings, cells x embedding."""
        n_cells = x_NGD.shape[0]
        query_NHD = self.cell_token_HD.expand(n_cells, -1, -1)
        attended_NHD = scaled_dot_product_attention(query_NHD[:, None], x_NGD[:, None], x_NGD[:, None])[:, 0]
        score_NG = (x_NGD * self.score_GD).sum(dim=-1)
        embedding_NE = self.attended(attended_NHD.reshape(n_cells, -1)) + score_NG @ self.score_weight_GE
        return embedding_NE + self.feedforward(embedding_NE)


def init_zero(output: nn.Linear) -> None:
    """Initialize the output of a residual branch with zeros, so that its block starts as the identity.

    Few cells then first train what single genes contribute; the contribution of regulators is learned on top of it.
    """
    nn.init.zeros_(output.weight)
    nn.init.zeros_(output.bias)
