"""From counts to tokens: normalisation, then one token per gene. Part of the model, so training and scoring agree."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sctransformer._constants import CLIP, TARGET_SUM


def log_normalise(counts_NG: Tensor, library_size_N: Tensor) -> Tensor:
    """log1p of counts per 10,000 of the whole cell.

    Args:
        counts_NG: raw counts, cells x genes of the vocabulary (float).
        library_size_N: counts of the whole cell, over all genes that were measured (float). Values under 1 count as 1.

    Returns:
        Expression, cells x genes, dimensionless.
    """
    return torch.log1p(counts_NG * (TARGET_SUM / library_size_N.clamp(min=1.0))[:, None])


class HiddenGenes(NamedTuple):
    """Genes whose expression is hidden from the model."""

    hidden_NG: Tensor
    """True where a gene is hidden, cells x genes."""
    value_D: Tensor | None = None
    """Replaces the value of a hidden gene in its token; None: zero, as for a gene at its mean."""
    gain: float = 1.0
    """Multiplies the values of the shown genes."""


def dropped_out(hidden_NG: Tensor, share: float) -> HiddenGenes:
    """Hide genes as dropout does (Srivastava et al. 2014, JMLR 15:1929): the expected sum of values stays the same.

    A hidden gene is treated as unknown, not as a count of zero.

    Args:
        hidden_NG: True where a gene is hidden, cells x genes.
        share: fraction of genes that is hidden on average.
    """
    return HiddenGenes(hidden_NG, gain=1.0 / (1.0 - share))


class Standardiser(nn.Module):
    """Expression from counts, standardised with the mean and standard deviation of the training cells.

    Values are clipped to +-5, which limits the influence of rare, highly expressed genes.
    """

    mean_G: Tensor
    scale_G: Tensor

    def __init__(self, n_genes: int) -> None:
        super().__init__()
        self.register_buffer("mean_G", torch.zeros(n_genes))
        self.register_buffer("scale_G", torch.ones(n_genes))

    def standardised(self, counts_NG: Tensor, library_size_N: Tensor) -> Tensor:
        """Expression in standard deviations from the mean of the training cells, clipped, cells x genes."""
        return self.clipped(self.centred(counts_NG, library_size_N))

    def centred(self, counts_NG: Tensor, library_size_N: Tensor) -> Tensor:
        """log1p of counts per 10,000 minus the mean of the training cells, cells x genes."""
        return log_normalise(counts_NG, library_size_N) - self.mean_G

    def clipped(self, centred_NG: Tensor) -> Tensor:
        """Centred expression in standard deviations, clipped."""
        return (centred_NG * self.scale_G).clamp(-CLIP, CLIP)

    @property
    def varies_G(self) -> Tensor:
        """True for genes that vary among the training cells."""
        return self.scale_G > 0

    @torch.no_grad()
    def set_statistics(self, mean_G: NDArray[np.floating], std_G: NDArray[np.floating]) -> None:
        """Set mean and standard deviation of log1p counts per 10,000 over the training cells.

        Constant genes get the scale 0.
        """
        std = torch.as_tensor(np.asarray(std_G, dtype=np.float32))
        self.mean_G.copy_(torch.as_tensor(np.asarray(mean_G, dtype=np.float32)))
        self.scale_G.copy_(torch.where(std > 1e-6, 1.0 / std.clamp(min=1e-6), torch.zeros_like(std)))


class GeneTokens(Standardiser):
    """One token per gene: an embedding of the gene's identity, plus its expression times an embedding of its value.

    Genes with a count of zero have a token too.
    """

    def __init__(self, n_genes: int, width: int) -> None:
        super().__init__(n_genes)
        self.identity_GD = nn.Parameter(torch.randn(n_genes, width) * 0.3)
        self.value_GD = nn.Parameter(torch.randn(n_genes, width) * 0.3)

    def forward(self, counts_NG: Tensor, library_size_N: Tensor, hidden: HiddenGenes | None = None) -> Tensor:
        """Tokens, cells x genes x width; that of a hidden gene does not depend on its count."""
        z_NG = self.standardised(counts_NG, library_size_N)
        if hidden is not None:
            z_NG = torch.where(hidden.hidden_NG, 0.0, z_NG * hidden.gain)
        value_NGD = z_NG[:, :, None] * self.value_GD
        if hidden is not None and hidden.value_D is not None:
            value_NGD = torch.where(hidden.hidden_NG[:, :, None], hidden.value_D, value_NGD)
        return self.identity_GD + value_NGD
