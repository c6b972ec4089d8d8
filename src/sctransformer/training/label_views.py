"""Views of the labelled cells, on which logistic regressions are fitted: genes, principal components, activities."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from sctransformer.data.arrays import CellSource
from sctransformer.training.balanced_logistic import Coefficients
from sctransformer.training.components import Components, log_expression
from sctransformer.training.label_settings import LabelSettings

ROTATED_SHARE = 0.5
"""Up to this number of cells per gene, views on genes are rotated to the space of the cells."""
_RIDGE = 1e-7
"""Added to the squared lengths of the cells, as a fraction of their mean: their inner products need an inverse."""
_GENES = 1024
"""Genes that are multiplied at a time."""

Source = Literal["expression", "activity"]

MAX_SCALED = 20_000_000
"""Values of the matrix of expression up to which a second, standardised one is made."""
LEAST_DEVIATION = 1e-3
"""Smallest standard deviation by which a gene is divided; genes with a smaller one are left out."""


class SourceMap(NamedTuple):
    """A linear map from centred log expression, or from activities, to the logits of the classes."""

    source: Source
    weight: NDArray[np.float64]
    """Genes x classes or regulators x classes, as the source."""
    bias_C: NDArray[np.float64]


@dataclass(frozen=True)
class View:
    """One description of the labelled cells, `x = (source - center) @ basis * scale`.

    The source is the centred expression or the activities. No view depends on labels.
    """

    name: str
    """`genes`, `components_20` or `activities`, for example."""
    source: Source
    x_NV: NDArray[np.float32]
    """The cells, with a mean squared length of 1: a penalty then means about the same for every view."""
    scale_V: NDArray[np.float64]
    variance_V: NDArray[np.float64]
    """Mean square of each column of `x_NV`."""
    center: NDArray[np.float64] | None = None
    """Subtracted from the source; None if zero."""
    basis: NDArray[np.float32] | None = None
    """None if the columns are those of the source."""

    def on_source(self, coefficients: Coefficients) -> SourceMap:
        """The same logits as a linear map of the source."""
        weight = coefficients.weight_VC * self.scale_V[:, None]
        if self.basis is not None:
            weight = self.basis.astype(np.float64) @ weight
        moved_C = 0.0 if self.center is None else self.center @ weight
        return SourceMap(self.source, weight, coefficients.bias_C - moved_C)


def label_views(
    parts: Sequence[CellSource],
    rows_N: NDArray[np.integer],
    components: Components,
    settings: LabelSettings,
    activity_NR: NDArray[np.floating] | None = None,
) -> list[View]:
    """The views of some cells.

    Args:
        parts: cells.
        rows_N: positions of the labelled cells in the concatenation of the parts.
        components: principal components of all training cells.
        settings: which views.
        activity_NR: activities of the regulators in the labelled cells.
    """
    expression_NG = centred_expression(parts, rows_N, components)
    available = components.loading_GM.shape[1]
    score_NM = expression_NG @ components.loading_GM
    numbers = sorted({min(number, available) for number in settings.components} - {0})
    views = []
    if settings.genes and settings.scaled_genes and expression_NG.size <= MAX_SCALED:
        views.append(_scaled_genes_view(expression_NG))
    if settings.genes:
        views.append(_genes_view(expression_NG))
    for number in numbers:
        x_NM, loading_GM = np.ascontiguousarray(score_NM[:, :number]), components.loading_GM[:, :number]
        views.append(_scaled(f"components_{number}", "expression", x_NM, basis=loading_GM))
    if settings.activities and activity_NR is not None and activity_NR.shape[1]:
        center_R = activity_NR.mean(axis=0, dtype=np.float64)
        spread_R = activity_NR.std(axis=0, dtype=np.float64)
        scale_R = np.divide(1.0, spread_R, out=np.zeros_like(spread_R), where=spread_R > 1e-6 * spread_R.max())
        x_NR = ((activity_NR - center_R) * scale_R).astype(np.float32)
        views.append(_scaled("activities", "activity", x_NR, scale_R, center=center_R))
    return views


def centred_expression(
    parts: Sequence[CellSource], rows_N: NDArray[np.integer], components: Components
) -> NDArray[np.float32]:
    """Centred log expression of the cells at these positions, cells x genes."""
    expression_NG = np.empty((len(rows_N), len(components.mean_G)), dtype=np.float32)
    done = 0
    for chunk_NG in log_expression(parts, rows_N):
        np.subtract(chunk_NG, components.mean_G, out=expression_NG[done : done + len(chunk_NG)])
        done += len(chunk_NG)
    return expression_NG


def _genes_view(expression_NG: NDArray[np.float32]) -> View:
    """Expression of all genes, which is overwritten."""
    return _of_genes("genes", expression_NG)


def _scaled_genes_view(expression_NG: NDArray[np.float32]) -> View:
    """Expression of all genes in standard deviations, as in the usual logistic regression on standardised genes."""
    std_G = expression_NG.std(axis=0, dtype=np.float64)
    scale_G = np.divide(1.0, std_G, out=np.zeros_like(std_G), where=std_G > LEAST_DEVIATION)
    return _of_genes("scaled_genes", expression_NG * scale_G.astype(np.float32), scale_G)


def _of_genes(name: str, x_NG: NDArray[np.float32], scale_G: NDArray[np.float64] | None = None) -> View:
    """A view on genes; rotated to the space of the cells if there are far fewer cells than genes.

    The coordinates of the cells are then the rows of the Cholesky factor of their inner products. This changes no
    solution with an L2 penalty, because the weights are combinations of the cells, and saves time (Hastie and
    Tibshirani 2004, Biostatistics 5, 329-340, https://doi.org/10.1093/biostatistics/kxh010).
    """
    n_cells, n_genes = x_NG.shape
    if n_cells > ROTATED_SHARE * n_genes:
        return _scaled(name, "expression", x_NG, scale_G)
    inner_NN = np.zeros((n_cells, n_cells))
    for start in range(0, n_genes, _GENES):  # in double precision: centred cells are linearly dependent
        part_NG = x_NG[:, start : start + _GENES].astype(np.float64)
        inner_NN += part_NG @ part_NG.T
    inner_NN[np.diag_indices(n_cells)] += max(_RIDGE * np.trace(inner_NN) / n_cells, 1e-12)
    cell_NV = linalg.cholesky(inner_NN, lower=True, overwrite_a=True).astype(np.float32)
    basis_GV = linalg.solve_triangular(cell_NV, x_NG, lower=True).T
    if scale_G is not None:
        basis_GV *= scale_G.astype(np.float32)[:, None]
    return _scaled(name, "expression", cell_NV, basis=basis_GV)


def _scaled(
    name: str,
    source: Source,
    x_NV: NDArray[np.float32],
    scale_V: NDArray[np.float64] | None = None,
    center: NDArray[np.float64] | None = None,
    basis: NDArray[np.float32] | None = None,
) -> View:
    """Scale cells, in place, to a mean squared length of 1."""
    variance_V = np.einsum("nv,nv->v", x_NV, x_NV).astype(np.float64) / len(x_NV)
    factor = float(max(variance_V.sum(), 1e-12)) ** -0.5
    x_NV *= np.float32(factor)
    scale_V = np.full(x_NV.shape[1], factor) if scale_V is None else scale_V * factor
    return View(name, source, x_NV, scale_V, variance_V * factor**2, center, basis)
