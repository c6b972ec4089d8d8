"""The tables and pictures of a study, from the results that are there.

python -m pipelines.study.report outputs/study/kang
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd

from pipelines.study.config import StudyConfig
from pipelines.study.grid import RESULTS, Task
from pipelines.study.protocol import paired_differences, summary
from pipelines.study.work import from_numbers
from sctransformer.errors import UserError, run_reporting
from sctransformer.evaluation.metrics import resampled_macro_f1
from sctransformer.files import atomic_write, read_json, write_json

matplotlib.use("Agg")  # no screen is needed
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

PLAN, TABLE, MEANS, DIFFERENCES, EVERY, PICTURE, SPEED = (
    "plan.json", "table.md", "means.csv", "differences.csv", "results.csv", "macro_f1.png", "speed.png",
)  # fmt: skip
RESAMPLING_SEED = 0

READING = """\
Macro-F1 on test cells: mean and standard deviation over seeds.

A difference is of an arm to a reference on the same test cells, with the same labelled cells and seed, mean over seeds.
`seeds` is the 95 % t interval over seeds: other labelled cells, other first weights. `cells` is the 95 % interval when
test cells are drawn again within their types: other test cells, these models. `shown` is a difference that both
intervals hold clear of zero; with few seeds the first is wide. Intervals are not corrected for the number of rows.
"""


def write_plan(study: StudyConfig, finished: Sequence[Task], out: Path) -> None:
    """Write down which results are the study's, under which names: a folder may hold those of former settings too."""
    fields = ("kind", "name", "percent", "seed", "point", "digest")
    cells = [{field: getattr(task, field) for field in fields} for task in finished]
    order = {name: position for position, name in enumerate((*study.arms, *study.baselines))}
    cells.sort(key=lambda cell: (cell["percent"], order[str(cell["name"])], cell["seed"]))
    search = [dict(point) for point in study.search]
    write_json(out / PLAN, {"name": study.name, "references": list(study.references), "search": search, "cells": cells})


def results(out: Path) -> pd.DataFrame:
    """One row a finished cell of the grid, with the columns that `pipelines.study.protocol` wants.

    Raises:
        UserError: there is no study in the folder, or no result.
    """
    cells = _plan(out)["cells"]
    if not cells:
        raise UserError(f"{out}: no cell of the grid is done; run the study.")
    return pd.DataFrame([_row(cell, read_json(out / RESULTS / f"{cell['digest']}.json")) for cell in cells])


def write_report(out: Path) -> list[Path]:
    """Write all tables and pictures.

    Returns:
        The files.

    Raises:
        UserError: as `results`.
    """
    plan, table = _plan(out), results(out)
    means = summary(table)
    differences = paired_differences(table, plan["references"])
    with atomic_write(out / TABLE) as temporary:
        temporary.write_text(as_markdown(plan, table, means, differences), encoding="utf-8")
    for name, frame in (
        (MEANS, means),
        (DIFFERENCES, differences),
        (EVERY, table.drop(columns=["resampled"])),
    ):
        with atomic_write(out / name) as temporary:
            frame.to_csv(temporary, index=False)
    _picture_over_fractions(means, out / PICTURE)
    _picture_over_speed(table, out / SPEED)
    return [out / name for name in (PLAN, TABLE, MEANS, DIFFERENCES, EVERY, PICTURE, SPEED)]


def as_markdown(plan: dict[str, Any], table: pd.DataFrame, means: pd.DataFrame, differences: pd.DataFrame) -> str:
    """The study on one page."""
    percents = list(dict.fromkeys(means["percent"]))
    lines = [f"# {plan['name']}", "", READING]
    rows = [["", *(f"{percent:g} %" for percent in percents)]]
    for name in dict.fromkeys(means["name"]):
        own = means[means["name"] == name].set_index("percent")
        rows.append([name, *(_mean(own.loc[percent]) if percent in own.index else "" for percent in percents)])
    lines += _grid_of(rows)
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
        lines += _grid_of(rows)
    if len(plan["search"]) > 1:
        lines += ["", "## Points that the search chose", ""]
        lines += [f"- {position}: {point or 'nothing changed'}" for position, point in enumerate(plan["search"])]
        rows = [["arm", "labels", "points by seed"]]
        for name, percent in dict.fromkeys(zip(table["name"], table["percent"], strict=True)):
            own = table[(table["name"] == name) & (table["percent"] == percent) & (table["kind"] == "arm")]
            if not own.empty:
                rows.append([str(name), f"{percent:g} %", ", ".join(map(str, own["point"]))])
        lines += ["", *_grid_of(rows)]
    collapsed = table[table["predicted_classes"] < table["classes"]]
    if not collapsed.empty:
        lines += ["", "## Cells of the grid that never predict some type", ""]
        lines += [
            f"- {row['name']} {row['percent']:g} % s{row['seed']}: {row['predicted_classes']} of {row['classes']}"
            for row in collapsed.to_dict("records")
        ]
    return "\n".join(lines) + "\n"


def _plan(out: Path) -> Any:
    if not (out / PLAN).is_file():
        raise UserError(f"{out}: has no {PLAN}; run the study first: python -m pipelines.study FILE --out {out}.")
    return read_json(out / PLAN)


def _row(cell: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    figures, seconds = result["figures"], result["seconds"]
    labels_N, predicted_N = from_numbers(result["labels"]), from_numbers(result["predicted"])
    # by the test cells, so that seeds with the same ones are resampled together and others are not
    seed = RESAMPLING_SEED + int(result["test_cells_sha256"][:8], 16)
    return {
        **{name: cell[name] for name in ("kind", "name", "percent", "seed", "point")},
        "macro_f1": figures["macro_f1"],
        "accuracy": figures["accuracy"],
        "predicted_classes": figures["predicted_classes"],
        "classes": len(result["classes"]),
        "labelled_cells": figures["labelled_cells"],
        "test_cells": figures["cells"],
        "train_seconds": seconds["training"],
        "cells_per_second": figures["cells"] / seconds["scoring"],
        "chosen": str(result.get("chosen", "")),
        "resampled": resampled_macro_f1(labels_N, predicted_N, len(result["classes"]), seed),
    }


def _mean(row: pd.Series) -> str:
    spread = "" if pd.isna(row["sd"]) else f" ± {row['sd']:.3f}"
    return f"{row['mean']:.3f}{spread} ({int(row['seeds'])})"


def _interval(low: float, high: float) -> str:
    return "" if pd.isna(low) else f"{low:+.3f} to {high:+.3f}"


def _grid_of(rows: list[list[str]]) -> list[str]:
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    return [head, "|" + "---|" * len(rows[0]), *body]


def _picture_over_fractions(means: pd.DataFrame, target: Path) -> None:
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


def _picture_over_speed(table: pd.DataFrame, target: Path) -> None:
    """Each arm at each percentage; a line joins the percentages of an arm."""
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    means = table.groupby(["name", "percent"], sort=False)[["cells_per_second", "macro_f1"]].mean().reset_index()
    for name in dict.fromkeys(means["name"]):
        own = means[means["name"] == name].sort_values("percent")
        axes.plot(own["cells_per_second"], own["macro_f1"], marker="o", markersize=4, linewidth=0.8, label=name)
        for row in own.to_dict("records"):
            axes.annotate(f"{row['percent']:g} %", (row["cells_per_second"], row["macro_f1"]), fontsize=7)
    axes.set_xscale("log")
    axes.set(
        xlabel="test cells scored a second (one thread, other arms beside it: indicative)",
        ylabel="macro-F1 on test cells",
    )
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    _save(figure, target)


def _save(figure: Figure, target: Path) -> None:
    with atomic_write(target) as temporary:
        figure.savefig(temporary, dpi=120, metadata={"Software": None})
    plt.close(figure)


def main(words: Sequence[str] | None = None) -> None:
    """Write the report of a study's folder and print its page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the folder of a study")
    options = parser.parse_args(words)
    write_report(options.out)
    print((options.out / TABLE).read_text(encoding="utf-8"))


if __name__ == "__main__":
    run_reporting(main)
