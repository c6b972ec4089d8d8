"""Blocks made of attention: the regulation layer, and the readout with which a cell token reads all genes."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, softplus

from sctransformer.model.attention import RegulationAttention

FIRST_SCALE = 2.0
"""Strength of the prior before training in `bias` mode: an edge of confidence 1 is read e**2 times as readily."""


class RegulationLayer(nn.Module):
    """A pre-norm Transformer block over genes. A gene keeps itself through the residual path.

    Args:
        width, heads, feedforward: sizes.
        learns_scale: whether each head learns how strongly it follows the prior, from 0 (not at all) upwards.
    """

    raw_scale_H: nn.Parameter | None

    def __init__(self, width: int, heads: int, feedforward: int, learns_scale: bool = False) -> None:
        super().__init__()
        first = math.log(math.expm1(FIRST_SCALE))  # softplus of it is FIRST_SCALE
        self.raw_scale_H = nn.Parameter(torch.full((heads,), first)) if learns_scale else None
        self.attention_norm = nn.LayerNorm(width)
        self.attention = RegulationAttention(width, heads)
        out_of_feedforward = nn.Linear(feedforward, width)
        self.feedforward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, feedforward), nn.GELU(), out_of_feedforward
        )
        for leading_out in (self.attention.output, out_of_feedforward):
            start_at_zero(leading_out)

    @property
    def scale_H(self) -> Tensor | None:
        """How strongly each head follows the prior, never negative; None where that is not learned."""
        return None if self.raw_scale_H is None else softplus(self.raw_scale_H)

    def forward(self, x_NGD: Tensor, n_keys: int, prior_HGS: Tensor | None) -> Tensor:
        """Tokens to tokens, cells x genes x width; arguments as in `RegulationAttention`."""
        x_NGD = x_NGD + self.attention(self.attention_norm(x_NGD), n_keys, prior_HGS, self.scale_H)
        return x_NGD + self.feedforward(x_NGD)

    def fold_scale(self, prior_HGS: Tensor) -> Tensor:
        """Make the learned strength part of the prior, for a graph of constants; gives the prior of this layer."""
        scale_H, self.raw_scale_H = self.scale_H, None
        return prior_HGS if scale_H is None else scale_H.detach()[:, None, None] * prior_HGS


class CellReadout(nn.Module):
    """The cell token reads all genes once, in two ways, and becomes the cell embedding.

    By attention: each head has a learned query; keys and values are the tokens themselves, shared by all heads, for a
    projection of them could be moved into the query and behind the sum, where it is done once a cell instead of once a
    gene. And by scores: each token is turned into one number, and a signed weight a gene and dimension carries it into
    the embedding. Attention weights are positive and start out even, so a few hundred cells hardly teach them which
    genes speak against a type; the scores can be given weights in closed form (`training.principal_start`). A
    feed-forward block over the cell follows. Costs genes x (width x heads + embedding); tokens are read as they are,
    without a norm: how far a token reaches is how strongly its gene is expressed.
    """

    def __init__(self, n_genes: int, width: int, heads: int, embedding: int) -> None:
        super().__init__()
        self.cell_token_HD = nn.Parameter(torch.randn(heads, width) * 0.3)
        self.score_GD = nn.Parameter(torch.randn(n_genes, width) * width**-0.5)
        self.score_weight_GE = nn.Parameter(torch.randn(n_genes, embedding) * n_genes**-0.5)
        self.attended = nn.Linear(heads * width, embedding)
        out_of_feedforward = nn.Linear(embedding, embedding)
        self.feedforward = nn.Sequential(
            nn.LayerNorm(embedding), nn.Linear(embedding, embedding), nn.GELU(), out_of_feedforward
        )
        for leading_out in (self.attended, out_of_feedforward):
            start_at_zero(leading_out)

    def forward(self, x_NGD: Tensor) -> Tensor:
        """Tokens, cells x genes x width, to cell embeddings, cells x embedding."""
        n_cells = x_NGD.shape[0]
        query_NHD = self.cell_token_HD.expand(n_cells, -1, -1)
        read_NHD = scaled_dot_product_attention(query_NHD[:, None], x_NGD[:, None], x_NGD[:, None])[:, 0]
        score_NG = (x_NGD * self.score_GD).sum(dim=-1)
        embedding_NE = self.attended(read_NHD.reshape(n_cells, -1)) + score_NG @ self.score_weight_GE
        return embedding_NE + self.feedforward(embedding_NE)


def start_at_zero(leading_out: nn.Linear) -> None:
    """Close a branch at first, so that its block starts as the identity.

    What few cells teach first is then what genes say by themselves, and what regulators add is learned where it helps.
    """
    nn.init.zeros_(leading_out.weight)
    nn.init.zeros_(leading_out.bias)
