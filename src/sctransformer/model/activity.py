"""The model in which regulators attend to their targets; labels and embedding are linear in expression."""

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sctransformer.model.config import ModelConfig
from sctransformer.model.edge_attention import EdgeAttention
from sctransformer.model.output import ModelOutput
from sctransformer.model.tokens import Standardiser
from sctransformer.prior.edge_list import EdgeList

_SMALL = 0.1
"""Initial weight of a pair that is no edge of the network, where all pairs are open, times genes**-0.5; and initial
message of a regulator to a target, as a fraction of the edge's weight."""


class LinearLabels(nn.Module):
    """Class scores, linear in expression and in the activities of regulators.

    An average of logistic regressions on linear views of expression is one linear map, so that the contribution of
    every gene to a label is exact. It is fitted in closed loop (`sctransformer.training.label_ensemble`), not by
    gradient descent with the other weights.
    """

    gene_weight_GC: Tensor
    activity_weight_RC: Tensor
    bias_C: Tensor

    def __init__(self, n_genes: int, n_regulators: int, n_classes: int) -> None:
        super().__init__()
        self.register_buffer("gene_weight_GC", torch.zeros(n_genes, n_classes))
        self.register_buffer("activity_weight_RC", torch.zeros(n_regulators, n_classes))
        self.register_buffer("bias_C", torch.zeros(n_classes))

    def forward(self, centred_NG: Tensor, activity_NR: Tensor) -> Tensor:
        """Class scores, cells x classes.

        Args:
            centred_NG: log1p of counts per 10,000, minus the mean of the training cells.
            activity_NR: activities of the regulators.
        """
        return centred_NG @ self.gene_weight_GC + activity_NR @ self.activity_weight_RC + self.bias_C


class ActivityTransformer(nn.Module):
    """A Transformer over regulators and genes whose attention follows the edges of a prior network.

    In each layer regulators attend to their targets, which gives their activity; between layers genes attend to their
    regulators. Which gene is read by which regulator comes from the network, so a shuffled network gives other
    activities. A regulator does not attend to its own mRNA. Embedding and labels are linear in expression (and
    activities).

    Args:
        config: sizes; `direction` is `targets`.
        edges: the pairs that attend, see `sctransformer.prior.edge_list.edge_list`.

    Raises:
        ValueError: the edges do not fit the configuration.
    """

    components_GE: Tensor

    def __init__(self, config: ModelConfig, edges: EdgeList) -> None:
        super().__init__()
        if (edges.n_genes, edges.n_regulators) != (config.n_genes, config.n_regulators):
            raise ValueError(
                f"the prior has {edges.n_regulators} regulators and {edges.n_genes} genes; expected "
                f"{config.n_regulators} and {config.n_genes}"
            )
        self.config = config
        self.edges = edges
        self.tokens = Standardiser(config.n_genes)
        learns_scale = config.mode == "bias"
        weight_J = edges.weight_J if config.mode == "mask" else _opened(edges)
        self.activities = nn.ModuleList(
            EdgeAttention(edges.regulator_J, edges.target_J, config.n_regulators, weight_J, edges.bias_J, learns_scale)
            for _ in range(config.depth)
        )
        self.messages = nn.ModuleList(
            EdgeAttention(edges.target_J, edges.regulator_J, config.n_genes, 0.0 * weight_J)
            for _ in range(config.depth - 1)
        )
        # as tensors of the weights, so that weights of another network are recognised
        for name in ("regulator_J", "target_J"):
            self.register_buffer(name, torch.as_tensor(getattr(edges, name)).clone())
        self.register_buffer("components_GE", torch.zeros(config.n_genes, config.embedding))
        self.classifier = LinearLabels(config.n_genes, config.n_regulators, config.n_classes)

    def forward(self, counts_NG: Tensor, library_size_N: Tensor, measured_G: Tensor | None = None) -> ModelOutput:
        """Score cells.

        Args:
            counts_NG: raw counts, cells x genes in vocabulary order (float32).
            library_size_N: counts of the whole cell (float32).
            measured_G: 1 for a measured gene, 0 for one whose counts are filled in and which no regulator reads; None:
                all genes are measured.
        """
        centred_NG = self.tokens.centred(counts_NG, library_size_N)
        shown_G1 = None if measured_G is None else measured_G[:, None]
        activity_RN = self.activity(self.tokens.clipped(centred_NG), shown_G1)
        output = self.from_activity(centred_NG, activity_RN)
        if shown_G1 is not None:
            activity_RN = torch.where(self._any_target(shown_G1), activity_RN, torch.nan)
        return output._replace(activity_NR=activity_RN.T)

    def from_activity(self, centred_NG: Tensor, activity_RN: Tensor) -> ModelOutput:
        """Class scores and embedding.

        Args:
            centred_NG: see `Standardiser.centred`.
            activity_RN: activities; of regulators without a measured target 0.
        """
        return ModelOutput(self.classifier(centred_NG, activity_RN.T), centred_NG @ self.components_GE)

    def activity(self, z_NG: Tensor, shown_GN: Tensor | None = None) -> Tensor:
        """Activity of each regulator after the last layer, regulators x cells.

        Args:
            z_NG: standardised expression, cells x genes.
            shown_GN: 1 for a gene that may be read, 0 for one that must not, genes x cells (or 1); None: all genes.
        """
        z_GN = self.relative(z_NG, shown_GN)
        layers = cast(list[EdgeAttention], list(self.activities))
        activity_RN = layers[0](z_GN, shown_GN)
        for message, layer in zip(self.messages, layers[1:], strict=True):
            activity_RN = layer(z_GN + message(activity_RN), shown_GN)
        return activity_RN

    def relative(self, z_NG: Tensor, shown_GN: Tensor | None = None) -> Tensor:
        """Standardised expression minus its mean over the cell's shown genes, genes x cells; 0 for hidden genes.

        Otherwise a cell with a high mean, for example one with many counts, would have high activities of all
        regulators. The univariate linear model of decoupler subtracts the same mean as its intercept.

        Args:
            z_NG, shown_GN: as for `activity`. Genes that are constant in the training cells are left out.
        """
        open_GN = self.tokens.varies_G[:, None].to(z_NG.dtype)
        if shown_GN is not None:
            open_GN = open_GN * shown_GN
        z_GN = z_NG.T * open_GN
        mean_1N = z_GN.sum(dim=0, keepdim=True) / open_GN.sum(dim=0, keepdim=True).clamp(min=1.0)
        return (z_GN - mean_1N) * open_GN

    def new_decoder(self) -> "ActivityDecoder":
        """A decoder for training, with fresh weights."""
        return ActivityDecoder(self.config, self.edges)

    @property
    def layers(self) -> nn.ModuleList:
        """The trained modules: attention of all layers."""
        return nn.ModuleList(self.edge_attentions)

    def departure_J(self) -> Tensor:
        """How far the weight of each edge in the last layer is from the network's."""
        return cast(EdgeAttention, self.activities[-1]).departure_J()

    def set_expression_statistics(self, mean_G: NDArray[np.floating], std_G: NDArray[np.floating]) -> None:
        """Set mean and standard deviation of expression over the training cells, see `Standardiser.set_statistics`."""
        self.tokens.set_statistics(mean_G, std_G)

    @property
    def edge_attentions(self) -> list[EdgeAttention]:
        """The attention of all layers."""
        return cast(list[EdgeAttention], [*self.activities, *self.messages])

    @property
    def scales_LH(self) -> Tensor | None:
        """Learned strength of the prior in `bias` mode, layers x 1; None in the other modes."""
        scales = [layer.scale for layer in cast(list[EdgeAttention], list(self.activities))]
        found = [scale for scale in scales if scale is not None]
        return torch.stack(found).detach()[:, None] if found else None

    def fold_scales(self) -> None:
        """Nothing to do: an exported graph takes the numbers of its edges from `EdgeAttention.constants`."""

    def _any_target(self, shown_G1: Tensor) -> Tensor:
        """Whether a regulator has a target that is shown, regulators x 1."""
        layer = cast(EdgeAttention, self.activities[0])
        return layer.n_shown(shown_G1) > 0


def _opened(edges: EdgeList) -> NDArray[np.float32]:
    """Initial weights where all pairs are open: those of the network, and small random ones elsewhere.

    The random weights are sampled by torch's generator, so they follow from the seed of the model.
    """
    random_J = (torch.randn(len(edges)) * _SMALL * edges.n_genes**-0.5).numpy()
    return np.where(edges.weight_J == 0.0, random_J, edges.weight_J).astype(np.float32)


class ActivityDecoder(nn.Module):
    """Predicts the standardised expression of every gene from its regulators and from unnamed factors.

    Genes attend to their regulators along the edges. Factors are linear in the shown genes; they carry what the network
    does not explain, so that regulators need not. So does the mean of the shown genes, which the activities do not
    contain. Used in training only.

    Args:
        config: sizes; `factors` may be 0.
        edges: as for the model.
    """

    def __init__(self, config: ModelConfig, edges: EdgeList) -> None:
        super().__init__()
        self.message = EdgeAttention(edges.target_J, edges.regulator_J, config.n_genes, _SMALL * edges.weight_J)
        self.encoder_GM = nn.Parameter(torch.randn(config.n_genes, config.factors) * config.n_genes**-0.5)
        self.decoder_MG = nn.Parameter(torch.zeros(config.factors, config.n_genes))
        self.bias_G = nn.Parameter(torch.zeros(config.n_genes))
        self.level_G = nn.Parameter(torch.zeros(config.n_genes))

    def forward(self, activity_RN: Tensor, z_NG: Tensor, shown_NG: Tensor) -> Tensor:
        """Standardised expression, cells x genes.

        Args:
            activity_RN: from the shown genes.
            z_NG, shown_NG: standardised expression, and 1 for a shown gene.
        """
        n_shown_N1 = shown_NG.sum(dim=1, keepdim=True).clamp(min=1.0)
        z_NG = z_NG * shown_NG
        factor_NM = z_NG @ self.encoder_GM * (shown_NG.shape[1] / n_shown_N1)
        level_NG = z_NG.sum(dim=1, keepdim=True) / n_shown_N1 * self.level_G
        return self.message(activity_RN).T + factor_NM @ self.decoder_MG + level_NG + self.bias_G


class MaskedActivityModel(nn.Module):
    """Model and decoder as one module: from cells with hidden genes to the expression of all genes."""

    def __init__(self, model: ActivityTransformer, decoder: ActivityDecoder) -> None:
        super().__init__()
        self.model = model
        self.decoder = decoder

    def forward(self, counts_NG: Tensor, library_size_N: Tensor, hidden_NG: Tensor) -> Tensor:
        """Standardised expression predicted from the shown genes, cells x genes; see `MaskedExpressionModel`."""
        z_NG = self.model.tokens.standardised(counts_NG, library_size_N)
        shown_NG = 1.0 - hidden_NG.to(z_NG.dtype)
        return cast(Tensor, self.decoder(self.model.activity(z_NG, shown_NG.T), z_NG, shown_NG))
