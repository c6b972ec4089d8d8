"""Regulation attention: every gene asks, only its regulators and a sink can answer. Cost: genes x regulators."""

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class RegulationAttention(nn.Module):
    """Multi-head attention from all genes (queries) to the regulators and one learned sink (keys).

    The sink belongs to no gene. It keeps every row open, also that of a gene without regulators, and carries nothing
    from one cell's genes to another, so modules that the network keeps apart stay apart. With a hard mask all
    columns but the regulators' are closed in dense genes x genes attention too: dropping them changes nothing.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, width)
        self.sink_key_D = nn.Parameter(torch.zeros(width))
        self.sink_value_D = nn.Parameter(torch.zeros(width))

    def forward(self, x_NGD: Tensor, bias_HGS: Tensor) -> Tensor:
        """Attend.

        Args:
            x_NGD: tokens, cells x genes x width, regulators first.
            bias_HGS: added to the attention scores, heads (or 1) x genes x (regulators + 1), last column the sink.

        Returns:
            What each gene read, cells x genes x width.
        """
        n_cells, n_genes, width = x_NGD.shape
        n_regulators = bias_HGS.shape[-1] - 1
        key_NRD, value_NRD = self.key_value(x_NGD[:, :n_regulators]).chunk(2, dim=-1)
        key_NSD = torch.cat([key_NRD, self.sink_key_D.expand(n_cells, 1, width)], dim=1)
        value_NSD = torch.cat([value_NRD, self.sink_value_D.expand(n_cells, 1, width)], dim=1)
        read_NHGd = scaled_dot_product_attention(
            self._split(self.query(x_NGD)),
            self._split(key_NSD),
            self._split(value_NSD),
            attn_mask=bias_HGS[None],
        )
        return self.output(read_NHGd.transpose(1, 2).reshape(n_cells, n_genes, width))

    def _split(self, x_NLD: Tensor) -> Tensor:
        """Cells x length x width -> cells x heads x length x (width / heads)."""
        n_cells, length, width = x_NLD.shape
        return x_NLD.view(n_cells, length, self.heads, width // self.heads).transpose(1, 2)
