"""The model: from raw counts to class scores and cell embedding."""

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sctransformer.model.config import ModelConfig
from sctransformer.model.layers import CellReadout, RegulationLayer
from sctransformer.model.output import ModelOutput
from sctransformer.model.tokens import GeneTokens, HiddenGenes
from sctransformer.prior.bias import CLOSED


class PriorBiasedTransformer(nn.Module):
    """A Transformer over genes in which each gene attends to its known regulators (Milia et al., arXiv 2606.09558).

    Information flows from regulators to targets in each layer, and from all genes to the cell embedding. In `mask` mode
    genes at the end of the vocabulary without regulators skip the layers, so the cost of a large panel is close to that
    of its network.

    Args:
        config: sizes.
        prior_HGS: from `sctransformer.prior.bias.prior_matrix`, heads (or 1) x genes x (regulators + 1), the last
            column for the sink; None in the modes that use no edges. It is constant.

    Raises:
        ValueError: the prior does not fit the configuration.
    """

    prior_HQS: Tensor | None
    """The prior of the first Q genes: in `mask` mode up to the last gene with a regulator, otherwise all genes."""

    def __init__(self, config: ModelConfig, prior_HGS: Tensor | None) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("prior_HQS", self._trim(prior_HGS))
        self._folded_LHQS: list[Tensor] | None = None
        self.tokens = GeneTokens(config.n_genes, config.width)
        self.layers = nn.ModuleList(
            RegulationLayer(config.width, config.heads, config.feedforward, learns_scale=config.mode == "bias")
            for _ in range(config.depth)
        )
        self.readout = CellReadout(config.n_genes, config.width, config.readout_heads, config.embedding)
        self.classifier = nn.Linear(config.embedding, config.n_classes)

    def forward(self, counts_NG: Tensor, library_size_N: Tensor, hidden: HiddenGenes | None = None) -> ModelOutput:
        """Score cells.

        Args:
            counts_NG: raw counts, cells x genes in vocabulary order (float32).
            library_size_N: counts of the whole cell (float32).
            hidden: genes whose expression is hidden, in training; None: no gene.
        """
        embedding_NE = self.readout(self.contextual_tokens(counts_NG, library_size_N, hidden))
        return ModelOutput(self.classifier(embedding_NE), embedding_NE)

    def contextual_tokens(self, counts_NG: Tensor, library_size_N: Tensor, hidden: HiddenGenes | None = None) -> Tensor:
        """Tokens after the last regulation layer, cells x genes x width.

        Args:
            counts_NG, library_size_N: as in `forward`.
            hidden: genes whose expression is hidden, in training; None: no gene.
        """
        x_NGD = self.tokens(counts_NG, library_size_N, hidden)
        n_genes = self.config.n_genes
        n_queries = n_genes if self.prior_HQS is None else self.prior_HQS.shape[1]
        x_NQD = x_NGD[:, :n_queries]
        for index, layer in enumerate(self.layers):
            prior_HQS = self.prior_HQS if self._folded_LHQS is None else self._folded_LHQS[index]
            x_NQD = layer(x_NQD, self.config.n_keys, prior_HQS)
        return x_NQD if n_queries == n_genes else torch.cat([x_NQD, x_NGD[:, n_queries:]], dim=1)

    @property
    def scales_LH(self) -> Tensor | None:
        """Learned strength of the prior in `bias` mode, layers x heads; None in the other modes."""
        scales = [scale_H for layer in self._layers if (scale_H := layer.scale_H) is not None]
        return torch.stack(scales).detach() if scales else None

    def fold_scales(self) -> None:
        """Multiply the learned strengths into constant priors, one per layer; the output is the same. Irreversible."""
        if self.prior_HQS is not None and self.config.mode == "bias":
            self._folded_LHQS = [layer.fold_scale(self.prior_HQS) for layer in self._layers]

    @property
    def _layers(self) -> list[RegulationLayer]:
        return cast(list[RegulationLayer], list(self.layers))

    def _trim(self, prior_HGS: Tensor | None) -> Tensor | None:
        config = self.config
        if not config.uses_edges:
            return None
        if prior_HGS is None:
            raise ValueError(f"mode {config.mode!r} needs a prior")
        heads = (config.heads,) if config.mode == "bias" else (1, config.heads)
        expected = (config.n_genes, config.n_regulators + 1)
        if prior_HGS.ndim != 3 or tuple(prior_HGS.shape[1:]) != expected or prior_HGS.shape[0] not in heads:
            raise ValueError(
                f"prior has shape {tuple(prior_HGS.shape)}; expected ({' or '.join(map(str, heads))}, {expected[0]}, "
                f"{expected[1]})"
            )
        prior_HGS = prior_HGS.detach().to(torch.float32)
        return prior_HGS[:, : _n_queries(prior_HGS)].contiguous() if config.mode == "mask" else prior_HGS

    def set_expression_statistics(self, mean_G: NDArray[np.floating], std_G: NDArray[np.floating]) -> None:
        """Set mean and standard deviation of expression over the training cells, see `Standardiser.set_statistics`."""
        self.tokens.set_statistics(mean_G, std_G)


def _n_queries(bias_HGS: Tensor) -> int:
    """Number of genes in the layers: the regulators, and all genes up to the last one with a regulator."""
    has_regulator_G = (bias_HGS[:, :, :-1] > CLOSED).any(dim=2).any(dim=0)
    last = int(has_regulator_G.nonzero().max()) + 1 if has_regulator_G.any() else 0
    return max(bias_HGS.shape[2] - 1, last)
