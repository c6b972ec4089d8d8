"""The novelty of a cell: how unlike the training cells it is, from its expression and its class probabilities.

A part of the scoring graph, so torch and onnxruntime compute the same. It does not use the network's attention.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

PARTS = ("surprise", "distance", "unsure")
"""Parts of the score, in the order of their weights: see `NoveltyScore.parts`."""
_FLOOR = 1e-4
"""Added to 1 - p before its logarithm: softmax in float32 does not resolve much smaller values."""


class NoveltyStatistics(NamedTuple):
    """Statistics of labelled training cells. Expression is log1p of counts per 10,000."""

    used_G: Tensor
    """1 for a gene that the score reads, else 0."""
    surprise_GC: Tensor
    """Minus the logarithm of the fraction of the class's cells in which the gene is seen; 0 for genes that are not
    used."""
    projection_GM: Tensor
    """Maps expression to components in which the pooled covariance within classes is the identity; 0 for genes that are
    not used."""
    mean_G: Tensor
    """Mean expression."""
    deviation_CG: Tensor
    """Mean expression of each class, minus `mean_G`."""


class NoveltyScore(nn.Module):
    """Weighted sum of three parts, each scaled so that validation cells have the median 0 and the 99 % quantile 1.

    Args:
        statistics: of training cells.
        centre_3, scale_3: median, and 99 % quantile minus median, of each part on validation cells.
        weight_3: weight of each part.
    """

    used_G: Tensor
    surprise_GC: Tensor
    projection_GM: Tensor
    mean_G: Tensor
    deviation_CG: Tensor
    centre_3: Tensor
    scale_3: Tensor
    weight_3: Tensor

    def __init__(self, statistics: NoveltyStatistics, centre_3: Tensor, scale_3: Tensor, weight_3: Tensor) -> None:
        super().__init__()
        for name, values in statistics._asdict().items():
            self.register_buffer(name, values.to(torch.float32))
        for name, values in (("centre_3", centre_3), ("scale_3", scale_3), ("weight_3", weight_3)):
            self.register_buffer(name, values.to(torch.float32))

    def forward(self, expression_NG: Tensor, probabilities_NC: Tensor, measured_G: Tensor) -> Tensor:
        """Novelty of each cell.

        Args:
            expression_NG: log1p of counts per 10,000.
            probabilities_NC: calibrated class probabilities.
            measured_G: 1 for a measured gene, 0 for one whose expression is unknown and ignored.
        """
        parts_N3 = self.parts(expression_NG, probabilities_NC, measured_G)
        return ((parts_N3 - self.centre_3) / self.scale_3 * self.weight_3).sum(dim=1)

    def parts(self, expression_NG: Tensor, probabilities_NC: Tensor, measured_G: Tensor) -> Tensor:
        """The parts before scaling, cells x 3.

        1. surprise: how rarely a class shows the genes that the cell expresses: minus the logarithm of the fraction of
           the class's cells, averaged over the genes by expression and over the classes by probability.
        2. distance: logarithm of the Mahalanobis distance to the nearest class mean (Lee et al. 2018, "A Simple Unified
           Framework for Detecting Out-of-Distribution Samples", section 2), over the measured genes.
        3. unsure: minus the logit of the highest probability.
        """
        n_classes = self.deviation_CG.shape[0]
        # one product with the expression of all cells: classes, then the sum, then components
        columns = [self.surprise_GC, self.used_G[:, None], self.projection_GM]
        weight_G = torch.cat(columns, dim=1) * measured_G[:, None]
        product_N = expression_NG @ weight_G
        total_N = product_N[:, n_classes].clamp(min=_FLOOR)
        surprise_N = (probabilities_NC * product_N[:, :n_classes]).sum(dim=1) / total_N

        projection_GM = weight_G[:, n_classes + 1 :]
        component_NM = product_N[:, n_classes + 1 :] - self.mean_G @ projection_GM
        class_CM = self.deviation_CG @ projection_GM
        square_NC = (
            component_NM.square().sum(dim=1, keepdim=True)
            + class_CM.square().sum(dim=1)
            - 2.0 * component_NM @ class_CM.T
        )
        distance_N = 0.5 * torch.log(square_NC.amin(dim=1).clamp(min=_FLOOR))

        highest_N = probabilities_NC.amax(dim=1)
        unsure_N = torch.log(1.0 - highest_N + _FLOOR) - torch.log(highest_N)
        return torch.stack([surprise_N, distance_N, unsure_N], dim=1)
