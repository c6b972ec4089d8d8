"""Blocks made of attention: the regulation layer, and the readout with which a cell token reads all genes."""

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from sctransformer.model.attention import RegulationAttention

BRANCH_SCALE = 0.1
"""Of the first weights that lead out of a branch: a layer starts near the identity, so that what few cells teach first
is what genes say by themselves, and what regulators add to it is learned where it helps."""


class RegulationLayer(nn.Module):
    """A pre-norm Transformer block over genes. A gene keeps itself through the residual path."""

    def __init__(self, width: int, heads: int, feedforward: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = RegulationAttention(width, heads)
        out_of_feedforward = nn.Linear(feedforward, width)
        self.feedforward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, feedforward), nn.GELU(), out_of_feedforward
        )
        for leading_out in (self.attention.output, out_of_feedforward):
            nn.init.normal_(leading_out.weight, std=BRANCH_SCALE * leading_out.in_features**-0.5)
            nn.init.zeros_(leading_out.bias)

    def forward(self, x_NGD: Tensor, bias_HGS: Tensor) -> Tensor:
        """Tokens to tokens, cells x genes x width; `bias_HGS` as in `RegulationAttention`."""
        x_NGD = x_NGD + self.attention(self.attention_norm(x_NGD), bias_HGS)
        return x_NGD + self.feedforward(x_NGD)


class CellReadout(nn.Module):
    """One cell token reads all genes in a last attention; what its heads read becomes the cell embedding.

    Tokens are read as they are, without a norm before: how far a token reaches is how strongly its gene is expressed.
    Keys and values are the tokens themselves, shared by all heads: a projection of them could be moved into the query
    and behind the sum, where it is done once a cell instead of once a gene. Attention weights are positive and start
    out nearly even, so a few hundred cells hardly teach them which genes speak against a type; to each head's attention
    a learned, signed weight a gene is therefore added, the same for every cell.
    """

    def __init__(self, n_genes: int, width: int, heads: int, embedding: int) -> None:
        super().__init__()
        self.cell_token_HD = nn.Parameter(torch.randn(heads, width) * 0.3)
        self.gene_weight_HG = nn.Parameter(torch.randn(heads, n_genes) * n_genes**-0.5)
        self.output = nn.Sequential(nn.LayerNorm(heads * width), nn.Linear(heads * width, embedding))

    def forward(self, x_NGD: Tensor) -> Tensor:
        """Tokens, cells x genes x width, to cell embeddings, cells x embedding."""
        n_cells = x_NGD.shape[0]
        query_NHD = self.cell_token_HD.expand(n_cells, -1, -1)
        attended_NHD = scaled_dot_product_attention(query_NHD[:, None], x_NGD[:, None], x_NGD[:, None])[:, 0]
        read_NHD = attended_NHD + self.gene_weight_HG @ x_NGD
        return self.output(read_NHD.reshape(n_cells, -1))
