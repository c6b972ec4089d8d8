"""`sctransformer tune`: a search for parameters, whose best trial is refitted and becomes a candidate."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from sctransformer.layout import SEARCH_SPACE, SEARCHES
from sctransformer.processes import run_interruptible

TARGET = "register"
"""The stage the refit ends with: a version in the registry, with the alias candidate."""


def tune(
    space: Annotated[
        Path, typer.Argument(help="YAML: parameters, and the values each may take; see pipelines/tuning/space.yaml.")
    ] = SEARCH_SPACE,
    trials: Annotated[int | None, typer.Option("--trials", min=1, help="Most trials; overrides the file.")] = None,
    minutes: Annotated[
        float | None, typer.Option("--minutes", min=0.1, help="Budget of the search; overrides the file.")
    ] = None,
    name: Annotated[str, typer.Option("--name", "-n", help="Of the search; a new one needs a new name.")] = "search",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the search of that name.")] = False,
    refit: Annotated[
        bool, typer.Option("--refit/--no-refit", help="Train the best again through all stages and register it.")
    ] = True,
) -> None:
    """Search for parameters with Ray Tune, then refit the best and offer it as candidate.

    Trials run beside one another, one CPU each; those that do worse are stopped early (ASHA). The first has the
    parameters of params.yaml, so the best is no worse than what there is, on validation cells. Trials are child runs in
    the MLflow experiment `tuning`: `sctransformer runs -e tuning`. A search that was interrupted goes on with --resume.

    For example: `sctransformer tune --minutes 30`, `sctransformer tune myspace.yaml --name wide --trials 50`.
    """
    from sctransformer.errors import UserError
    from sctransformer.files import read_json
    from sctransformer.params import load_params
    from sctransformer.pipeline.experiment import experiment_name, require_project, run_stages
    from sctransformer.pipeline.overrides import override
    from sctransformer.training.resume import NAME_VARIABLE
    from sctransformer.tuning.space import load_space

    require_project()
    load_space(space, load_params())
    folder = SEARCHES / experiment_name(name, unique=False)
    if folder.exists() and not resume:
        raise UserError(f"{folder}: there is a search of that name; go on with --resume, or give another --name.")
    if resume and not folder.exists():
        raise UserError(f"{folder}: there is no search of that name to resume; see {SEARCHES}.")
    command = [sys.executable, "-m", "sctransformer.pipeline.tune", str(space), str(folder)]
    command += [f"--trials={trials}"] if trials is not None else []
    command += [f"--minutes={minutes}"] if minutes is not None else []
    if run_interruptible(command, os.environ):
        raise UserError(f"the search did not end well; `sctransformer tune --name {name!r} --resume` goes on with it.")
    best = read_json(folder / "best.json")
    typer.echo(f"best trial: validation macro-F1 {best['score']:.3f}")
    if refit:
        overrides = [override(key, value) for key, value in best["values"].items()]
        run_stages(overrides, TARGET, f"{name} best", {NAME_VARIABLE: f"{name} best"})
        typer.echo("registered as candidate; `sctransformer promote` decides whether it becomes champion.")
