"""The classifier of cell types: an average of logistic regressions, chosen by cross-validation, as one linear map."""

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special
from threadpoolctl import threadpool_info, threadpool_limits

from sctransformer.data.arrays import NO_LABEL, CellSource
from sctransformer.errors import UserError
from sctransformer.training.balanced_logistic import balanced_loss
from sctransformer.training.components import Components, log_expression
from sctransformer.training.label_candidates import Candidate, LabelledCells, candidates_of, select
from sctransformer.training.label_folds import assign_folds, sample_balanced
from sctransformer.training.label_settings import LabelSettings
from sctransformer.training.label_views import SourceMap, View, label_views

Progress = Callable[[int, int], None]
"""Called with the number of fits that are finished, and their maximum number."""


@dataclass(frozen=True)
class LabelMap:
    """A linear map from log expression, and from activities, to the logits of the cell types."""

    weight_GC: NDArray[np.float32]
    """Contribution of a unit of centred log expression of each gene to the logit of each type."""
    weight_RC: NDArray[np.float32] | None
    """Contribution of a unit of each regulator's activity; None if activities are not used."""
    bias_C: NDArray[np.float32]
    mean_G: NDArray[np.float32]
    """Mean log expression of each gene, which is subtracted."""
    report: dict[str, Any]
    """How the map was chosen: losses, weights, folds, cells."""

    def logits(
        self, centred_NG: NDArray[np.float32], activity_NR: NDArray[np.floating] | None = None
    ) -> NDArray[np.float32]:
        """Logits of each type, cells x types.

        Args:
            centred_NG: log1p of counts per 10,000, less `mean_G`.
            activity_NR: activities; needed if the map uses them.
        """
        logits_NC = centred_NG @ self.weight_GC + self.bias_C
        if self.weight_RC is not None:
            assert activity_NR is not None, "the map needs activities"
            logits_NC += (activity_NR @ self.weight_RC).astype(np.float32)
        return logits_NC


class LabelFit(NamedTuple):
    """A label map, and what it predicts for the cells it was fitted on."""

    label_map: LabelMap
    rows_N: NDArray[np.int64]
    """Positions of the labelled cells in the concatenation of the parts."""
    log_probability_NC: NDArray[np.float32]
    """Log-probabilities of the types in the labelled cells, each predicted without the cell itself: from the other
    folds, or, for a cell that was left out of the fit, from the map. NaN for the only cell of a type."""


def labelled_rows(parts: Sequence[CellSource]) -> NDArray[np.int64]:
    """Positions of the labelled cells in the concatenation of the parts; activities and groups are in this order."""
    return np.flatnonzero(np.concatenate([part.labels_N for part in parts]) != NO_LABEL)


def fit_label_map(
    parts: Sequence[CellSource],
    class_names: Sequence[str],
    components: Components,
    settings: LabelSettings,
    *,
    activity_NR: NDArray[np.floating] | None = None,
    groups_N: NDArray[np.generic] | None = None,
    seed: int = 0,
    on_progress: Progress = lambda done, total: None,
) -> LabelFit:
    """Fit class-balanced logistic regressions on several views and penalties, and average the logits of the best.

    The weights of the regressions are chosen by ensemble selection with replacement (Caruana et al. 2004,
    https://dl.acm.org/doi/10.1145/1015330.1015432) on the class-balanced log-loss of held-out cells. The regressions
    that are chosen are fitted again on all labelled cells. Their average is one linear map of expression and
    activities, so the contribution of each gene to each logit is exact.

    What does not depend on labels is computed once, from all cells: principal components, activities, and the scale of
    each view. Regressions are fitted without the cells of the fold that they predict. Nothing else depends on labels.
    The result is the same to the bit for the same arguments on one machine.

    Args:
        parts: training cells, labelled or not; those without a label are not used.
        class_names: the cell types; labels are indices into them.
        components: principal components of all training cells (`principal_components`).
        settings: views, penalties and folds.
        activity_NR: activities of the regulators in the labelled cells, in the order of `labelled_rows`.
        groups_N: group of each labelled cell, such as its donor; if given, folds hold whole groups (`assign_folds`).
        seed: seed of the folds, and of the sample if there are more labelled cells than `settings.max_cells`.
        on_progress: called after each fit.

    Raises:
        UserError: the labelled cells have one type only, a type has no cell, or no view is left.
    """
    started = time.perf_counter()
    rows_N = labelled_rows(parts)
    labels_N = np.concatenate([part.labels_N for part in parts])[rows_N]
    _require_types(labels_N, class_names)
    used_N = sample_balanced(labels_N, settings.max_cells, seed)
    used_groups_N = None if groups_N is None else np.asarray(groups_N)[used_N]
    used_activity_NR = None if activity_NR is None else activity_NR[used_N]
    cells = LabelledCells(labels_N[used_N], assign_folds(labels_N[used_N], settings.folds, seed, used_groups_N))
    threads = blas_threads()
    with threadpool_limits(1):  # the bits of a product depend on the number of threads
        views = label_views(parts, rows_N[used_N], components, settings, used_activity_NR)
        candidates = _candidates(views, cells, settings.penalties, on_progress, threads)
        picks = select([one.log_probability_NC for one in candidates], cells.held_out_N, settings.picks)
        weight_of = {index: count / len(picks) for index, count in sorted(Counter(picks).items())}
        maps = [(candidates[index].refit(cells), weight) for index, weight in weight_of.items()]
        average_NC = sum(candidates[index].log_probability_NC * np.float32(weight_of[index]) for index in weight_of)
        held_out_NC = special.log_softmax(average_NC, axis=1)
        report = {
            "loss": balanced_loss(held_out_NC, cells.held_out_N),
            "candidates": [
                {"view": one.view.name, "penalty": one.penalty, "loss": one.loss, "weight": weight_of.get(index, 0.0)}
                for index, one in enumerate(candidates)
            ],
            "picks": [{"view": candidates[index].view.name, "penalty": candidates[index].penalty} for index in picks],
            "activities_weight": sum(weight for one, weight in maps if one.source == "activity"),
            "folds": len(cells.folds),
            "folds_by_group": groups_N is not None,
            "labelled_cells": len(rows_N),
            "fitted_cells": len(used_N),
            "fitted_cells_per_type": dict(zip(class_names, np.bincount(cells.labels_N).tolist(), strict=True)),
        }
        label_map = _folded(maps, components, report)
        log_probability_NC = np.empty((len(rows_N), cells.n_classes), dtype=np.float32)
        log_probability_NC[used_N] = held_out_NC
        left_N = np.setdiff1d(np.arange(len(rows_N)), used_N)
        left_activity_NR = None if activity_NR is None else activity_NR[left_N]
        log_probability_NC[left_N] = _log_probability(label_map, parts, rows_N[left_N], left_activity_NR)
    report["seconds"] = round(time.perf_counter() - started, 2)
    return LabelFit(label_map, rows_N, log_probability_NC)


def blas_threads() -> int:
    """Number of threads that products of matrices may use, which OMP_NUM_THREADS and similar variables limit."""
    return max((one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"), default=1)


def _require_types(labels_N: NDArray[np.int64], class_names: Sequence[str]) -> None:
    cells_C = np.bincount(labels_N, minlength=len(class_names))
    if np.count_nonzero(cells_C) < 2:
        one = f"are all {class_names[int(cells_C.argmax())]!r}" if len(labels_N) else "have no label"
        raise UserError(f"the training cells {one}; label cells of at least two types.")
    if not cells_C.all():
        raise UserError(
            f"no training cell is labelled {class_names[int(cells_C.argmin())]!r}; label a cell of this type or remove "
            "the type."
        )
    if cells_C.max() < 2:
        raise UserError("each cell type has a single labelled training cell; label at least two cells of one type.")


def _candidates(
    views: Sequence[View], cells: LabelledCells, penalties: Sequence[float], on_progress: Progress, threads: int
) -> list[Candidate]:
    """The candidates of all views."""
    if not views:
        raise UserError(
            "labels: the classifier has nothing to learn from; set genes to true, or give a number of components."
        )
    total = len(views) * len(set(penalties)) * len(cells.folds)
    candidates: list[Candidate] = []
    for number, view in enumerate(views):
        done = itertools.count(number * total // len(views) + 1)

        def on_fit(done: Iterator[int] = done) -> None:
            on_progress(next(done), total)

        candidates += candidates_of(view, cells, penalties, on_fit, threads)
    on_progress(total, total)
    return candidates


def _folded(maps: Sequence[tuple[SourceMap, float]], components: Components, report: dict[str, Any]) -> LabelMap:
    """The weighted average of linear maps."""
    weight_of: dict[str, Any] = {"expression": 0.0, "activity": None}
    bias_C: Any = 0.0
    for one, weight in maps:
        total = weight_of[one.source]
        weight_of[one.source] = one.weight * weight + (0.0 if total is None else total)
        bias_C = bias_C + one.bias_C * weight
    n_genes, n_classes = len(components.mean_G), len(bias_C)
    weight_GC = np.broadcast_to(weight_of["expression"], (n_genes, n_classes)).astype(np.float32)
    activity_RC = weight_of["activity"]
    return LabelMap(
        weight_GC,
        None if activity_RC is None else activity_RC.astype(np.float32),
        bias_C.astype(np.float32),
        components.mean_G,
        report,
    )


def _log_probability(
    label_map: LabelMap,
    parts: Sequence[CellSource],
    rows_N: NDArray[np.int64],
    activity_NR: NDArray[np.floating] | None,
) -> NDArray[np.float32]:
    """Log-probabilities of cells that were left out of the fit, cells x types."""
    log_probability_NC = np.empty((len(rows_N), len(label_map.bias_C)), dtype=np.float32)
    done = 0
    for expression_NG in log_expression(parts, rows_N):
        part = slice(done, done := done + len(expression_NG))
        activity = None if activity_NR is None else activity_NR[part]
        log_probability_NC[part] = special.log_softmax(
            label_map.logits(expression_NG - label_map.mean_G, activity), axis=1
        )
    return log_probability_NC
