"""The annotation of a file, assembled from its shards; embeddings stay on disk."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sctransformer._constants import UNKNOWN_LABEL
from sctransformer.annotation.labelling import Calls, join_calls
from sctransformer.annotation.limits import Limits
from sctransformer.annotation.regulators import Regulators
from sctransformer.annotation.shards import ShardStore
from sctransformer.evaluation.profile import SMALLEST_LABEL, Profile, confidence_bins, library_size_bins


@dataclass(frozen=True)
class Annotation:
    """Predictions for cells in file order. N: cells, E: embedding, G: genes of the vocabulary."""

    calls: Calls
    """The label of each cell, and what it was chosen from."""
    library_size_N: NDArray[np.float32]
    """Total counts of each cell."""
    counted_N: NDArray[np.bool_]
    """Whether any gene of the vocabulary has a count; cells without are rejected whatever their confidence."""
    embedding_size: int
    detection_G: NDArray[np.float64]
    """Fraction of cells that express the gene."""
    expression_G: NDArray[np.float64]
    """Mean log1p of counts per 10,000."""
    embedding_mean_E: NDArray[np.float64]
    embedding_std_E: NDArray[np.float64]
    activity_sum_CR: NDArray[np.float64]
    """Sum of the activities by most likely cell type; cell types x 0 without activities."""
    top_N3: NDArray[np.int32]
    """Regulators named for each cell, see `CellLabels.top_N3`; cells x 0 if they are not wanted."""
    store: ShardStore

    def __len__(self) -> int:
        return len(self.calls)

    @property
    def without_counts(self) -> int:
        """Cells without a count in any gene of the vocabulary."""
        return int((~self.counted_N).sum())

    def embeddings(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Position of the first cell and embeddings of its shard, one shard after another."""
        for shard, content in enumerate(self.store):
            yield self.store.plan.rows(shard).start, content.embedding_NE

    def probabilities(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Position of the first cell and probabilities of its shard, one shard after another."""
        for shard, content in enumerate(self.store):
            yield self.store.plan.rows(shard).start, content.probabilities_NC

    def activities(self) -> Iterator[tuple[int, NDArray[np.float32], NDArray[np.float32]]]:
        """Position of the first cell, activities and own mRNA of all regulators, one shard after another."""
        for shard in range(self.store.plan.shards):
            yield self.store.plan.rows(shard).start, *self.store.read_activities(shard)

    def label_counts(self, names: list[str]) -> dict[str, int]:
        """Number of cells per label, the most frequent first; `unknown` counts the rejected."""
        cells_C = np.bincount(self.calls.label_N + 1, minlength=len(names) + 1)  # UNKNOWN is -1, so it is first
        counts: dict[str, int] = {}
        for name, cells in zip([UNKNOWN_LABEL, *names], cells_C.tolist(), strict=True):
            counts[name] = counts.get(name, 0) + cells
        return {name: counts[name] for name in sorted(counts, key=lambda name: -counts[name]) if counts[name]}


def profile_of(
    annotation: Annotation, names: list[str], present_G: NDArray[np.bool_], regulators: Regulators | None = None
) -> Profile:
    """Statistics of the cells as the model sees them, for drift monitoring.

    Args:
        annotation: of the cells.
        names: names of the cell types.
        present_G: whether the file has the gene.
        regulators: those of the model, for these cells; None if activities are not wanted.
    """
    labels = annotation.label_counts(names)
    if UNKNOWN_LABEL not in names:
        labels.pop(UNKNOWN_LABEL, None)
    cells_C = np.bincount(annotation.calls.best_N, minlength=len(names))
    return Profile(
        cells=len(annotation),
        detection_G=np.where(present_G, annotation.detection_G, np.nan),
        expression_G=np.where(present_G, annotation.expression_G, np.nan),
        library_size_B=library_size_bins(annotation.library_size_N),
        confidence_B=confidence_bins(annotation.calls.confidence_N),
        labels=labels,
        rejected=annotation.calls.rejected,
        embedding_mean_E=annotation.embedding_mean_E,
        embedding_std_E=annotation.embedding_std_E,
        best_labels=dict(zip(names, cells_C.tolist(), strict=True)),
        activity_by_label={} if regulators is None else _mean_activities(annotation, names, cells_C, regulators),
    )


def _mean_activities(
    annotation: Annotation, names: list[str], cells_C: NDArray[np.integer], regulators: Regulators
) -> dict[str, NDArray[np.float64]]:
    """See `Profile.activity_by_label`."""
    return {
        name: np.where(regulators.comparable_R, sum_R / cells, np.nan)
        for name, sum_R, cells in zip(names, annotation.activity_sum_CR, cells_C, strict=True)
        if cells >= SMALLEST_LABEL and len(sum_R)
    }


def assemble(store: ShardStore, limits: Limits) -> Annotation:
    """Assemble shards and reject cells.

    Args:
        store: with all shards of its plan.
        limits: cells beyond these are rejected.

    Raises:
        UserError: a shard was changed after it was written.
    """
    n_cells = store.plan.cells
    parts, tops = list[Calls](), list[NDArray[np.int32]]()
    library_size_N = np.empty(n_cells, dtype=np.float32)
    counted_N = np.empty(n_cells, dtype=np.bool_)
    sums: list[NDArray[np.float64]] = []
    for shard, content in enumerate(store):
        rows = store.plan.rows(shard)
        part = slice(rows.start, rows.stop)
        parts.append(content.calls(limits))
        tops.append(content.top_N3(parts[-1].label_N))
        library_size_N[part], counted_N[part] = content.library_size_N, content.counted_N
        embedding_NE = content.embedding_NE.astype(np.float64)
        found = [content.detected_G, content.expression_G, embedding_NE.sum(axis=0), (embedding_NE**2).sum(axis=0)]
        found.append(content.activity_sum_CR)
        sums = [np.add(left, right) for left, right in zip(sums, found, strict=True)] if sums else found
    detection_G, expression_G, mean_E, square_E = (values / n_cells for values in sums[:-1])
    return Annotation(
        join_calls(parts),
        library_size_N,
        counted_N,
        embedding_size=len(mean_E),
        detection_G=detection_G,
        expression_G=expression_G,
        embedding_mean_E=mean_E,
        embedding_std_E=np.sqrt(np.maximum(square_E - mean_E**2, 0.0)),
        activity_sum_CR=sums[-1],
        top_N3=np.concatenate(tops),
        store=store,
    )
