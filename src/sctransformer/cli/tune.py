"""`sctransformer tune`: search for parameters, train the best ones again and register the model as candidate."""

import os
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from sctransformer.layout import SEARCHES
from sctransformer.processes import run_interruptible

TARGET = "register"
"""Stage up to which the best parameters are run: a registered version with the alias candidate."""


def tune(
    space: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help="YAML file of parameters and their values; by default the search space of this package.",
        ),
    ] = None,
    trials: Annotated[
        int | None, typer.Option("--trials", metavar="N", min=1, help="Maximum number of trials; overrides the file.")
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option("--minutes", metavar="MINUTES", min=0.1, help="Time limit of the search; overrides the file."),
    ] = None,
    name: Annotated[
        str, typer.Option("--name", "-n", metavar="TEXT", help="Name of the search, unique unless resumed.")
    ] = "search",
    resume: Annotated[bool, typer.Option("--resume", help="Resume the search with this name.")] = False,
    refit: Annotated[
        bool, typer.Option("--refit/--no-refit", help="Train the best parameters again and register the model.")
    ] = True,
) -> None:
    """Search for parameters with Ray Tune, then train the best ones again and register the model as candidate.

    Trials run in parallel, one CPU each; ASHA stops the worse ones early. The first trial uses params.yaml as it is, so
    the best trial is at least as good on validation cells. Trials are child runs in the MLflow experiment `tuning`:
    `sctransformer runs -e tuning`. `--resume` continues an interrupted search.

    For example: `sctransformer tune --minutes 30`, `sctransformer tune myspace.yaml --name wide --trials 50`.
    """
    from sctransformer.errors import UserError
    from sctransformer.files import read_json
    from sctransformer.params import load_params
    from sctransformer.pipeline.experiment import require_project, run_stages
    from sctransformer.training.resume import NAME_VARIABLE
    from sctransformer.tuning.space import DEFAULT_SPACE, load_space

    require_project()
    space = space or DEFAULT_SPACE
    load_space(space, load_params())
    folder = SEARCHES / re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-")
    if folder.exists() and not resume:
        raise UserError(f"{folder}: a search with this name exists; add --resume, or choose another --name.")
    if resume and not folder.exists():
        raise UserError(f"{folder}: no search with this name exists; see {SEARCHES}.")
    command = [sys.executable, "-m", "sctransformer.pipeline.tune", str(space), str(folder)]
    command += [f"--trials={trials}"] if trials is not None else []
    command += [f"--minutes={minutes}"] if minutes is not None else []
    if run_interruptible(command, os.environ):
        raise UserError(f"the search failed; `sctransformer tune --name {name!r} --resume` resumes it.")
    best = read_json(folder / "best.json")
    typer.echo(f"best trial: validation macro-F1 {best['score']:.3f}")
    if refit:
        run_stages(best["values"], TARGET, {NAME_VARIABLE: f"{name} best"})
        typer.echo("registered as candidate; `sctransformer promote` decides whether it becomes champion.")
