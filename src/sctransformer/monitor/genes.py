"""Genes whose mean expression in a batch differs from that in the training cells."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sctransformer.evaluation.profile import Profile, array

_CHANCE = 3.0
"""Standard errors of the difference that are put down to chance."""
_DONORS = 3.0
"""Multiple of the spread between the training donors that a new donor may differ."""
_SMALLEST_STD = 0.25
"""Smallest standard deviation that is used, of log1p of counts per 10,000; that of a rare gene depends on few cells."""


@dataclass(frozen=True)
class GeneChange:
    """Change of one gene."""

    gene: str
    training: float
    """Mean expression that the batch's cell types have in training: log1p of counts per 10,000."""
    batch: float
    """Mean expression in the batch."""
    difference: float
    """Difference in standard deviations of the training cells."""


def changed_genes(
    reference: dict[str, Any], vocabulary: pd.DataFrame, batch: Profile, shift: float
) -> tuple[list[GeneChange], int]:
    """The genes whose mean expression changed by more than cell types, chance and donors explain.

    The size of the difference decides, in standard deviations between training cells, not its significance: with
    thousands of cells, every difference is significant.

    Args:
        reference: `profile` of the bundle's reference.json.
        vocabulary: genes of the bundle, with `std`, the standard deviation of each in the training cells.
        batch: profile of the batch.
        shift: smallest difference, see `Limits.gene_shift`.

    Returns:
        The genes, the most changed first, and the number of genes that were compared.
    """
    expected_G = expected_expression(reference, batch)
    std_G = usable_std(vocabulary)
    difference_G = (batch.expression_G - expected_G) / std_G
    chance = _CHANCE * np.sqrt(1 / max(batch.cells, 1) + 1 / max(int(reference["cells"]), 1))
    allowed_G = np.full(len(std_G), shift + chance)
    if "expression_between_donors" in reference:
        allowed_G = np.maximum(allowed_G, _DONORS * array(reference["expression_between_donors"]) / std_G + chance)
    size_G = np.abs(difference_G)
    changed = [gene for gene in np.argsort(-np.nan_to_num(size_G), kind="stable") if size_G[gene] > allowed_G[gene]]
    names = vocabulary["gene"].to_numpy()
    return [
        GeneChange(
            str(names[gene]),
            round(float(expected_G[gene]), 3),
            round(float(batch.expression_G[gene]), 3),
            round(float(difference_G[gene]), 2),
        )
        for gene in changed
    ], int(np.isfinite(difference_G).sum())


def usable_std(vocabulary: pd.DataFrame) -> NDArray[np.float64]:
    """Standard deviation of each gene in the training cells, not too small to divide by."""
    return np.maximum(vocabulary["std"].to_numpy(dtype=np.float64), _SMALLEST_STD)


def expected_expression(reference: dict[str, Any], batch: Profile) -> NDArray[np.float64]:
    """Mean expression of training cells that are mixed like the batch: by cell type, as predicted.

    Bundles of earlier versions, which lack the means by cell type, give the mean of all training cells.
    """
    by_label = reference.get("expression_by_label", {})
    mix = {name: cells for name, cells in (batch.best_labels or batch.labels).items() if name in by_label and cells}
    if not mix:
        return array(reference["expression"])
    means_CG = np.array([array(by_label[name]) for name in mix])
    return np.asarray(np.average(means_CG, axis=0, weights=list(mix.values())))
