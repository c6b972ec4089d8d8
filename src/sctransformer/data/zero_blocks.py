"""Genes that are zero in all cells of a group although other groups have plenty, as in panels joined with zeros."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from sctransformer.wording import some

GROUP_COLUMNS = (
    *("batch", "panel", "dataset", "chemistry", "sample", "sample_id", "orig.ident", "library"),
    *("donor_id", "donor", "patient"),
)
"""Columns of obs that usually tell panels apart, in any letter case; they are examined first."""
_MOST_GROUPS = 200
_BLOCKS = 64
"""Blocks of consecutive cells that are compared."""
_FEWEST_CELLS = 50
_EXPECTED = 20
"""Number of cells of a group that would have a gene at the rate of other groups, above which a gene is expected."""
_LIKELY = 3
"""The same number, above which a gene without a count is not measured, in a group that certainly lacks others."""
_SHARE = 0.2
"""Fraction of the expected genes that a group lacks, from which the group is reported."""
_IMPURE = 0.05
"""Fraction of the expected cells that may have a gene in such a group, before it is cut to cells without any."""
_PATTERN_GENES, _PATTERN_CELLS, _PATTERN_SPLITS, _STEPS = 200, 4096, 5, 10
_SHOWN = 3

SAMPLED_BLOCKS, _SMALL_BLOCK, _LARGE_BLOCK = 128, 64, 512
SAMPLED_CELLS = SAMPLED_BLOCKS * _SMALL_BLOCK
"""Number of cells that are read to find panels, at most: all of a small file, evenly spread blocks of a large one."""


def sampled_blocks(n_cells: int) -> tuple[int, list[int]]:
    """Number of cells per block, and the positions of the first cells of the blocks to read."""
    if n_cells <= SAMPLED_CELLS:
        return _LARGE_BLOCK, list(range(0, n_cells, _LARGE_BLOCK))
    blocks_B = np.linspace(0, -(-n_cells // _SMALL_BLOCK) - 1, SAMPLED_BLOCKS).astype(np.int64)
    return _SMALL_BLOCK, (np.unique(blocks_B) * _SMALL_BLOCK).tolist()


@dataclass(frozen=True)
class Panels:
    """Groups of cells that lack many genes of the other cells. U: groups that lack genes, G: genes that were compared.

    A cell belongs to a group if it has no count of the genes that the group lacks and, where a column of obs tells the
    groups apart, the column names the group.
    """

    absent_UG: NDArray[np.bool_]
    """Genes that each group lacks."""
    cells: int
    """Number of cells of all groups; estimated where no column tells the groups apart and the file is large."""
    n_cells: int
    """Number of cells of the file."""
    column: str | None = None
    """Column of obs that tells the groups apart; None if none does."""
    names: tuple[str, ...] = ()
    """Names of the groups in that column."""
    group_N: NDArray[np.int64] | None = None
    """Group of each cell by that column, -1 for a cell of no such group; None without a column."""

    def __len__(self) -> int:
        return len(self.absent_UG)

    def of(self, start: int, counts_NG: sparse.csr_matrix) -> NDArray[np.int16]:
        """The group of consecutive cells; -1 for a cell of none, which has all genes.

        Args:
            start: position of the first cell.
            counts_NG: counts of the cells, cells x genes; no zero is stored.
        """
        n_cells = counts_NG.shape[0]
        found_NU = np.asarray(counts_NG @ self.absent_UG.T.astype(np.float32)) > 0
        lacks_NU = ~found_NU & (np.diff(counts_NG.indptr) > 0)[:, None]
        if self.group_N is None:
            panel_N = np.where(lacks_NU.any(axis=1), lacks_NU.argmax(axis=1), -1)
        else:
            group_N = self.group_N[start : start + n_cells]
            is_own_N = (group_N >= 0) & lacks_NU[np.arange(n_cells), np.maximum(group_N, 0)]
            panel_N = np.where(is_own_N, group_N, -1)
        return panel_N.astype(np.int16)

    def described(self, genes: Sequence[str]) -> str:
        """The cells and the genes that they lack, as the start of a sentence.

        Args:
            genes: names of the genes that were compared.
        """
        missing_G = np.flatnonzero(self.absent_UG.any(axis=0))
        named = "found by their zeros"
        if self.column is not None:
            named = f"obs[{self.column!r}]: {some(self.names, _SHOWN)}"
        examples = ", ".join(str(genes[gene]) for gene in missing_G[:_SHOWN])
        return (
            f"{self.cells:,} of {self.n_cells:,} cells ({named}) have no count of {len(missing_G):,} genes that other "
            f"cells have often ({examples}, ...), as when panels of different genes are joined with zeros"
        )


def find_panels(obs: pd.DataFrame, rows_N: NDArray[np.int64], counts_NG: sparse.csr_matrix) -> Panels | None:
    """Find groups of at least 50 cells in which at least a fifth of the expected genes have no count at all.

    Compared are the groups of each column of obs with text, categories or yes/no and 2 to 200 values, then blocks of
    consecutive cells, then cells with similar zeros. Of all columns, that with most cells in such groups is used.

    Args:
        obs: table of all cells of the file.
        rows_N: positions of the cells that are compared, see `sampled_blocks`.
        counts_NG: their counts, cells x genes; no zero is stored. Cells without counts are left out.

    Returns:
        The groups; None if there are none.
    """
    used_N = _distinct(counts_NG)
    rows_N, detected_NG = rows_N[used_N], _detected(counts_NG[used_N])
    if len(rows_N) < 2 * _FEWEST_CELLS:
        return None
    best: Panels | None = None
    for column in _columns(obs):
        codes_N, values = pd.factorize(obs[column])
        if 2 <= len(values) <= _MOST_GROUPS:
            groups, absent_UG = _lacking(codes_N[rows_N], len(values), detected_NG)
            if len(groups):
                position = np.full(len(values) + 1, -1, dtype=np.int64)
                position[groups] = np.arange(len(groups))
                group_N = position[codes_N]  # -1, no value, selects the last
                names = tuple(str(values[group]) for group in groups)
                cells = int((group_N >= 0).sum())
                found = Panels(absent_UG, cells, len(obs), str(column), names, group_N)
                best = found if best is None or cells > best.cells else best
    return best or _by_zeros(len(obs), rows_N, detected_NG)


def _distinct(counts_NG: sparse.csr_matrix) -> NDArray[np.int64]:
    """Positions of the cells with counts, the first of each set of detected genes: repeated cells are no evidence."""
    bounds_N = counts_NG.indptr.tolist()
    first: dict[bytes, int] = {}
    for row in range(counts_NG.shape[0]):
        first.setdefault(counts_NG.indices[bounds_N[row] : bounds_N[row + 1]].tobytes(), row)
    first.pop(b"", None)
    return np.array(sorted(first.values()), dtype=np.int64)


def _detected(counts_NG: sparse.csr_matrix) -> sparse.csr_matrix:
    parts = (np.ones(len(counts_NG.data), dtype=np.int32), counts_NG.indices, counts_NG.indptr)
    return sparse.csr_matrix(parts, shape=counts_NG.shape)


def _columns(obs: pd.DataFrame) -> list[Any]:
    """Columns that may tell panels apart, the usual ones first."""
    order = {name: place for place, name in enumerate(GROUP_COLUMNS)}
    usual = [column for column in obs.columns if str(column).lower() in order]
    named = [column for column in obs.columns if column not in usual and _has_names(obs[column])]
    return [*sorted(usual, key=lambda column: order[str(column).lower()]), *named]


def _has_names(values: pd.Series) -> bool:
    return isinstance(values.dtype, pd.CategoricalDtype | pd.StringDtype) or values.dtype.kind in "Ob"


def _lacking(
    group_N: NDArray[np.integer],
    n_groups: int,
    detected_NG: sparse.csr_matrix,
    share: float = _SHARE,
    tolerance: float = 0.0,
) -> tuple[list[int], NDArray[np.bool_]]:
    """Groups that lack many genes, and the genes that each of them lacks; cells of group -1 are in none.

    A gene is expected in a group if it would have it in at least 20 cells at the rate of the other cells, with as many
    detected genes in all. A group lacks a gene that at most `tolerance` of the expected cells have.
    """
    n_cells, n_genes = detected_NG.shape
    known_N = np.flatnonzero(group_N >= 0)
    is_of_UN = sparse.csr_matrix(
        (np.ones(len(known_N), dtype=np.int32), (group_N[known_N], known_N)), shape=(n_groups, n_cells)
    )
    detected_UG = np.asarray((is_of_UN @ detected_NG).todense(), dtype=np.int64)
    seen_U, total_G = np.bincount(group_N[known_N], minlength=n_groups), detected_UG.sum(axis=0)
    depth_U, total = detected_UG.sum(axis=1), int(seen_U.sum())
    groups, absent = [], list[NDArray[np.bool_]]()
    for group, seen in enumerate(seen_U.tolist()):
        others = total - seen
        if seen < _FEWEST_CELLS or others < _FEWEST_CELLS:
            continue
        rate = min(seen / others, depth_U[group] / max(1, depth_U.sum() - depth_U[group]))
        cells_G = (total_G - detected_UG[group]) * rate
        expected_G = cells_G >= _EXPECTED
        lacking_G = expected_G & (detected_UG[group] <= tolerance * cells_G)
        if lacking_G.any() and lacking_G.sum() >= share * expected_G.sum():
            groups.append(group)
            absent.append((cells_G >= _LIKELY) & (detected_UG[group] <= tolerance * cells_G))
    return groups, np.array(absent, dtype=bool).reshape(len(groups), n_genes)


def _by_zeros(n_cells: int, rows_N: NDArray[np.int64], detected_NG: sparse.csr_matrix) -> Panels | None:
    """Panels that no column of obs tells apart: in blocks of consecutive cells, or among cells with similar zeros."""
    absent: list[NDArray[np.bool_]] = []
    left_N = np.ones(len(rows_N), dtype=bool)
    for group_N, share in _groups_without_column(n_cells, rows_N, detected_NG):
        groups, absent_UG = _lacking(group_N, int(group_N.max()) + 1, detected_NG, share, _IMPURE)
        for group, absent_G in zip(groups, absent_UG, strict=True):
            own_N = group_N == group
            if (own_N & left_N).sum() < _FEWEST_CELLS:
                continue
            for tolerance in (_IMPURE, _IMPURE, 0.0):  # the first cells may be few, and few genes expected in them
                lacks_N = np.asarray(detected_NG @ absent_G.astype(np.int32)) == 0  # also those outside the group
                one, widened_UG = _lacking(np.where(lacks_N, 0, 1), 2, detected_NG, share, tolerance)
                if 0 not in one:
                    break
                absent_G = widened_UG[one.index(0)]
            else:
                absent.append(absent_G)
                left_N &= ~lacks_N
        if absent:
            break
    if not absent:
        return None
    absent.sort(key=lambda absent_G: -int(absent_G.sum()))  # a cell that lacks the genes of two is of the first
    return Panels(np.array(absent), round(n_cells * float((~left_N).mean())), n_cells)


def _groups_without_column(
    n_cells: int, rows_N: NDArray[np.int64], detected_NG: sparse.csr_matrix
) -> Iterator[tuple[NDArray[np.int64], float]]:
    """Groups of the compared cells, each with the fraction of expected genes that makes a finding."""
    yield rows_N // max(_FEWEST_CELLS, -(-n_cells // _BLOCKS)), _SHARE
    chosen_N = np.unique(np.linspace(0, len(rows_N) - 1, min(len(rows_N), _PATTERN_CELLS)).astype(np.int64))
    part_NG = detected_NG[chosen_N]
    rate_G = np.asarray(part_NG.mean(axis=0)).ravel()
    varied = np.argsort(-rate_G * (1 - rate_G), kind="stable")[:_PATTERN_GENES]
    dense_NG = part_NG[:, np.sort(varied)].toarray().astype(np.float32)
    level_N = np.zeros(len(chosen_N), dtype=np.int64)
    for _ in range(_PATTERN_SPLITS):
        level_N = _halved(level_N, dense_NG)
        group_N = np.full(len(rows_N), -1, dtype=np.int64)
        group_N[chosen_N] = level_N
        yield group_N, _SHARE


def _halved(group_N: NDArray[np.int64], dense_NG: NDArray[np.float32]) -> NDArray[np.int64]:
    """Each group cut in two along the direction in which its cells differ most."""
    halved_N = 2 * group_N
    for group in np.unique(group_N).tolist():
        own_N = np.flatnonzero(group_N == group)
        if len(own_N) < 2 * _FEWEST_CELLS:
            continue
        centred_NG = dense_NG[own_N] - dense_NG[own_N].mean(axis=0)
        along_N = centred_NG @ np.ones(centred_NG.shape[1], dtype=np.float32)
        for _ in range(_STEPS):  # the first principal component
            along_N = centred_NG @ (along_N @ centred_NG)
            along_N /= np.linalg.norm(along_N) or 1.0
        high_N = along_N > 0.0
        for _ in range(_STEPS):  # 2-means
            if not 0 < high_N.sum() < len(high_N):
                break
            high_G, low_G = centred_NG[high_N].mean(axis=0), centred_NG[~high_N].mean(axis=0)
            high_N = centred_NG @ (high_G - low_G) > (high_G @ high_G - low_G @ low_G) / 2
        halved_N[own_N[high_N]] += 1
    return halved_N
