"""Regulators beside the labels: the scale of their activities, those that stand out in a cell, and their own mRNA."""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from sctransformer._constants import BEATS_SHUFFLES, TYPE_MEAN
from sctransformer.annotation.genes import GeneMatch, match_genes, measured_genes, named_by_symbol
from sctransformer.annotation.settings import GraphSettings
from sctransformer.data.normalise import log1p_cp10k
from sctransformer.export.bundle import Bundle
from sctransformer.wording import counted

if TYPE_CHECKING:  # reading cells needs anndata, which a served model does without
    from sctransformer.annotation.reading import CheckedCells

logger = logging.getLogger(__name__)

TOP = 3
"""Number of regulators that are named for a cell."""
TYPICAL = 0.5
"""Least difference between a label's mean activity and that of the other labels, in standard deviations of the training
cells, from which a regulator is typical of the label."""
COMPARABLE = 0.8
"""Least fraction of a regulator's targets that a file must have before its activities are compared with those of the
training cells."""
_DIGITS = 21
"""Bits for a position in a packed list of three."""


@dataclass(frozen=True)
class Regulators:
    """The regulators of a model, for the cells of one file. R: regulators, C: cell types."""

    names: list[str]
    targets_R: NDArray[np.int64]
    """Number of targets whose counts are read from the file."""
    least_targets: int
    """Number of targets that an activity needs, see `least_targets`."""
    mean_R: NDArray[np.float32]
    """Mean activity of the training cells."""
    std_R: NDArray[np.float32]
    """Standard deviation of the activity of the training cells."""
    evidence_R: NDArray[np.float64] | None
    """See `Bundle.regulators`; None if the bundle has none."""
    typical_CR: NDArray[np.float32]
    """1 or -1 if the regulator is typically more or less active in the cell type than in the others, else 0."""
    is_known_C: NDArray[np.bool_]
    """Whether it is known what is typical of the cell type."""
    all_targets_R: NDArray[np.int64]
    """Number of targets in the panel."""
    own: GeneMatch | None
    """Columns of the file with the regulators' own genes; None if their mRNA is not wanted."""

    @property
    def measured_R(self) -> NDArray[np.bool_]:
        """Whether enough targets are measured for an activity."""
        return self.targets_R >= self.least_targets

    @property
    def comparable_R(self) -> NDArray[np.bool_]:
        """Whether enough targets are measured to compare the activity with that of the training cells."""
        return self.measured_R & (self.targets_R >= COMPARABLE * self.all_targets_R)

    @property
    def note(self) -> str:
        """Number of regulators, of those without an activity, and of those that evidence allows to be named."""
        absent = int((~self.measured_R).sum())
        why = f"; {absent:,} without an activity (fewer than {counted(self.least_targets, 'measured target')})"
        beat = ""
        if self.evidence_R is not None:
            beat = f"; {int((self.evidence_R >= BEATS_SHUFFLES).sum()):,} beat shuffled networks and can be named"
        return f"{counted(len(self.names), 'regulator')}{why if absent else ''}{beat}"

    def standardised(self, activity_NR: NDArray[np.float32]) -> NDArray[np.float32]:
        """Activities in standard deviations of the training cells; NaN where too few targets are measured.

        Also NaN for a regulator that has the same activity in all training cells.
        """
        has_scale_R = self.measured_R & (self.std_R > 0)
        std_R = np.where(has_scale_R, self.std_R, np.float32(np.nan))
        z_NR = activity_NR - self.mean_R
        z_NR /= std_R
        return z_NR

    def top(
        self, z_NR: NDArray[np.float32], best_N: NDArray[np.integer]
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """The regulators that stand out in each cell, see `strongest`.

        Regulators whose evidence does not beat their shuffles are left out.

        Args:
            z_NR: see `standardised`.
            best_N: most likely cell type of each cell.

        Returns:
            Those among the regulators that are typical of the most likely cell type, and active in its direction; and
            those among all regulators. The two are equal for a cell type of which nothing typical is known.
        """
        if self.evidence_R is not None:
            z_NR = np.where(self.evidence_R >= BEATS_SHUFFLES, z_NR, np.float32(np.nan))
        alone_N3 = strongest(z_NR, np.abs(z_NR))
        typical_N3 = strongest(z_NR, z_NR * self.typical_CR[best_N])
        return np.where(self.is_known_C[best_N, None], typical_N3, alone_N3), alone_N3

    def named(self, top_N3: NDArray[np.int32]) -> "pd.Categorical[str]":
        """The column `top_regulators`, such as `SPI1+ CEBPA+ TCF7-`; missing for a cell without any."""
        packed_N = np.zeros(len(top_N3), dtype=np.int64)
        for place in range(TOP):
            packed_N = (packed_N << _DIGITS) + (top_N3[:, place] + (1 << (_DIGITS - 1)))
        _, first, inverse_N = np.unique(packed_N, return_index=True, return_inverse=True)
        codes, categories = pd.factorize(self._texts(top_N3[first]))
        codes_N: Any = codes.astype(np.int32)[inverse_N.ravel()]
        return pd.Categorical.from_codes(codes_N, categories=pd.Index(categories, dtype=object))

    def mrna(self, own_NR: sparse.csr_matrix, library_size_N: NDArray[np.float32]) -> NDArray[np.float32]:
        """log1p of counts per 10,000 of the regulators' own genes; NaN for a gene that the file lacks.

        Args:
            own_NR: raw counts, see `own`.
            library_size_N: total counts of each cell.
        """
        assert self.own is not None
        mrna_NR: NDArray[np.float32] = log1p_cp10k(own_NR, library_size_N).toarray()
        mrna_NR[:, self.own.column_G < 0] = np.nan
        return mrna_NR

    def described(self) -> dict[str, Any]:
        """The member `regulators` of `uns["sctransformer"]`: lists in the order of the activities."""
        evidence = {} if self.evidence_R is None else {"evidence": self.evidence_R.tolist()}
        return {
            "name": self.names,
            "targets": self.targets_R.tolist(),
            "mean": self.mean_R.astype(float).tolist(),
            "std": self.std_R.astype(float).tolist(),
            **evidence,
        }

    def _texts(self, top_N3: NDArray[np.int32]) -> NDArray[np.object_]:
        """The names with signs, joined by spaces; None for a cell without any."""
        signed = np.array(["", *(f" {name}{sign}" for sign in "+-" for name in self.names)], dtype=object)
        position_N3 = np.where(top_N3 < 0, len(self.names) - top_N3, top_N3)
        joined_N = signed[position_N3].sum(axis=1)
        return np.array([text[1:] or None for text in joined_N], dtype=object)


def names_written(regulators: Regulators | None) -> list[str]:
    """Names of the regulators whose activities are all written; empty if they are not."""
    return [] if regulators is None or regulators.own is None else regulators.names


def strongest(z_NR: NDArray[np.float32], size_NR: NDArray[np.float32]) -> NDArray[np.int32]:
    """The regulators with the largest positive sizes in each cell, the first of equal ones.

    Args:
        z_NR: activities, for their signs.
        size_NR: sizes; NaN counts as none.

    Returns:
        Cells x 3, the largest first: the position from 1, negative where the activity is negative; 0 for none.
    """
    n_cells, n_regulators = z_NR.shape
    left_NR = np.fmax(size_NR, np.float32(0.0))  # NaN becomes 0
    flat_N3 = np.zeros((n_cells, TOP), dtype=np.int64)  # `take` and `put` are faster than indices of two axes
    first_N = np.arange(n_cells) * n_regulators
    places = min(TOP, n_regulators)
    for place in range(places):
        flat_N3[:, place] = left_NR.argmax(axis=1) + first_N
        left_NR.put(flat_N3[:, place], -1.0)
    position_N3 = flat_N3 - first_N[:, None] + 1
    signed_N3 = np.where(z_NR.take(flat_N3) < 0, -position_N3, position_N3)
    signed_N3[~(size_NR.take(flat_N3) > 0)] = 0
    signed_N3[:, places:] = 0
    return signed_N3.astype(np.int32)


def regulators_for(bundle: Bundle, read: "CheckedCells", settings: GraphSettings) -> Regulators | None:
    """The regulators of a model for the cells of a file; None if they are not wanted, or the model has no activities.

    Args:
        bundle: the model.
        read: the cells.
        settings: with `regulators` and `absent_genes`.
    """
    table = bundle.regulators
    if table is None or settings.regulators == "off":
        return None
    names = table["regulator"].astype(str).tolist()
    targets_R = measured_targets(bundle, names, measured_genes(read.match, settings.absent_genes == "mean"))
    typical_CR, is_known_C = _typical(table, bundle.labels["name"].tolist())
    return Regulators(
        names=names,
        targets_R=targets_R,
        least_targets=least_targets(bundle),
        mean_R=table["mean"].to_numpy(dtype=np.float32),
        std_R=table["std"].to_numpy(dtype=np.float32),
        evidence_R=table["evidence"].to_numpy(dtype=np.float64) if "evidence" in table else None,
        typical_CR=typical_CR,
        is_known_C=is_known_C,
        all_targets_R=measured_targets(bundle, names, np.ones(len(bundle.vocabulary), dtype=bool)),
        own=_own_genes(names, bundle.vocabulary, read) if settings.regulators == "all" else None,
    )


def measured_targets(bundle: Bundle, names: list[str], measured_G: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Number of targets of each regulator that are measured.

    Args:
        bundle: the model, with its network.
        names: the regulators.
        measured_G: see `measured_genes`.
    """
    regulator_J = pd.Index(names).get_indexer(pd.Index(bundle.prior["regulator"]))
    target_J = pd.Index(bundle.vocabulary["gene"]).get_indexer(pd.Index(bundle.prior["target"]))
    own_J = (bundle.prior["regulator"] == bundle.prior["target"]).to_numpy()  # a regulator does not read its own mRNA
    is_read_J = (regulator_J >= 0) & (target_J >= 0) & ~own_J
    counted_J = is_read_J & measured_G[target_J]
    return np.bincount(regulator_J[counted_J], minlength=len(names)).astype(np.int64)


def least_targets(bundle: Bundle) -> int:
    """Number of measured targets that an activity needs: `prior.min_targets` of the model's training, at least one."""
    prior = bundle.lineage.get("params", {}).get("prior", {})
    return max(1, int(prior.get("min_targets", 1)))


def warn_without_activities(bundle: Bundle, settings: GraphSettings) -> None:
    """Note that a model has no activities, if they are wanted."""
    if bundle.regulators is None and settings.regulators != "off":
        logger.warning(
            "%s: has no activities of regulators, because its genes attend to regulators; none are written.",
            bundle.folder,
        )


def type_differences(table: pd.DataFrame, labels: list[str]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Difference between a label's mean activity and that of the other labels, in standard deviations of all cells.

    A label is compared with the mean of the means of the other labels, so that each counts once.

    Args:
        table: see `Bundle.regulators`.
        labels: names of the cell types.

    Returns:
        Differences, cell types x regulators; NaN or infinite where not known, or for a constant activity. And whether
        the differences of a cell type are known.
    """
    columns = [TYPE_MEAN + label for label in labels]
    if not set(columns) <= set(table) or len(labels) < 2:
        return np.full((len(labels), len(table)), np.nan), np.zeros(len(labels), dtype=bool)
    mean_CR = table[columns].to_numpy(dtype=np.float64).T
    is_known_C = np.isfinite(mean_CR).all(axis=1)
    known_CR = np.where(is_known_C[:, None], mean_CR, 0.0)
    others_C = is_known_C.sum() - is_known_C
    others_CR = (known_CR.sum(axis=0) - known_CR) / np.maximum(others_C, 1)[:, None]
    std_R = table["std"].to_numpy(dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        difference_CR = (mean_CR - others_CR) / std_R
    return difference_CR, is_known_C & (others_C > 0)


def _typical(table: pd.DataFrame, labels: list[str]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """See `Regulators.typical_CR` and `Regulators.is_known_C`."""
    difference_CR, is_known_C = type_differences(table, labels)
    typical_CR = np.where(np.abs(difference_CR) >= TYPICAL, np.sign(difference_CR), 0.0).astype(np.float32)
    return typical_CR, is_known_C


def _own_genes(names: list[str], vocabulary: pd.DataFrame, read: "CheckedCells") -> GeneMatch:
    """Find the regulators' own genes among all genes of a file, also those that are not in the panel."""
    outside = pd.DataFrame({"gene": sorted(set(names) - set(vocabulary["gene"]))})
    known = pd.concat([vocabulary, outside], ignore_index=True)
    if "ensembl_id" in known:
        known["ensembl_id"] = known["ensembl_id"].fillna("")
    genes = named_by_symbol(known, read.cells.var, read.source).genes
    found = match_genes(pd.DataFrame({"gene": names, "mean": 1.0}), genes)
    position_R = pd.Index(vocabulary["gene"]).get_indexer(pd.Index(names))
    return found.without((position_R >= 0) & (read.match.column_G[position_R] < 0))  # those that a panel lacks
