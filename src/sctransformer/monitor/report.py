"""The drift report: one HTML file that works offline, in which every batch of a job can be selected."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from sctransformer import charts
from sctransformer.evaluation.profile import CONFIDENCE_EDGES, LIBRARY_EDGES, Profile
from sctransformer.export.bundle import Bundle
from sctransformer.files import atomic_write
from sctransformer.monitor.genes import expected_expression, usable_std
from sctransformer.monitor.regulators import regulator_shifts, why_not_compared
from sctransformer.monitor.settings import Limits

TEMPLATE = Path(str(files("sctransformer.monitor") / "report.html.j2"))
SHOWN = 500
"""Number of latest batches in the report."""
GENES_NAMED = 25
REGULATORS_SHOWN = 40
_FULL_COLOUR = 3.0
"""Shift, in standard deviations, from which on the colour of the heatmap does not change."""
MEANING = {
    "psi_library_size": "library sizes, population stability index",
    "psi_confidence": "confidences, population stability index",
    "psi_labels": "shares of the labels, population stability index",
    "detection": "share of cells that express a gene, mean difference",
    "rejected": "share of cells labelled unknown",
    "embedding": "mean embedding, distance in standard deviations",
    "genes": "share of genes whose mean expression changed",
    "regulators": "number of regulators whose activity shifted",
}


@dataclass(frozen=True)
class JobState:
    """What a report shows of a job."""

    job: str
    """Name of the job."""
    batches: Sequence[Mapping[str, Any]]
    """Records of the labelled batches, the oldest first."""
    failed: Sequence[Mapping[str, Any]]
    """Files that could not be labelled: time, source, error."""
    rule: Mapping[str, Any]
    """Section `drift` of the job file."""
    raised: bool
    """Whether the batches raise the alarm."""


def write_report(target: Path, state: JobState, bundle: Bundle) -> None:
    """Write the drift report, atomically.

    Args:
        target: the HTML file.
        state: of the job.
        bundle: bundle of the job's model; batches that it labelled are compared with its training cells.
    """
    shown = list(state.batches[-SHOWN:])
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    text = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        job=state.job,
        batches=list(enumerate(shown))[::-1],
        total=len(state.batches),
        failed=state.failed,
        rule=state.rule,
        raised=state.raised,
        meaning=MEANING,
        trends=_trends(shown),
        details={number: _detail(batch, bundle) for number, batch in enumerate(shown)},
        colours={"training": charts.TRAINING, "batch": charts.BATCH},
    )
    with atomic_write(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _trends(batches: Sequence[Mapping[str, Any]]) -> list[tuple[str, Any]]:
    """A chart of each value that any batch has, with its meaning."""
    names = [PurePosixPath(batch["source"]).name for batch in batches]
    found = []
    for name, meaning in MEANING.items():
        values, limits = ([batch[kind].get(name) for batch in batches] for kind in ("figures", "limits"))
        if any(value is not None for value in values):
            found.append((meaning, charts.trend(names, values, limits)))
    return found


def _detail(batch: Mapping[str, Any], bundle: Bundle) -> dict[str, Any] | None:
    """Charts that compare a batch with the training cells; None without the profiles of this model."""
    if "profile" not in bundle.reference or batch["model_identity"] != bundle.identity:
        return None
    content = bundle.reference["profile"]
    try:
        training, found = Profile.from_json(content), Profile.from_json(batch["profile"])
    except (KeyError, TypeError, ValueError):  # a damaged record must not stop the job that writes the report
        return None
    if len(found.expression_G) != len(bundle.vocabulary):
        return None
    names = sorted(set(training.labels) | set(found.labels))
    genes = _largest_differences(content, found, bundle.vocabulary)
    return {
        "library_size": charts.histogram(LIBRARY_EDGES, training.library_size_B, found.library_size_B),
        "confidence": charts.histogram(CONFIDENCE_EDGES, training.confidence_B, found.confidence_B),
        "labels": charts.paired_bars(
            [*names, "unknown"],
            [*_shares(training, names), training.rejected / max(int(content["judged_cells"]), 1)],
            [*_shares(found, names), found.rejected / max(found.cells, 1)],
        ),
        "genes": charts.differences(genes["gene"].tolist(), genes["difference"].tolist()),
        "rows": genes.to_dict("records"),
        "changed": {gene["gene"] for gene in batch.get("genes", [])},
        "regulators": _regulators(batch, found, bundle),
        "regulators_note": why_not_compared(bundle.regulators, found),
    }


def _regulators(batch: Mapping[str, Any], found: Profile, bundle: Bundle) -> Any | None:
    """Heatmap of shifts, labels x regulators, the shifted regulators first; None if they cannot be compared."""
    if bundle.regulators is None or why_not_compared(bundle.regulators, found):
        return None
    if any(len(values_R) != len(bundle.regulators) for values_R in found.activity_by_label.values()):
        return None
    shifts = regulator_shifts(bundle.regulators, bundle.reference["profile"], found, Limits().regulator_shift)
    compared = np.flatnonzero(np.isfinite(shifts.shift_CR).any(axis=0))
    if not len(compared):
        return None
    named = {(one["label"], one["regulator"]) for one in batch.get("regulators", [])}
    marked_CR = np.array([[(label, name) in named for name in shifts.regulators] for label in shifts.labels])
    largest_R = np.nanmax(np.abs(shifts.shift_CR[:, compared]), axis=0)
    order = compared[np.lexsort((-largest_R, ~marked_CR[:, compared].any(axis=0)))][:REGULATORS_SHOWN]
    return charts.heatmap(
        shifts.labels,
        [shifts.regulators[column] for column in order],
        shifts.shift_CR[:, order],
        limit=_FULL_COLOUR,
        marked=marked_CR[:, order],
    )


def _shares(profile: Profile, names: Sequence[str]) -> list[float]:
    return [profile.labels.get(name, 0) / max(profile.cells, 1) for name in names]


def _largest_differences(reference: dict[str, Any], found: Profile, vocabulary: pd.DataFrame) -> pd.DataFrame:
    """The genes with the largest difference of mean expression, in standard deviations of the training cells."""
    expected_G, std_G = expected_expression(reference, found), usable_std(vocabulary)
    table = pd.DataFrame(
        {
            "gene": vocabulary["gene"].astype(str),
            "training": expected_G,
            "batch": found.expression_G,
            "difference": (found.expression_G - expected_G) / std_G,
            "detected_training": np.asarray(reference["detection"], dtype=np.float64),
            "detected_batch": found.detection_G,
        }
    ).dropna(subset=["difference"])
    return table.sort_values("difference", key=lambda values: -values.abs(), kind="stable").head(GENES_NAMED)
