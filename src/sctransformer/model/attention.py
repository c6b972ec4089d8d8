"""Regulation attention: queries of all genes, keys of the regulators, a prior on the scores. Cost: genes x keys."""

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from sctransformer.model.scaled_prior import attention_with_scaled_prior


class RegulationAttention(nn.Module):
    """Multi-head attention from all genes (queries) to the first K genes and one learned sink (keys).

    In every mode but `dense` the K keys are the regulators. The sink belongs to no gene: genes without regulators
    attend to it, and it carries no information from gene to gene. With the mask, dense genes x genes attention would
    mask all columns but those of the regulators; leaving them out gives the same result.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, width)
        self.sink_key_D = nn.Parameter(torch.zeros(width))
        self.sink_value_D = nn.Parameter(torch.zeros(width))

    def forward(
        self, x_NGD: Tensor, n_keys: int, prior_HGS: Tensor | None = None, scale_H: Tensor | None = None
    ) -> Tensor:
        """Attend.

        Args:
            x_NGD: tokens, cells x genes x width, the genes of the keys first.
            n_keys: K, number of genes that serve as keys.
            prior_HGS: added to the scores, heads (or 1) x genes x (K + 1), last column for the sink; None: no prior.
            scale_H: multiplies the prior of each head; None: 1.

        Returns:
            Attention output, cells x genes x width.
        """
        n_cells, n_genes, width = x_NGD.shape
        key_NKD, value_NKD = self.key_value(x_NGD[:, :n_keys]).chunk(2, dim=-1)
        key_NSD = torch.cat([key_NKD, self.sink_key_D.expand(n_cells, 1, width)], dim=1)
        value_NSD = torch.cat([value_NKD, self.sink_value_D.expand(n_cells, 1, width)], dim=1)
        query_NHGd, key_NHSd, value_NHSd = map(self._split_heads, (self.query(x_NGD), key_NSD, value_NSD))
        if prior_HGS is not None and scale_H is not None:
            output_NHGd = attention_with_scaled_prior(query_NHGd, key_NHSd, value_NHSd, scale_H, prior_HGS)
        else:
            bias_NHGS = None if prior_HGS is None else prior_HGS[None]
            output_NHGd = scaled_dot_product_attention(query_NHGd, key_NHSd, value_NHSd, attn_mask=bias_NHGS)
        return self.output(output_NHGd.transpose(1, 2).reshape(n_cells, n_genes, width))

    def _split_heads(self, x: Tensor) -> Tensor:
        """Cells x length x width -> cells x heads x length x (width / heads)."""
        n_cells, length, width = x.shape
        return x.view(n_cells, length, self.heads, width // self.heads).transpose(1, 2)
