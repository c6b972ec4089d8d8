"""Blocks made of attention: the regulation layer, and the readout with which a cell token reads all genes."""

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from sctransformer.model.attention import RegulationAttention


class RegulationLayer(nn.Module):
    """A pre-norm Transformer block over genes. A gene keeps itself through the residual path."""

    def __init__(self, width: int, heads: int, feedforward: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = RegulationAttention(width, heads)
        self.feedforward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, feedforward), nn.GELU(), nn.Linear(feedforward, width)
        )

    def forward(self, x_NGD: Tensor, bias_HGS: Tensor) -> Tensor:
        """Tokens to tokens, cells x genes x width; `bias_HGS` as in `RegulationAttention`."""
        x_NGD = x_NGD + self.attention(self.attention_norm(x_NGD), bias_HGS)
        return x_NGD + self.feedforward(x_NGD)


class CellReadout(nn.Module):
    """One cell token reads all genes in a last attention; what it read is the cell embedding.

    Attention weights are positive and start out nearly even, so a few hundred cells hardly teach them which genes
    speak against a type. To each head's attention a learned, signed weight a gene is therefore added, the same for
    every cell. Only the cell token asks, so the cost is one row of attention a head.
    """

    def __init__(self, n_genes: int, width: int, heads: int, embedding: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.cell_token_HKd = nn.Parameter(torch.randn(heads, 1, embedding // heads) * 0.3)
        self.gene_weight_HKG = nn.Parameter(torch.randn(heads, 1, n_genes) * n_genes**-0.5)
        self.key_value = nn.Linear(width, 2 * embedding)
        self.output = nn.Sequential(nn.LayerNorm(embedding), nn.Linear(embedding, embedding))

    def forward(self, x_NGD: Tensor) -> Tensor:
        """Tokens, cells x genes x width, to cell embeddings, cells x embedding."""
        n_cells, n_genes, _ = x_NGD.shape
        key_value_NGHe = self.key_value(self.norm(x_NGD)).view(n_cells, n_genes, self.heads, -1)
        key_NHGd, value_NHGd = key_value_NGHe.transpose(1, 2).chunk(2, dim=-1)
        query_NHKd = self.cell_token_HKd.expand(n_cells, -1, -1, -1)
        read_NHKd = scaled_dot_product_attention(query_NHKd, key_NHGd, value_NHGd) + self.gene_weight_HKG @ value_NHGd
        return self.output(read_NHKd.reshape(n_cells, -1))
