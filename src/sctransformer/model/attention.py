"""Regulation attention: every gene asks, only the keys can answer, the prior says how readily. Cost: genes x keys."""

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from sctransformer.model.scaled_prior import attention_with_scaled_prior


class RegulationAttention(nn.Module):
    """Multi-head attention from all genes (queries) to the first K genes and one learned sink (keys).

    In every mode but `dense` the K keys are the regulators. The sink belongs to no gene. It keeps every row open, also
    that of a gene without regulators, and carries nothing from one cell's genes to another, so modules that the network
    keeps apart stay apart. With a hard mask all columns but the regulators' are closed in dense genes x genes attention
    too: dropping them changes nothing.
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
            x_NGD: tokens, cells x genes x width, the keys' genes first.
            n_keys: K, how many genes can be read.
            prior_HGS: added to the scores, heads (or 1) x genes x (K + 1), last column the sink; None: nothing is.
            scale_H: multiplies the prior of each head; None: 1.

        Returns:
            What each gene read, cells x genes x width.
        """
        n_cells, n_genes, width = x_NGD.shape
        key_NKD, value_NKD = self.key_value(x_NGD[:, :n_keys]).chunk(2, dim=-1)
        key_NSD = torch.cat([key_NKD, self.sink_key_D.expand(n_cells, 1, width)], dim=1)
        value_NSD = torch.cat([value_NKD, self.sink_value_D.expand(n_cells, 1, width)], dim=1)
        query_NHGd, key_NHSd, value_NHSd = (self._split(x_NLD) for x_NLD in (self.query(x_NGD), key_NSD, value_NSD))
        if prior_HGS is not None and scale_H is not None:
            read_NHGd = attention_with_scaled_prior(query_NHGd, key_NHSd, value_NHSd, scale_H, prior_HGS)
        else:
            bias_NHGS = None if prior_HGS is None else prior_HGS[None]
            read_NHGd = scaled_dot_product_attention(query_NHGd, key_NHSd, value_NHSd, attn_mask=bias_NHGS)
        return self.output(read_NHGd.transpose(1, 2).reshape(n_cells, n_genes, width))

    def _split(self, x_NLD: Tensor) -> Tensor:
        """Cells x length x width -> cells x heads x length x (width / heads)."""
        n_cells, length, width = x_NLD.shape
        return x_NLD.view(n_cells, length, self.heads, width // self.heads).transpose(1, 2)
