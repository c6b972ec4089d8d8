"""What the network contributes: the activities of a trained model against its controls and against biology.

    python -m pipelines.study.network pipelines/study/network.yaml --out outputs/network
    python -m pipelines.study.network pipelines/study/network.yaml --only mudan real shuffled -S train.pretrain_lr=0.01

Each model is trained on cells without labels, and measured: R2 of hidden genes of held-out cells, AUROC of expected
regulators between two groups of cells, rank of known regulators of populations, edges confirmed by knock-outs, edges
that were left out. Results are in OUT: results.csv (one row per value), summary.json, table.md and, with
charts, report.html. Finished results are
read again, so the command can be interrupted and resumed.
"""

import argparse
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from markupsafe import Markup
from pydantic import ValidationError

from pipelines.study.config import with_variables
from pipelines.study.network_config import NetworkStudy
from pipelines.study.network_task import Run, measure
from pipelines.study.protocol import t_interval
from pipelines.study.report import markdown_table
from sctransformer.charts import intervals, markdown_page
from sctransformer.errors import UserError, run_reporting
from sctransformer.evaluation.bootstrap import percentile_interval
from sctransformer.evaluation.recovery import resampled_r2, top_overlap
from sctransformer.files import atomic_write, read_json, sha256_json, write_json
from sctransformer.params import parse_overrides
from sctransformer.typed_yaml import first_problem, read_yaml

RESULTS, TABLE, PAGE, VALUES, SUMMARY = "results", "table.md", "report.html", "results.csv", "summary.json"
AUROCS = ("auroc", "lineage mean", "held-out edges", "bound genes")
"""First words of the metrics whose means over seeds are drawn."""
KEY = ["cells", "arm", "factors"]


def load_network_study(path: Path) -> NetworkStudy:
    """Read and check the YAML file; `${oc.env:NAME}` is replaced by the environment variable NAME.

    Raises:
        UserError: the file cannot be read, a variable is not set, or a field is unknown or out of range.
    """
    content = with_variables(read_yaml(path, "name the YAML file of a study") or {}, path)
    try:
        return NetworkStudy.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: {first_problem(error, NetworkStudy)}.") from error


def runs_of(study: NetworkStudy) -> list[Run]:
    """All runs, seed by seed, so that an interrupted study has complete comparisons."""
    found = []
    for cells in study.cells:
        for seed in study.seeds:
            for factors in study.factors:
                for arm in study.arms:
                    first = factors == study.factors[0]
                    if (arm in ("untrained", "held_out") and not first) or (arm == "factors" and factors == 0):
                        continue
                    for shuffle in range(study.shuffles if arm == "shuffled" else 1):
                        found.append(Run(cells, arm, factors, seed, shuffle))
    return found


def finished(study: NetworkStudy, runs: Sequence[Run], out: Path) -> list[tuple[Run, dict[str, Any]]]:
    """Compute the missing results and return all."""
    done = []
    for number, run in enumerate(runs):
        file = out / RESULTS / f"{_digest(study, run)}.json"
        if not file.is_file():
            write_json(file, measure(study, run))
            print(f"{number + 1}/{len(runs)} {' '.join(map(str, run))}", flush=True)
        done.append((run, read_json(file)))
    return done


def values_table(results: Sequence[tuple[Run, dict[str, Any]]]) -> pd.DataFrame:
    """One row per run and metric."""
    rows = [
        {**run._asdict(), "metric": metric, "value": float(value)}
        for run, result in results
        for metric, value in result["metrics"].items()
    ]
    return pd.DataFrame(rows)


def summary_table(values: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds and shuffles, standard deviation, and t interval over seeds."""
    by_seed = values.groupby([*KEY, "metric", "seed"], sort=False)["value"].mean()
    rows = []
    for key, own in by_seed.groupby([*KEY, "metric"], sort=False):
        low, high = t_interval(own.to_numpy())
        rows.append(dict(zip([*KEY, "metric"], key, strict=True)) | _interval(float(own.mean()), low, high, len(own)))
    return pd.DataFrame(rows)


def r2_differences(results: Sequence[tuple[Run, dict[str, Any]]]) -> pd.DataFrame:
    """R2 of the real network minus that of a control, paired by seed, with intervals over seeds and over cells."""
    rows = []
    by_run = {run: result for run, result in results if "error_N" in result}
    for cells, factors in dict.fromkeys((run.cells, run.factors) for run in by_run):
        for control in ("shuffled", "factors"):
            differences, resampled = [], []
            for run, result in by_run.items():
                others = [
                    other
                    for one, other in by_run.items()
                    if (one.cells, one.arm, one.factors, one.seed) == (cells, control, factors, run.seed)
                ]
                if (run.cells, run.arm, run.factors) == (cells, "real", factors) and others:
                    differences.append(result["metrics"]["r2"] - np.mean([other["metrics"]["r2"] for other in others]))
                    resampled.append(_resampled(result) - np.mean([_resampled(other) for other in others], axis=0))
            if differences:
                low, high = t_interval(np.array(differences))
                cells_low, cells_high = percentile_interval(np.mean(resampled, axis=0))
                row = {"cells": cells, "factors": factors, "control": control}
                row |= _interval(float(np.mean(differences)), low, high, len(differences))
                rows.append(row | {"cells_low": cells_low, "cells_high": cells_high})
    return pd.DataFrame(rows)


def knock_out_intervals(results: Sequence[tuple[Run, dict[str, Any]]]) -> list[dict[str, Any]]:
    """AUROC of the edges confirmed by knock-outs, per arm and measure, with the interval over resampled regulators."""
    rows = []
    keys = dict.fromkeys((run[:3], name) for run, result in results for name in result["resampled"])
    for key, name in keys:
        own = [result for run, result in results if run[:3] == key and name in result["resampled"]]
        shortest = min(len(result["resampled"][name]) for result in own)
        values_T = np.mean([result["resampled"][name][:shortest] for result in own], axis=0)
        mean = float(np.mean([result["metrics"][name] for result in own]))
        low, high = percentile_interval(values_T)
        rows.append(dict(zip(KEY, key, strict=True)) | {"metric": name} | _interval(mean, low, high, len(own)))
    return rows


def stability(results: Sequence[tuple[Run, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Overlap (Jaccard index) of the 20 highest regulators of each group between seeds, mean over pairs and groups."""
    rows = []
    for key in dict.fromkeys(run[:3] for run, result in results if result["top"]):
        own = [result for run, result in results if run[:3] == key and run.shuffle == 0]
        overlaps: dict[str, list[float]] = {}
        for one, other in combinations(own, 2):
            shared = sorted(set(one["regulators"]) & set(other["regulators"]))
            for name in one["top"]:
                ranked = [pd.Series(result["top"][name], result["regulators"])[shared] for result in (one, other)]
                kind = name.split()[-1]
                overlaps.setdefault(kind, []).append(top_overlap(ranked[0].to_numpy(), ranked[1].to_numpy()))
        for kind, values in overlaps.items():
            rows.append(dict(zip(KEY, key, strict=True)) | {"metric": f"top 20 {kind}", "mean": float(np.mean(values))})
    return rows


def write_results(results: Sequence[tuple[Run, dict[str, Any]]], out: Path) -> str:
    """Write all tables; returns the Markdown."""
    values = values_table(results)
    means, differences = summary_table(values), r2_differences(results)
    parts = {
        "means": _records(means),
        "r2_differences": _records(differences),
        "knock_outs": knock_out_intervals(results),
        "stability": stability(results),
    }
    write_json(out / SUMMARY, parts)
    with atomic_write(out / VALUES) as temporary:
        values.to_csv(temporary, index=False)
    lines = []
    for cells in dict.fromkeys(means["cells"]):
        own = means[means["cells"] == cells]
        columns = list(dict.fromkeys(zip(own["arm"], own["factors"], strict=True)))
        rows = [[str(cells), *(f"{arm}, {factors} factors" for arm, factors in columns)]]
        for metric in dict.fromkeys(own["metric"]):
            found = own[own["metric"] == metric].set_index(["arm", "factors"])
            rows.append([metric, *(_cell(found, column) for column in columns)])
        lines += ["", *markdown_table(rows)]
    for title, part in list(parts.items())[1:]:
        if part:
            frame = pd.DataFrame(part)
            rows = [[title, *frame.columns[1:]], *(_texts(row) for row in frame.itertuples(index=False))]
            lines += ["", *markdown_table(rows)]
    text = "\n".join(lines).strip() + "\n"
    with atomic_write(out / TABLE) as temporary:
        temporary.write_text(text, encoding="utf-8")
    page = markdown_page(f"# What the network contributes\n\n{text}", "What the network contributes", charts(parts))
    with atomic_write(out / PAGE) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return text


def charts(parts: Mapping[str, Sequence[dict[str, Any]]]) -> list[tuple[str, Markup]]:
    """Captions and charts: differences of R2, and each AUROC by arm.

    Args:
        parts: contents of summary.json.
    """
    found = []
    if parts["r2_differences"]:
        rows = [
            (
                f"{row['cells']}, {row['factors']} factors, minus {row['control']}",
                row["mean"],
                row["cells_low"],
                row["cells_high"],
            )
            for row in parts["r2_differences"]
        ]
        found.append(
            ("R2 of hidden genes, real network minus control; 95 % intervals over cells", intervals(rows, zero=True))
        )
    for caption, group in (("over seeds", parts["means"]), ("over regulators", parts["knock_outs"])):
        by_metric: dict[tuple[str, str], list[tuple[str, float, float | None, float | None]]] = {}
        for row in group:
            name = str(row["metric"])
            if name.startswith(AUROCS) == (caption == "over seeds"):
                rows = by_metric.setdefault((row["cells"], name), [])
                rows.append((f"{row['arm']}, {row['factors']} factors", row["mean"], row["low"], row["high"]))
        for (cells, name), rows in by_metric.items():
            found.append((f"{cells}: {name} (AUROC); 95 % intervals {caption}", intervals(rows)))
    return found


def main(words: Sequence[str] | None = None) -> None:
    """Run what is missing, write the tables and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="the YAML file of the study")
    parser.add_argument("--out", type=Path, default=Path("outputs/network"), help="folder of the results")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="names of cells and arms; others are left out")
    parser.add_argument("-S", "--set", action="append", default=[], metavar="section.name=value")
    parser.add_argument("--seeds", type=int, nargs="+", help="in place of the seeds of the file")
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    study = load_network_study(options.file)
    changes: dict[str, Any] = {"parameters": {**study.parameters, **parse_overrides(options.set)}}
    if options.seeds:
        changes["seeds"] = tuple(options.seeds)
    if options.only:
        if unknown := set(options.only) - {*study.cells, *study.arms}:
            raise UserError(f"--only {min(unknown)}: neither cells nor arm of {options.file}.")
        changes["cells"] = {name: one for name, one in study.cells.items() if name in options.only} or study.cells
        changes["arms"] = tuple(arm for arm in study.arms if arm in options.only) or study.arms
    study = study.replace(**changes)
    print(write_results(finished(study, runs_of(study), options.out), options.out))


def _digest(study: NetworkStudy, run: Run) -> str:
    content = study.model_dump(mode="json", include={"network", "knock_out", "binding", "parameters"})
    content |= {"validation_cells": study.validation_cells, "run": list(run)}
    return sha256_json(content | {"cells": study.cells[run.cells].model_dump(mode="json")})[:16]


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows for JSON; NaN (an interval over one seed) becomes null."""
    return [
        {str(name): None if pd.isna(value) else value for name, value in row.items()}
        for row in frame.to_dict("records")
    ]


def _resampled(result: dict[str, Any]) -> Any:
    return resampled_r2(np.array(result["error_N"]), np.array(result["variance_N"]), 0)


def _interval(mean: float, low: float, high: float, number: int) -> dict[str, Any]:
    return {"mean": mean, "low": low, "high": high, "seeds": number}


def _cell(found: pd.DataFrame, column: tuple[str, int]) -> str:
    if column not in found.index:
        return ""
    row: Any = found.loc[column]
    value = f"{row['mean']:.4f}" if abs(row["mean"]) < 10 else f"{row['mean']:.0f}"
    return value if pd.isna(row["low"]) else f"{value} ± {(row['high'] - row['low']) / 2:.4f}"


def _texts(row: Any) -> list[str]:
    return [f"{value:.4f}" if isinstance(value, float) else str(value) for value in row]


if __name__ == "__main__":
    run_reporting(main)
