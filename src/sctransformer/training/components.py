"""Principal components of the training cells' expression, computed in one or a few passes over chunks of cells."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from threadpoolctl import threadpool_limits

from sctransformer.data.arrays import CellSource, take
from sctransformer.data.normalise import log1p_cp10k
from sctransformer.errors import UserError

MAX_CELLS = 100_000
"""Maximum number of cells from which the components are computed, sampled by seed: it bounds the time."""
EXACT_SIZE = 3000
"""Up to this number of genes, or of cells, the components are exact: memory and time grow with powers of the number."""
BATCH_CELLS = 1024
PASSES = 6
"""Passes over the cells if the covariance matrix is not computed."""
OVERSAMPLING = 16
"""Additional directions per pass; they make the last components accurate."""
_SAMPLE, _START = (0, 2), (0, 3)
"""Keys of the random numbers here, distinct from those of the phases of training."""

Progress = Callable[[int, int], None]
"""Called with the number of cells done, and the number of cells over all passes."""


class Components(NamedTuple):
    """Principal components of log expression; the embedding of a cell is `(expression - mean_G) @ loading_GM`."""

    mean_G: NDArray[np.float32]
    """Mean log1p of counts per 10,000 of each gene."""
    loading_GM: NDArray[np.float32]
    """Orthonormal directions, largest variance first; the largest loading of each is positive. The number of columns is
    less than requested if the cells have fewer directions with variance."""
    variance_M: NDArray[np.float64]
    """Variance of the cells along each component."""
    total_variance: float
    """Sum of the variances of all genes."""
    n_cells: int
    """Number of cells that were used."""


def principal_components(
    parts: Sequence[CellSource],
    n_components: int,
    seed: int = 0,
    on_progress: Progress = lambda done, total: None,
) -> Components:
    """Principal components of log1p of counts per 10,000, centred and not scaled, over all cells, labelled or not.

    With up to `EXACT_SIZE` genes or cells, the components are exact: from eigenvectors of the covariance matrix of the
    genes, or of the inner products of the cells. Otherwise they come from a randomized block Krylov method (Musco and
    Musco 2015, https://arxiv.org/abs/1504.05477), whose memory is linear in the number of genes. The result is the
    same to the bit for the same cells and seed on one machine.

    Args:
        parts: cells, in memory or on disk; read in chunks. Labels are not used.
        n_components: maximum number of components.
        seed: seed of the sample if there are more than `MAX_CELLS` cells, and of the Krylov method.
        on_progress: called after each chunk.

    Raises:
        UserError: there are fewer than two cells, or the expression of a cell is not finite.
    """
    n_cells = sum(map(len, parts))
    if n_cells < 2:
        raise UserError(f"{n_cells} training cells; principal components need at least 2.")
    rows_N = np.sort(np.random.default_rng((seed, *_SAMPLE)).permutation(n_cells)[:MAX_CELLS])
    n_genes = parts[0].n_genes
    n_components = min(n_components, n_genes, len(rows_N) - 1)
    with threadpool_limits(1):
        if n_genes <= min(EXACT_SIZE, len(rows_N)):
            mean_G, total, variance_M, loading_GM = _of_covariance(parts, rows_N, n_components, on_progress)
        elif len(rows_N) <= EXACT_SIZE:
            mean_G, total, variance_M, loading_GM = _of_inner_products(parts, rows_N, n_components, on_progress)
        else:
            mean_G, total, variance_M, loading_GM = _krylov(parts, rows_N, n_components, seed, on_progress)
    kept_M = variance_M > max(1e-7 * total, 1e-9)  # less is rounding in single precision
    variance_M, loading_GM = variance_M[kept_M], loading_GM[:, kept_M]
    if loading_GM.shape[1]:
        sign_M = np.sign(np.take_along_axis(loading_GM, np.abs(loading_GM).argmax(axis=0)[None], axis=0))
        loading_GM = loading_GM * sign_M
    return Components(mean_G.astype(np.float32), loading_GM.astype(np.float32), variance_M, float(total), len(rows_N))


def log_expression(parts: Sequence[CellSource], rows_N: NDArray[np.integer]) -> Iterator[NDArray[np.float32]]:
    """log1p of counts per 10,000 of the cells at these positions, cells x genes, in chunks of `BATCH_CELLS` cells.

    Raises:
        UserError: the expression of a cell is not finite.
    """
    for start in range(0, len(rows_N), BATCH_CELLS):
        cells = take(parts, rows_N[start : start + BATCH_CELLS])
        expression_NG = log1p_cp10k(cells.counts_NG, cells.library_size_N)
        if not np.isfinite(expression_NG.sum()):
            raise UserError("training cells have counts or library sizes that are not finite; check the cells.")
        yield expression_NG


def _of_covariance(
    parts: Sequence[CellSource], rows_N: NDArray[np.integer], n_components: int, on_progress: Progress
) -> tuple[NDArray[np.float64], float, NDArray[np.float64], NDArray[np.float64]]:
    """Mean, total variance, and leading eigenvalues and eigenvectors of the covariance matrix."""
    n_genes, done, shift_G = parts[0].n_genes, 0, None
    sum_G, square_GG = np.zeros(n_genes), np.zeros((n_genes, n_genes))
    for expression_NG in log_expression(parts, rows_N):
        if shift_G is None:
            shift_G = expression_NG.mean(axis=0)
        expression_NG -= shift_G  # near the mean, so that the products are accurate in single precision
        sum_G += expression_NG.sum(axis=0, dtype=np.float64)
        square_GG += expression_NG.T @ expression_NG
        on_progress(done := done + len(expression_NG), len(rows_N))
    assert shift_G is not None
    offset_G = sum_G / len(rows_N)
    covariance_GG = square_GG / len(rows_N) - np.outer(offset_G, offset_G)
    variance_M, loading_GM = linalg.eigh(covariance_GG, subset_by_index=(n_genes - n_components, n_genes - 1))
    return shift_G + offset_G, float(np.trace(covariance_GG)), variance_M[::-1], loading_GM[:, ::-1]


def _of_inner_products(
    parts: Sequence[CellSource], rows_N: NDArray[np.integer], n_components: int, on_progress: Progress
) -> tuple[NDArray[np.float64], float, NDArray[np.float64], NDArray[np.float64]]:
    """Mean, total variance, and leading eigenvalues and eigenvectors of the covariance matrix, of few cells."""
    expression_NG = np.concatenate(list(log_expression(parts, rows_N)))
    mean_G = expression_NG.mean(axis=0, dtype=np.float64)
    expression_NG -= mean_G.astype(np.float32)
    n_cells = len(rows_N)
    inner_NN = (expression_NG @ expression_NG.T).astype(np.float64)
    square_M, cell_NM = linalg.eigh(inner_NN, subset_by_index=(n_cells - n_components, n_cells - 1))
    loading_GM = expression_NG.T @ cell_NM[:, ::-1].astype(np.float32)
    loading_GM = linalg.qr(loading_GM.astype(np.float64), mode="economic")[0]
    on_progress(n_cells, n_cells)
    return mean_G, float(np.trace(inner_NN)) / n_cells, square_M[::-1] / n_cells, loading_GM


def _krylov(
    parts: Sequence[CellSource], rows_N: NDArray[np.integer], n_components: int, seed: int, on_progress: Progress
) -> tuple[NDArray[np.float64], float, NDArray[np.float64], NDArray[np.float64]]:
    """Mean, total variance, and approximate leading eigenvalues and eigenvectors of the covariance matrix.

    Each pass multiplies the covariance matrix with a block of directions. The eigenvectors are sought in the span of
    the blocks of all passes, for which the products are already known.
    """
    n_genes, n_cells = parts[0].n_genes, len(rows_N)
    start_GB = np.random.default_rng((seed, *_START)).standard_normal((n_genes, n_components + OVERSAMPLING))
    block_GB = np.linalg.qr(start_GB)[0]
    blocks, images = [], []
    shift_G, offset_G, square = None, np.zeros(n_genes), 0.0
    for number in range(PASSES):
        image_GB, sum_G, done = np.zeros(block_GB.shape), np.zeros(n_genes), 0
        block32_GB = block_GB.astype(np.float32)
        for expression_NG in log_expression(parts, rows_N):
            if shift_G is None:
                shift_G = expression_NG.mean(axis=0)
            expression_NG -= shift_G
            image_GB += expression_NG.T @ (expression_NG @ block32_GB)
            if number == 0:
                sum_G += expression_NG.sum(axis=0, dtype=np.float64)
                square += float(np.vdot(expression_NG, expression_NG))
            done += len(expression_NG)
            on_progress(number * n_cells + done, PASSES * n_cells)
        if number == 0:
            offset_G = sum_G / n_cells
        blocks.append(block_GB)
        images.append(image_GB / n_cells - np.outer(offset_G, offset_G @ block_GB))
        if number < PASSES - 1:
            block_GB = _next_block(np.hstack(blocks), images[-1])
            if block_GB.shape[1] == 0:
                break
    on_progress(PASSES * n_cells, PASSES * n_cells)
    assert shift_G is not None
    basis_GB = np.hstack(blocks)
    projected_BB = basis_GB.T @ np.hstack(images)
    variance_B, rotation_BB = np.linalg.eigh((projected_BB + projected_BB.T) / 2)
    leading = slice(None, -n_components - 1, -1)
    total = square / n_cells - float(offset_G @ offset_G)
    return shift_G + offset_G, total, variance_B[leading], basis_GB @ rotation_BB[:, leading]


def _next_block(basis_GB: NDArray[np.float64], image_GB: NDArray[np.float64]) -> NDArray[np.float64]:
    """Orthonormal directions of the images that are not in the basis; none if the basis holds them all."""
    size = np.abs(image_GB).max()
    for _ in range(2):  # once more, because of rounding
        image_GB = image_GB - basis_GB @ (basis_GB.T @ image_GB)
        image_GB, upper_BB, _ = linalg.qr(image_GB, mode="economic", pivoting=True)
        image_GB = image_GB[:, np.abs(np.diag(upper_BB)) > 1e-6 * size]
        size = 1.0
    return image_GB
