"""How often drift is reported where there is none, and whether it is where there is some.

    python -m pipelines.robustness.false_alarms outputs/bundle cells.h5ad --column donor_id
    python -m pipelines.robustness.false_alarms outputs/bundle cells.h5ad --column condition --draws 0

The cells of a file are scored once. Each value of the column is a batch, which is judged against the training cells of
the bundle, as a job does. Then its cells are split at random into two halves, again and again:

- `own`: one half takes the place of the training cells, and the other is judged against it. The two differ by chance
  only.
- `training`: both halves are judged against the training cells, one after the other.

Prints one JSON object per batch: the verdict, the largest shift of a regulator, and the fractions of draws in which a
half has a shifted regulator, in which it drifts by any value, and in which the two halves raise the alarm. With default
limits and settings.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from sctransformer._constants import TYPE_MEAN, TYPE_STD
from sctransformer.annotation.labelling import CellLabels
from sctransformer.annotation.limits import limits_for
from sctransformer.annotation.reading import check_cells, open_cells
from sctransformer.annotation.regulators import Regulators
from sctransformer.annotation.results import Annotation, profile_of
from sctransformer.annotation.scorer import LocalScorer
from sctransformer.annotation.settings import Scoring
from sctransformer.annotation.stream import label_all
from sctransformer.data.normalise import log1p_cp10k
from sctransformer.errors import UserError, run_reporting
from sctransformer.evaluation.profile import Profile, listed
from sctransformer.export.bundle import Bundle, read_bundle
from sctransformer.monitor.drift import Verdict, alarm, judge
from sctransformer.monitor.regulators import regulator_shifts
from sctransformer.monitor.settings import AlarmRule, Limits
from sctransformer.wording import some

SMALLEST = 100
"""Batches with fewer cells are not split into halves: a half would not be judged."""


class ScoredCells(NamedTuple):
    """Cells of a file, scored by a model. N: cells, G: genes of the model."""

    labels: CellLabels
    expression_NG: sparse.csr_matrix
    """log1p of counts per 10,000."""
    present_G: NDArray[np.bool_]
    regulators: Regulators | None
    obs: pd.DataFrame


def score(bundle: Bundle, path: Path, min_coverage: float = 0.0) -> ScoredCells:
    """Score all cells of a file, in memory."""
    scorer = LocalScorer(bundle, Scoring(regulators="all"))
    with open_cells(path, bundle.vocabulary) as file:
        read = check_cells(file, bundle.vocabulary, min_coverage)
        labeller, batch = scorer.labeller(read), scorer.batch_cells(None)
        labels = label_all(read, labeller, batch)
        parts = [log1p_cp10k(chunk[0], chunk[1]) for chunk in read.chunks(batch)]
        return ScoredCells(
            labels, sparse.csr_matrix(sparse.vstack(parts)), read.match.column_G >= 0, labeller.regulators, file.obs
        )


def profile(bundle: Bundle, cells: ScoredCells, rows_N: NDArray[np.integer]) -> Profile:
    """Profile of some of the cells, as their annotation in a file of their own gives it."""
    labels = CellLabels(**{name: values[rows_N] for name, values in vars(cells.labels).items()})
    names, expression_NG = bundle.labels["name"].tolist(), cells.expression_NG[rows_N]
    embedding_NE = labels.embedding_NE.astype(np.float64)
    is_of_CN = labels.best_N == np.arange(len(names))[:, None]
    annotation = Annotation(
        labels.calls(limits_for(bundle.calibration, float(cells.present_G.mean()))),
        labels.library_size_N,
        labels.counted_N,
        embedding_size=embedding_NE.shape[1],
        detection_G=np.asarray((expression_NG > 0).mean(axis=0)).ravel(),
        expression_G=np.asarray(expression_NG.mean(axis=0)).ravel(),
        embedding_mean_E=embedding_NE.mean(axis=0),
        embedding_std_E=embedding_NE.std(axis=0),
        activity_sum_CR=np.array([labels.activity_NR[own_N].sum(axis=0, dtype=np.float64) for own_N in is_of_CN]),
        top_N3=labels.alone_N3,
        store=None,  # type: ignore[arg-type] # a profile does not read it
    )
    return profile_of(annotation, names, cells.present_G, cells.regulators)


def verdict(bundle: Bundle, found: Profile) -> Verdict:
    """Judge a batch against the training cells."""
    return judge(bundle.reference, bundle.vocabulary, found.to_json(), Limits(), bundle.regulators)


def largest_shift(bundle: Bundle, found: Profile) -> float | None:
    """Largest difference of a mean activity, over labels and regulators, whether it is a shift or not."""
    assert bundle.regulators is not None
    size_CR = np.abs(regulator_shifts(bundle.regulators, bundle.reference["profile"], found, 1.0).shift_CR)
    return round(float(np.nanmax(size_CR)), 2) if np.isfinite(size_CR).any() else None


def verdict_on_half(
    bundle: Bundle, cells: ScoredCells, first_N: NDArray[np.integer], second_N: NDArray[np.integer]
) -> Verdict:
    """Judge the second half with the first in place of the training cells, and predicted labels in place of labels."""
    names = bundle.labels["name"].tolist()
    labels_N, expression_NG = cells.labels.best_N[first_N], cells.expression_NG[first_N]
    own = profile(bundle, cells, first_N)
    content: dict[str, Any] = own.to_json() | {"judged_cells": own.cells, "labels": own.best_labels}
    content["expression_by_label"], columns = {}, {}
    for label, name in enumerate(names):
        own_N = labels_N == label
        if not own_N.any():
            continue
        content["expression_by_label"][name] = listed(np.asarray(expression_NG[own_N].mean(axis=0)).ravel())
        if bundle.regulators is not None:
            table, z_NR = bundle.regulators, cells.labels.activity_NR[first_N[own_N]]
            columns[TYPE_MEAN + name] = z_NR.mean(axis=0) * table["std"] + table["mean"]
            columns[TYPE_STD + name] = z_NR.std(axis=0) * table["std"]
    regulators = None
    if bundle.regulators is not None:
        kept = [name for name in bundle.regulators if ":" not in str(name)]
        regulators = bundle.regulators[kept].join(pd.DataFrame(columns))
    found = profile(bundle, cells, second_N).to_json()
    return judge({"profile": content}, bundle.vocabulary, found, Limits(), regulators)


def rates(
    judged: Callable[[NDArray[np.integer]], list[Verdict]], rows_N: NDArray[np.integer], draws: int, seed: int
) -> dict[str, float]:
    """Fractions of the draws in which a verdict has a shifted regulator, drifts, or the verdicts raise the alarm.

    Args:
        judged: the verdicts of a random order of the cells.
        rows_N: the cells of the batch.
        draws: number of random orders.
        seed: random seed.
    """
    rng, found = np.random.default_rng(seed), []
    for _ in range(draws):
        verdicts = judged(rng.permutation(rows_N))
        drifted = [one.drifted for one in verdicts]
        shifted = ["regulators" in one.exceeded for one in verdicts]
        found.append((any(shifted), any(drifted), alarm(drifted, AlarmRule())))
    regulators, any_value, raised = np.mean(found, axis=0).tolist()
    return {"regulators": regulators, "drifted": any_value, "alarm": raised}


def measure(bundle: Bundle, cells: ScoredCells, rows_N: NDArray[np.integer], draws: int, seed: int) -> dict[str, Any]:
    """The verdict on a batch, and the rates of its random halves."""
    found = profile(bundle, cells, rows_N)
    whole = verdict(bundle, found)
    result: dict[str, Any] = {
        "cells": len(rows_N),
        "largest_shift": None if whole.regulators_note else largest_shift(bundle, found),
        "verdict": whole.sentence(),
        "shifted": list(dict.fromkeys(one.regulator for one in whole.regulators)),
        "note": whole.regulators_note,
    }
    if draws and len(rows_N) >= SMALLEST:
        middle = len(rows_N) // 2

        def against_training(order_N: NDArray[np.integer]) -> list[Verdict]:
            return [verdict(bundle, profile(bundle, cells, half_N)) for half_N in (order_N[:middle], order_N[middle:])]

        def against_half(order_N: NDArray[np.integer]) -> list[Verdict]:
            return [verdict_on_half(bundle, cells, order_N[:middle], order_N[middle:])]

        result["own"] = rates(against_half, rows_N, draws, seed)
        result["training"] = rates(against_training, rows_N, draws, seed)
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("cells", type=Path)
    parser.add_argument("--column", help="column of obs whose values are batches; without it the file is one batch")
    parser.add_argument("--draws", type=int, default=200, help="number of random halves; 0 judges batches only")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    bundle = read_bundle(options.bundle)
    cells = score(bundle, options.cells)
    if options.column is not None and options.column not in cells.obs:
        names = some(sorted(map(str, cells.obs.columns)))
        raise UserError(f"{options.cells}: obs has no column {options.column!r}; it has {names}.")
    batch_N = np.full(len(cells.obs), "all") if options.column is None else cells.obs[options.column].astype(str)
    for name in sorted(set(batch_N)):
        rows_N = np.flatnonzero(np.asarray(batch_N) == name)
        print(json.dumps({"batch": name} | measure(bundle, cells, rows_N, options.draws, options.seed)), flush=True)


if __name__ == "__main__":
    run_reporting(main)
