"""Labels for cells in memory: gather counts, fill in absent genes, score, reject.

The one way in which cells are labelled: in files, in AnnData objects, by the served model and in registry comparisons.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from sctransformer.annotation.genes import GeneMatch, fill_absent, measured_genes
from sctransformer.annotation.limits import Limits
from sctransformer.annotation.parallel import in_order
from sctransformer.annotation.regulators import Regulators
from sctransformer.annotation.session import Scores, ScoringSession, joined
from sctransformer.annotation.settings import AbsentGenes

UNKNOWN = -1
"""Label index of a rejected cell."""
NOVEL = "novel"
REASONS = ("low confidence", NOVEL, "no counts")
"""Why a cell is rejected; `Calls.reason_N` holds positions in this tuple."""
ACCEPTED = -1
"""Reason index of a cell that is not rejected."""


@dataclass(frozen=True)
class Calls:
    """The label of each cell, and what it was chosen from. Labels are positions in `Bundle.labels`."""

    label_N: NDArray[np.int32]
    """Most likely cell type; UNKNOWN where rejected."""
    best_N: NDArray[np.int32]
    """Most likely cell type, also where rejected."""
    confidence_N: NDArray[np.float32]
    """Calibrated probability of the most likely cell type."""
    second_N: NDArray[np.int32]
    """Second most likely cell type; UNKNOWN if the model has only one."""
    second_confidence_N: NDArray[np.float32]
    """Calibrated probability of the second most likely cell type; 0 if the model has only one."""
    reason_N: NDArray[np.int8]
    """Position in REASONS; ACCEPTED where not rejected."""
    novelty_N: NDArray[np.float32]
    """Novelty; NaN if the model has no novelty score."""

    def __len__(self) -> int:
        return len(self.label_N)

    @property
    def rejected(self) -> int:
        """Number of rejected cells."""
        return int((self.label_N == UNKNOWN).sum())

    @property
    def rejected_by(self) -> dict[str, int]:
        """Number of rejected cells by reason; each cell has one reason."""
        return {reason: int((self.reason_N == index).sum()) for index, reason in enumerate(REASONS)}


@dataclass(frozen=True)
class CellLabels:
    """Predictions for cells, in their order. N: cells, C: cell types, E: embedding."""

    probabilities_NC: NDArray[np.float32]
    """Calibrated probabilities."""
    embedding_NE: NDArray[np.float32]
    """Cell embeddings."""
    library_size_N: NDArray[np.float32]
    """Total counts of each cell, as the graph saw them."""
    counted_N: NDArray[np.bool_]
    """Whether any gene of the vocabulary has a count."""
    novelty_N: NDArray[np.float32]
    """Novelty; NaN if the model has no novelty score."""
    typical_N3: NDArray[np.int32]
    """Regulators that stand out among those typical of the most likely cell type, see `Regulators.top`; cells x 0 if
    they are not wanted, or the model has no activities."""
    alone_N3: NDArray[np.int32]
    """Regulators that stand out among all; as `typical_N3`."""
    activity_NR: NDArray[np.float32]
    """Activities in standard deviations of the training cells; cells x 0 if they are not wanted."""
    mrna_NR: NDArray[np.float32]
    """The regulators' own mRNA, see `Regulators.mrna`; cells x 0 if it is not wanted."""
    panel_N: NDArray[np.int16]
    """Panel of each cell, see `Panels.of`; -1 for a cell that has all genes of the file."""

    def __len__(self) -> int:
        return len(self.counted_N)

    @property
    def best_N(self) -> NDArray[np.int32]:
        """Index of the most likely cell type, also where the cell is rejected."""
        return self.probabilities_NC.argmax(axis=1).astype(np.int32)

    def calls(self, limits: Limits) -> Calls:
        """The label of each cell, see `call_cells`."""
        return call_cells(self.probabilities_NC, self.counted_N, self.novelty_N, limits, self.panel_N)

    def top_N3(self, label_N: NDArray[np.int32]) -> NDArray[np.int32]:
        """The regulators that are named for each cell; for an unknown cell those that stand out among all.

        Args:
            label_N: labels, see `Calls`.
        """
        return np.where(label_N[:, None] == UNKNOWN, self.alone_N3, self.typical_N3)


class Labeller:
    """Labels cells whose genes are matched with those of the model. May be used by several threads at once.

    Args:
        session: the model's graph.
        vocabulary: the genes of the model, see `Bundle.vocabulary`.
        match: where those genes are in the counts.
        absent_genes: see `AnnotationSettings.absent_genes`.
        regulators: those of the model, for these cells; None if their activities are not wanted.
        panels: labels the cells of each panel of the file, see `Panels`; empty if all cells have the same genes.
    """

    def __init__(
        self,
        session: ScoringSession,
        vocabulary: pd.DataFrame,
        match: GeneMatch,
        absent_genes: AbsentGenes = "mean",
        regulators: Regulators | None = None,
        panels: "Sequence[Labeller]" = (),
    ) -> None:
        self.match, self.regulators, self._panels = match, regulators, panels
        self._session, self._vocabulary, self._fill = session, vocabulary, absent_genes == "mean"
        self._measured_G = measured_genes(match, self._fill)
        self._of_thread = threading.local()

    @property
    def threads(self) -> int:
        """Number of threads that should label cells at once."""
        return self._session.threads

    def score(
        self,
        counts_NG: sparse.csr_matrix,
        library_size_N: NDArray[np.float32],
        mrna_NR: NDArray[np.float32] | None = None,
        panel_N: NDArray[np.int16] | None = None,
    ) -> CellLabels:
        """Label cells in this thread.

        Args:
            counts_NG: raw counts, cells x genes of the vocabulary, see `GeneMatch.select`.
            library_size_N: total counts of each cell.
            mrna_NR: the regulators' own mRNA, which is kept beside the activities of all; None if neither is wanted.
            panel_N: panel of each cell; None: all cells have the same genes.
        """
        return self._labelled(counts_NG, library_size_N, mrna_NR, panel_N)[0]

    def score_and_sum(
        self,
        counts_NG: sparse.csr_matrix,
        library_size_N: NDArray[np.float32],
        mrna_NR: NDArray[np.float32] | None = None,
        panel_N: NDArray[np.int16] | None = None,
    ) -> tuple[CellLabels, NDArray[np.float64]]:
        """The same, and the sum of the activities by most likely cell type.

        Returns:
            Labels, and sums, cell types x regulators; cell types x 0 without activities.
        """
        labels, z_NR = self._labelled(counts_NG, library_size_N, mrna_NR, panel_N)
        cells = np.arange(len(labels))
        shape = (labels.probabilities_NC.shape[1], len(labels))
        is_of_CN = sparse.csr_matrix((np.ones(len(labels)), (labels.best_N, cells)), shape=shape)
        return labels, np.asarray(is_of_CN @ z_NR)

    def _labelled(
        self,
        counts_NG: sparse.csr_matrix,
        library_size_N: NDArray[np.float32],
        mrna_NR: NDArray[np.float32] | None,
        panel_N: NDArray[np.int16] | None = None,
    ) -> tuple[CellLabels, NDArray[np.float32]]:
        """Labels and standardised activities, cells x 0 if they are not wanted; see `score`."""
        if panel_N is not None and self._panels and (panel_N >= 0).any():
            return self._labelled_by_panel(counts_NG, library_size_N, mrna_NR, panel_N)
        scores, regulators = self.scores(counts_NG, library_size_N), self.regulators
        counted_N = np.diff(counts_NG.indptr) > 0
        typical_N3, alone_N3, activity_NR, own_NR = _no_regulators(len(counted_N))
        z_NR = activity_NR
        if regulators is not None and scores.activity_NR is not None:
            z_NR = regulators.standardised(scores.activity_NR)
            typical_N3, alone_N3 = regulators.top(z_NR, scores.probabilities_NC.argmax(axis=1))
            if mrna_NR is not None:
                activity_NR, own_NR = z_NR, mrna_NR
        labels = CellLabels(
            scores.probabilities_NC,
            scores.embedding_NE,
            library_size_N,
            counted_N,
            scores.novelty_N,
            typical_N3,
            alone_N3,
            activity_NR,
            own_NR,
            np.full(len(counted_N), -1, dtype=np.int16),
        )
        return labels, z_NR

    def _labelled_by_panel(
        self,
        counts_NG: sparse.csr_matrix,
        library_size_N: NDArray[np.float32],
        mrna_NR: NDArray[np.float32] | None,
        panel_N: NDArray[np.int16],
    ) -> tuple[CellLabels, NDArray[np.float32]]:
        """As `_labelled`; the cells of each panel are labelled as in a file of its genes alone."""
        rows, parts, z_parts = list[NDArray[np.int64]](), list[CellLabels](), list[NDArray[np.float32]]()
        for panel in np.unique(panel_N).tolist():
            own_N = np.flatnonzero(panel_N == panel)
            labeller = self if panel < 0 else self._panels[panel]
            mrna = None if mrna_NR is None else mrna_NR[own_N]  # a copy
            if mrna is not None and labeller.regulators is not None and labeller.regulators.own is not None:
                mrna[:, labeller.regulators.own.column_G < 0] = np.nan
            labels, z_NR = labeller._labelled(counts_NG[own_N], library_size_N[own_N], mrna)
            rows.append(own_N)
            parts.append(replace(labels, panel_N=panel_N[own_N]))
            z_parts.append(z_NR)
        back_N = np.argsort(np.concatenate(rows))
        arrays = vars(join_labels(parts))
        return CellLabels(**{name: values[back_N] for name, values in arrays.items()}), np.concatenate(z_parts)[back_N]

    def scores(self, counts_NG: sparse.csr_matrix, library_size_N: NDArray[np.float32]) -> Scores:
        """What the graph computes for cells of one panel, in this thread; arguments as for `score`."""
        n_cells = len(library_size_N)
        step = self._session.run_cells or n_cells
        parts = [
            self._run(counts_NG[start : start + step], library_size_N[start : start + step])
            for start in range(0, n_cells, step)
        ]
        return joined(parts)

    def label(self, counts_NF: sparse.csr_matrix, library_size_N: NDArray[np.float32]) -> CellLabels:
        """Label any number of cells in several threads.

        Args:
            counts_NF: raw counts, cells x columns that were matched.
            library_size_N: total counts of each cell.
        """
        counts_NG, step = self.match.select(counts_NF), self._session.batch_cells(None)
        batches = (
            (counts_NG[start : start + step], library_size_N[start : start + step])
            for start in range(0, counts_NG.shape[0], step)
        )
        parts = list(in_order(lambda batch: self.score(*batch), batches, self.threads))
        return join_labels(parts) if parts else self._none()

    def filled(
        self,
        counts_NG: sparse.csr_matrix,
        library_size_N: NDArray[np.float32],
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Dense counts as the graph reads them, with those of absent genes filled in; `out` is overwritten if given."""
        dense_NG: NDArray[np.float32] = counts_NG.toarray(out=out)
        if self._fill:
            fill_absent(dense_NG, library_size_N, self.match, self._vocabulary)
        return dense_NG

    def _run(self, counts_NG: sparse.csr_matrix, library_size_N: NDArray[np.float32]) -> Scores:
        """Score cells in one run of the graph."""
        dense_NG = self.filled(counts_NG, library_size_N, self._buffer(counts_NG.shape))
        return self._session.score(dense_NG, library_size_N, self._measured_G, self.regulators is not None)

    def _buffer(self, shape: tuple[int, int]) -> NDArray[np.float32]:
        """Memory for the dense counts of this thread, which the next run overwrites."""
        held_NG: NDArray[np.float32] | None = getattr(self._of_thread, "counts_NG", None)
        if held_NG is None or len(held_NG) < shape[0]:
            held_NG = self._of_thread.counts_NG = np.empty(shape, dtype=np.float32)
        return held_NG[: shape[0]]

    def _none(self) -> CellLabels:
        no_values = np.empty(0, dtype=np.float32)
        sizes = (self._session.n_labels, self._session.embedding_size)
        probabilities_NC, embedding_NE = (np.empty((0, size), dtype=np.float32) for size in sizes)
        no_flags, no_panels = no_values.astype(bool), no_values.astype(np.int16)
        return CellLabels(probabilities_NC, embedding_NE, no_values, no_flags, no_values, *_no_regulators(0), no_panels)


def _no_regulators(
    n_cells: int,
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
    """The values of cells whose activities are not wanted."""
    no_names, no_values = np.empty((n_cells, 0), dtype=np.int32), np.empty((n_cells, 0), dtype=np.float32)
    return no_names, no_names, no_values, no_values


def join_labels(parts: Sequence[CellLabels]) -> CellLabels:
    """Labels of all cells of several parts, of which there is at least one."""
    return CellLabels(**_joined(parts, CellLabels))


def call_cells(
    probabilities_NC: NDArray[np.floating],
    counted_N: NDArray[np.bool_],
    novelty_N: NDArray[np.float32],
    limits: Limits,
    panel_N: NDArray[np.int16] | None = None,
) -> Calls:
    """Choose the label of each cell: the most likely cell type, or UNKNOWN.

    A cell is rejected if no gene of the vocabulary has a count, however confident the model is, if its novelty is above
    the limit, or if its confidence is under the limit. The first reason that applies, in this order, is given.

    Args:
        probabilities_NC: calibrated probabilities; NaN is under any limit.
        counted_N: whether any gene of the vocabulary has a count.
        novelty_N: novelty; NaN is not above any limit.
        limits: see `limits_for`.
        panel_N: panel of each cell, -1 for none; None: all cells have the same genes.
    """
    every_N = np.arange(len(probabilities_NC))
    best_N = probabilities_NC.argmax(axis=1).astype(np.int32)
    confidence_N = probabilities_NC[every_N, best_N].astype(np.float32)
    second_N, second_confidence_N = np.full_like(best_N, UNKNOWN), np.zeros_like(confidence_N)
    if probabilities_NC.shape[1] > 1:
        others_NC = probabilities_NC.copy()
        others_NC[every_N, best_N] = -1.0
        second_N = others_NC.argmax(axis=1).astype(np.int32)
        second_confidence_N = probabilities_NC[every_N, second_N].astype(np.float32)
    is_low_N = ~(confidence_N >= limits.confidence)
    is_novel_N = novelty_N > limits.novelty_by_panel(np.full(1, -1) if panel_N is None else panel_N)
    reasons = [REASONS.index(name) for name in ("no counts", NOVEL, "low confidence")]
    reason_N = np.select([~counted_N, is_novel_N, is_low_N], reasons, ACCEPTED).astype(np.int8)
    label_N = np.where(reason_N == ACCEPTED, best_N, np.int32(UNKNOWN))
    return Calls(label_N, best_N, confidence_N, second_N, second_confidence_N, reason_N, novelty_N)


def join_calls(parts: Sequence[Calls]) -> Calls:
    """Calls of all cells of several parts, of which there is at least one."""
    return Calls(**_joined(parts, Calls))


def _joined(parts: Sequence[CellLabels] | Sequence[Calls], kind: type[CellLabels | Calls]) -> dict[str, NDArray[Any]]:
    """The arrays of all parts, one after another, by field."""
    return {one.name: np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(kind)}
