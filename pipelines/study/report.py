"""Tables and plots of a study, from its finished results.

python -m pipelines.study.report outputs/study/kang
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from markupsafe import Markup

from pipelines.study.config import StudyConfig
from pipelines.study.grid import RESULTS, Task
from pipelines.study.protocol import paired_differences, summary
from pipelines.study.work import parse_labels
from sctransformer.charts import intervals, markdown_page
from sctransformer.errors import UserError, run_reporting
from sctransformer.evaluation.metrics import resampled_macro_f1
from sctransformer.files import atomic_write, read_json, write_json

matplotlib.use("Agg")  # works without a display
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

PLAN, TABLE, PAGE, MEANS, DIFFERENCES, EVERY, FRACTIONS_PLOT, SPEED = (
    "plan.json", "table.md", "report.html", "means.csv", "differences.csv", "results.csv", "macro_f1.png", "speed.png",
)  # fmt: skip
RESAMPLING_SEED = 0

READING = """\
Macro-F1 on test cells: mean and standard deviation over seeds.

A difference is that of an arm to a reference on the same test cells, with the same labelled cells and seed, mean over
seeds. `seeds` is the 95 % t interval over seeds (other labelled cells, other initial weights). `cells` is the 95 %
bootstrap interval over test cells, resampled within their types. `shown` is yes if both intervals exclude zero; with
few seeds the first is wide. The intervals are not corrected for multiple comparisons.
"""


def write_plan(study: StudyConfig, finished: Sequence[Task], out: Path) -> None:
    """Write which results belong to the study, and under which names: the folder may hold results of other settings."""
    fields = ("kind", "name", "percent", "seed", "point", "digest")
    cells = [{field: getattr(task, field) for field in fields} for task in finished]
    order = {name: position for position, name in enumerate((*study.arms, *study.baselines))}
    cells.sort(key=lambda cell: (cell["percent"], order[str(cell["name"])], cell["seed"]))
    search = [dict(point) for point in study.search]
    write_json(out / PLAN, {"name": study.name, "references": list(study.references), "search": search, "cells": cells})


def results(out: Path) -> pd.DataFrame:
    """One row per finished result, with the columns that `pipelines.study.protocol` wants.

    Raises:
        UserError: the folder has no study, or no result.
    """
    cells = _plan(out)["cells"]
    if not cells:
        raise UserError(f"{out}: no result is finished; run the study.")
    return pd.DataFrame([_row(cell, read_json(out / RESULTS / f"{cell['digest']}.json")) for cell in cells])


def write_report(out: Path) -> list[Path]:
    """Write all tables and plots.

    Returns:
        The written files.

    Raises:
        UserError: as `results`.
    """
    plan, table = _plan(out), results(out)
    means = summary(table)
    differences = paired_differences(table, plan["references"])
    text = as_markdown(plan, table, means, differences)
    with atomic_write(out / TABLE) as temporary:
        temporary.write_text(text, encoding="utf-8")
    with atomic_write(out / PAGE) as temporary:
        temporary.write_text(markdown_page(text, plan["name"], charts(means, differences)), encoding="utf-8")
    for name, frame in (
        (MEANS, means),
        (DIFFERENCES, differences),
        (EVERY, table.drop(columns=["resampled"])),
    ):
        with atomic_write(out / name) as temporary:
            frame.to_csv(temporary, index=False)
    _plot_fractions(means, out / FRACTIONS_PLOT)
    _plot_speed(table, out / SPEED)
    return [out / name for name in (PLAN, TABLE, PAGE, MEANS, DIFFERENCES, EVERY, FRACTIONS_PLOT, SPEED)]


def as_markdown(plan: dict[str, Any], table: pd.DataFrame, means: pd.DataFrame, differences: pd.DataFrame) -> str:
    """The report as Markdown."""
    percents = list(dict.fromkeys(means["percent"]))
    lines = [f"# {plan['name']}", "", READING]
    rows = [["", *(f"{percent:g} %" for percent in percents)]]
    for name in dict.fromkeys(means["name"]):
        own = means[means["name"] == name].set_index("percent")
        rows.append([name, *(_mean(own.loc[percent]) if percent in own.index else "" for percent in percents)])
    lines += markdown_table(rows)
    for reference in dict.fromkeys(differences["reference"] if not differences.empty else []):
        lines += ["", f"## Difference to {reference}", ""]
        rows = [["arm", "labels", "difference", "seeds", "cells", "n", "shown"]]
        for row in differences[differences["reference"] == reference].to_dict("records"):
            rows.append(
                [
                    str(row["name"]),
                    f"{row['percent']:g} %",
                    f"{row['difference']:+.3f}",
                    _interval(row["low"], row["high"]),
                    _interval(row["cells_low"], row["cells_high"]),
                    str(row["seeds"]),
                    "yes" if row["shown"] else "no",
                ]
            )
        lines += markdown_table(rows)
    if len(plan["search"]) > 1:
        lines += ["", "## Chosen points of the search", ""]
        lines += [f"- {position}: {point or 'no change'}" for position, point in enumerate(plan["search"])]
        rows = [["arm", "labels", "points by seed"]]
        for name, percent in dict.fromkeys(zip(table["name"], table["percent"], strict=True)):
            own = table[(table["name"] == name) & (table["percent"] == percent) & (table["kind"] == "arm")]
            if not own.empty:
                rows.append([str(name), f"{percent:g} %", ", ".join(map(str, own["point"]))])
        lines += ["", *markdown_table(rows)]
    collapsed = table[table["predicted_classes"] < table["classes"]]
    if not collapsed.empty:
        lines += ["", "## Results that never predict some type", ""]
        lines += [
            f"- {row['name']} {row['percent']:g} % s{row['seed']}: {row['predicted_classes']} of {row['classes']}"
            for row in collapsed.to_dict("records")
        ]
    return "\n".join(lines) + "\n"


def charts(means: pd.DataFrame, differences: pd.DataFrame) -> list[tuple[str, Markup]]:
    """Captions and charts: macro-F1 of each arm by share of labels, and differences with intervals over cells."""
    found = []
    for share in dict.fromkeys(means["percent"]):
        rows = [
            (str(row["name"]), row["mean"], *_ends(row["mean"] - row["sd"], row["mean"] + row["sd"]))
            for row in means[means["percent"] == share].to_dict("records")
        ]
        found.append(
            (f"Macro-F1 with {share:g} % of the labels: mean ± standard deviation over seeds", intervals(rows))
        )
    if differences.empty:
        return found
    for (reference, percent), own in differences.groupby(["reference", "percent"], sort=False):
        rows = [
            (str(row["name"]), row["difference"], *_ends(row["cells_low"], row["cells_high"]))
            for row in own.to_dict("records")
        ]
        caption = f"Macro-F1 minus that of {reference} with {percent:g} % of the labels; 95 % intervals over test cells"
        found.append((caption, intervals(rows, zero=True)))
    return found


def _ends(low: float, high: float) -> tuple[float | None, float | None]:
    """The ends of an interval; none if they are not known."""
    return (None, None) if pd.isna(low) or pd.isna(high) else (low, high)


def _plan(out: Path) -> Any:
    if not (out / PLAN).is_file():
        raise UserError(
            f"{out}: no {PLAN} in this folder; run the study first: python -m pipelines.study FILE --out {out}."
        )
    return read_json(out / PLAN)


def _row(cell: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    metrics, seconds = result["figures"], result["seconds"]
    labels_N, predicted_N = parse_labels(result["labels"]), parse_labels(result["predicted"])
    # from the test cells, so that seeds with the same test cells have the same resamples
    seed = RESAMPLING_SEED + int(result["test_cells_sha256"][:8], 16)
    return {
        **{name: cell[name] for name in ("kind", "name", "percent", "seed", "point")},
        "macro_f1": metrics["macro_f1"],
        "accuracy": metrics["accuracy"],
        "predicted_classes": metrics["predicted_classes"],
        "classes": len(result["classes"]),
        "labelled_cells": metrics["labelled_cells"],
        "test_cells": metrics["cells"],
        "train_seconds": seconds["training"],
        "cells_per_second": metrics["cells"] / seconds["scoring"],
        "chosen": str(result.get("chosen", "")),
        "resampled": resampled_macro_f1(labels_N, predicted_N, len(result["classes"]), seed),
    }


def _mean(row: pd.Series) -> str:
    spread = "" if pd.isna(row["sd"]) else f" ± {row['sd']:.3f}"
    return f"{row['mean']:.3f}{spread} ({int(row['seeds'])})"


def _interval(low: float, high: float) -> str:
    return "" if pd.isna(low) else f"{low:+.3f} to {high:+.3f}"


def markdown_table(rows: list[list[str]]) -> list[str]:
    """A table in Markdown; the first row is the head."""
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    return [head, "|" + "---|" * len(rows[0]), *body]


def _plot_fractions(means: pd.DataFrame, target: Path) -> None:
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    colours = plt.get_cmap("tab10")
    for position, name in enumerate(dict.fromkeys(means["name"])):
        own, colour = means[means["name"] == name].sort_values("percent"), colours(position % 10)
        axes.plot(own["percent"], own["mean"], marker="o", markersize=4, color=colour, label=name)
        spread = own["sd"].fillna(0.0)
        axes.fill_between(own["percent"], own["mean"] - spread, own["mean"] + spread, color=colour, alpha=0.12)
    percents = sorted(set(means["percent"]))
    axes.set_xscale("log")
    axes.set_xticks(percents, [f"{percent:g}" for percent in percents])
    axes.minorticks_off()
    axes.set(
        xlabel="labelled training cells (%)",
        ylabel="macro-F1 on test cells",
        title="mean ± standard deviation of seeds",
    )
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    _save(figure, target)


def _plot_speed(table: pd.DataFrame, target: Path) -> None:
    """Macro-F1 over scoring speed; a line connects the percentages of an arm."""
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    means = table.groupby(["name", "percent"], sort=False)[["cells_per_second", "macro_f1"]].mean().reset_index()
    for name in dict.fromkeys(means["name"]):
        own = means[means["name"] == name].sort_values("percent")
        axes.plot(own["cells_per_second"], own["macro_f1"], marker="o", markersize=4, linewidth=0.8, label=name)
        for row in own.to_dict("records"):
            axes.annotate(f"{row['percent']:g} %", (row["cells_per_second"], row["macro_f1"]), fontsize=7)
    axes.set_xscale("log")
    axes.set(
        xlabel="test cells scored per second (one thread, indicative)",
        ylabel="macro-F1 on test cells",
    )
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    _save(figure, target)


def _save(figure: Figure, target: Path) -> None:
    with atomic_write(target) as temporary:
        figure.savefig(temporary, dpi=120, metadata={"Software": None})
    plt.close(figure)


def main(words: Sequence[str] | None = None) -> None:
    """Write the report of a study and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the folder of a study")
    options = parser.parse_args(words)
    write_report(options.out)
    print((options.out / TABLE).read_text(encoding="utf-8"))


if __name__ == "__main__":
    run_reporting(main)
