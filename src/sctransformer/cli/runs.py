"""`sctransformer runs`: list and compare training runs."""

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from sctransformer.tracking.queries import FoundRun

PIPED_WIDTH = 240
"""Width of tables for other programs: one line per run."""
METRICS = ("best_val_macro_f1", "test_macro_f1")
"""Metrics shown by default."""


def runs(
    wanted: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN]...", help="IDs, starts of IDs, or names; two or more are compared."),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", "-m", metavar="NAME", help="Show this metric, and sort by the first; repeatable."),
    ] = None,
    experiment: Annotated[
        str,
        typer.Option("--experiment", "-e", metavar="NAME", help="The MLflow experiment: training, tuning or study."),
    ] = "training",
    limit: Annotated[
        int, typer.Option("--limit", "-n", metavar="N", min=1, help="Largest number of runs in the list.")
    ] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per run, with everything.")] = False,
) -> None:
    """List training runs, or compare some: metrics, parameters that differ, cells, network.

    Runs whose process has ended are marked as killed, and metrics that could not be sent to MLflow are sent. `runs`
    lists runs, `runs 1f3a` shows one run, `runs 1f3a 77c0` compares, `runs -m val_loss` sorts by a metric.
    """
    from rich.console import Console

    from sctransformer.tracking import outbox, queries

    for run_id, number in outbox.send_all().items():
        typer.echo(f"Warning: {number} calls of run {run_id[:8]} could not be sent yet.", err=True)
    existing = queries.list_runs(experiment)
    chosen = [queries.find_run(name, existing) for name in wanted] if wanted else existing
    metrics = list(metric or METRICS)
    if metric and not wanted:  # largest first, runs without the metric last
        chosen = sorted(chosen, key=lambda run: -run.metrics.get(metrics[0], float("-inf")))
    if not wanted:
        chosen = chosen[:limit]
    if as_json:
        for run in chosen:
            typer.echo(json.dumps(run.__dict__))
        return
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPED_WIDTH)
    if not chosen:
        console.print(f"There are no runs in the experiment {experiment!r}.")
    elif wanted:
        _compare(console, chosen, list(metric or []))
    else:
        _list(console, chosen, metrics)


def _list(console: "Console", found: Sequence["FoundRun"], metrics: Sequence[str]) -> None:
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for column in ("run", "name", "status", "started", "time", *metrics, "cells", "network", "mode"):
        table.add_column(column, justify="right" if column in metrics or column == "time" else "left")
    for run in found:
        values = [_number(run.metrics.get(name)) for name in metrics]
        table.add_row(
            run.run_id[:8],
            run.name,
            run.status.lower(),
            datetime.fromtimestamp(run.started / 1000).strftime("%Y-%m-%d %H:%M"),
            _duration(run.seconds),
            *values,
            run.inputs.get("training", ""),
            run.inputs.get("prior", ""),
            run.params.get("model.mode", ""),
        )
    console.print(table)


def _compare(console: "Console", chosen: Sequence["FoundRun"], metrics: Sequence[str]) -> None:
    from rich.table import Table

    from sctransformer.tracking.queries import differing_params

    table = Table(box=None, header_style="bold")
    table.add_column("")
    for run in chosen:
        table.add_column(run.run_id[:8])
    table.add_row("name", *(run.name for run in chosen))
    table.add_row("status", *(run.status.lower() for run in chosen))
    table.add_row("time", *(_duration(run.seconds) for run in chosen))
    for context, title in (("training", "cells"), ("prior", "network")):
        table.add_row(title, *(run.inputs.get(context, "") for run in chosen))
    table.add_row("git commit", *(run.tags.get("mlflow.source.git.commit", "")[:8] for run in chosen))
    table.add_section()
    names = metrics or sorted({name for run in chosen for name in run.metrics if not name.startswith("system/")})
    for name in names:
        table.add_row(name, *(_number(run.metrics.get(name)) for run in chosen))
    table.add_section()
    params = (
        differing_params(chosen) if len(chosen) > 1 else {name: [value] for name, value in chosen[0].params.items()}
    )
    for name, values in params.items():
        table.add_row(name, *("" if value is None else value for value in values))
    console.print(table)
    if len(chosen) > 1 and not params:
        console.print("No parameter differs.")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
