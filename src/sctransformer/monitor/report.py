"""The drift report: one HTML file with embedded plots, readable offline."""

import base64
import io
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import numpy as np

from sctransformer.evaluation.profile import CONFIDENCE_EDGES, LIBRARY_EDGES, Profile
from sctransformer.export.bundle import Bundle
from sctransformer.files import atomic_write

matplotlib.use("Agg")  # no screen is needed
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

TEMPLATE = Path(str(files("sctransformer.monitor") / "report.html.j2"))
SHOWN = 50
"""Number of latest batches in the report."""
GENES_NAMED = 12
MEANING = {
    "psi_library_size": "library sizes, population stability index",
    "psi_confidence": "confidences, population stability index",
    "psi_labels": "label shares, population stability index",
    "detection": "share of cells that express a gene, mean difference",
    "rejected": "share of rejected cells",
    "embedding": "mean embedding, distance in deviations",
}


def write_report(
    target: Path, job: str, batches: Sequence[Mapping[str, Any]], bundle: Bundle, rule: Mapping[str, Any], raised: bool
) -> None:
    """Write the drift report, atomically.

    Args:
        target: the HTML file.
        job: name of the job, for the title.
        batches: records of the job's batches, the oldest first; at least one.
        bundle: bundle of the job's model; the last batch is compared with its training cells if it labelled that batch.
        rule: section `drift` of the job file.
        raised: whether the batches raise the alarm.
    """
    shown = list(batches[-SHOWN:])
    pictures = [("Drift of each batch, with its limits", _series(shown))]
    genes: list[dict[str, Any]] = []
    if "profile" in bundle.reference and shown[-1]["model_identity"] == bundle.identity:
        reference, last = Profile.from_json(bundle.reference["profile"]), Profile.from_json(shown[-1]["profile"])
        pictures.append(("The last batch compared with the training cells", _beside(reference, last)))
        genes = _most_changed(reference, last, bundle.genes)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    text = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        job=job,
        batches=shown[::-1],
        total=len(batches),
        rule=rule,
        raised=raised,
        meaning=MEANING,
        pictures=[(title, _png(figure)) for title, figure in pictures],
        genes=genes,
    )
    with atomic_write(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _series(batches: Sequence[Mapping[str, Any]]) -> Figure:
    figure, panels = plt.subplots(2, 3, figsize=(13, 6), layout="constrained")
    for axes, (name, meaning) in zip(panels.flat, MEANING.items(), strict=True):
        points = [(place, batch) for place, batch in enumerate(batches) if name in batch["figures"]]
        places = [place for place, _ in points]
        axes.plot(places, [batch["figures"][name] for _, batch in points], "o-", color="tab:blue")
        axes.plot(places, [batch["limits"][name] for _, batch in points], ":", color="tab:red", label="limit")
        over = [(place, batch) for place, batch in points if batch["figures"][name] > batch["limits"][name]]
        axes.plot([place for place, _ in over], [batch["figures"][name] for _, batch in over], "o", color="tab:red")
        axes.set(title=meaning, xlabel="batch", ylim=(0, None), xlim=(-0.5, len(batches) - 0.5))
        axes.title.set_fontsize(9)
    return figure


def _beside(reference: Profile, last: Profile) -> Figure:
    figure, panels = plt.subplots(1, 4, figsize=(17, 4), layout="constrained")
    for axes, edges, left_B, right_B, label in (
        (panels[0], LIBRARY_EDGES, reference.library_size_B, last.library_size_B, "log10 of library size"),
        (panels[1], CONFIDENCE_EDGES, reference.confidence_B, last.confidence_B, "confidence"),
    ):
        for name, counts_B in (("training", left_B), ("last batch", right_B)):
            axes.stairs(counts_B / max(counts_B.sum(), 1), edges, label=name, fill=name == "training", alpha=0.6)
        axes.set(xlabel=label, ylabel="share of cells")
        axes.legend(frameon=False)
    filled = np.flatnonzero(reference.library_size_B + last.library_size_B)
    if len(filled):
        panels[0].set_xlim(LIBRARY_EDGES[max(filled[0] - 2, 0)], LIBRARY_EDGES[min(filled[-1] + 3, 140)])
    names = sorted(set(reference.labels) | set(last.labels))
    place = np.arange(len(names))
    for offset, (name, profile) in zip((-0.2, 0.2), (("training", reference), ("last batch", last)), strict=True):
        shares = [profile.labels.get(label, 0) / max(profile.cells, 1) for label in names]
        panels[2].barh(place + offset, shares, 0.4, label=name)
    panels[2].set_yticks(place, names)
    panels[2].set(xlabel="share of cells")
    panels[2].legend(frameon=False)
    panels[3].plot(reference.detection_G, last.detection_G, ".", markersize=3)
    panels[3].plot([0, 1], [0, 1], ":", color="0.5")
    panels[3].set(xlabel="cells that express a gene, training", ylabel="last batch", xlim=(0, 1), ylim=(0, 1))
    return figure


def _most_changed(reference: Profile, last: Profile, names: Sequence[str]) -> list[dict[str, Any]]:
    difference_G = np.nan_to_num(np.abs(last.detection_G - reference.detection_G))
    return [
        {"gene": names[gene], "training": reference.detection_G[gene], "batch": last.detection_G[gene]}
        for gene in np.argsort(-difference_G, kind="stable")[:GENES_NAMED]
    ]


def _png(figure: Figure) -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=90, metadata={"Software": None})
    plt.close(figure)
    return base64.b64encode(stream.getvalue()).decode()
