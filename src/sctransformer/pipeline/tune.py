"""Run a hyperparameter search and save the best trial: `python -m sctransformer.pipeline.tune SPACE FOLDER`.

`sctransformer tune` calls this and then trains the best parameters again.
"""

import argparse
import functools
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from sctransformer import layout
from sctransformer.errors import UserError, run_reporting
from sctransformer.files import write_json
from sctransformer.params import load_params
from sctransformer.tracking import runs
from sctransformer.training.ray_connection import on_cluster
from sctransformer.training.run_folder import RunFolder
from sctransformer.tuning.search import SearchPlan, Trial, search
from sctransformer.tuning.search_runs import SearchRuns
from sctransformer.tuning.space import SearchSpace, current_values, load_space
from sctransformer.tuning.trial import run_trial

PIPED_WIDTH = 240
"""Width of the table when the output is not a terminal: one line per trial."""
BEST = "best.json"
"""File in the folder of the search: score and values of the best trial."""


def main(space_file: Path, folder: Path, trials: int | None, minutes: float | None) -> None:
    """Run the search, print its trials and save the best one.

    Raises:
        UserError: the search space is not valid, or no trial finished.
    """
    params = load_params()
    given = {name: value for name, value in (("trials", trials), ("minutes", minutes)) if value is not None}
    space = load_space(space_file, params).model_copy(update=given)
    run_stages_before_training()
    files = {"cells": layout.PREPARED_CELLS, "panel": layout.PANEL, "network": params.prior.network}
    files = {name: path.resolve() for name, path in files.items()}
    search_runs = SearchRuns(folder.name, str(folder.resolve()), space, params)
    shared_folder = RunFolder(params.train.storage, f"search-{search_runs.parent}") if on_cluster() else None
    train = functools.partial(run_trial, params=params, files=files, shared_folder=shared_folder)
    status: runs.Status = "FAILED"
    best: float | None = None
    try:
        if shared_folder is not None:
            shared_folder.upload_inputs(files)
        plan = SearchPlan(space, current_values(space, params), params.train.epochs, params.seed)
        found = search(train, plan, folder.resolve(), search_runs)
        status, best = "FINISHED", max((trial.score for trial in found if trial.score is not None), default=None)
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        search_runs.close(status, best)
        if shared_folder is not None:
            shared_folder.remove()
    print_trials(found, space)
    chosen = [trial for trial in found if trial.score is not None and trial.score == best]
    if not chosen:
        raise UserError(f"no trial finished; see the logs in {folder}, and give the search more --minutes.")
    write_json(folder / BEST, {"score": best, "values": chosen[0].values, "run_id": search_runs.parent})


def run_stages_before_training() -> None:
    """Bring cells, panel and prior up to date.

    Raises:
        UserError: a stage failed; it has printed why.
    """
    done = subprocess.run([sys.executable, "-m", "dvc", "repro", "--quiet", "prior"], check=False)
    if done.returncode:
        raise UserError("a stage before training failed; see its message above.")


def print_trials(found: list[Trial], space: SearchSpace) -> None:
    """Print the trials as a table, the best one first."""
    table = Table("validation macro-F1", *(name.partition(".")[2] for name in space.parameters), box=None)
    for trial in sorted(found, key=lambda trial: -(trial.score if trial.score is not None else -1.0)):
        values = [f"{value:.3g}" if isinstance(value, float) else str(value) for value in trial.values.values()]
        table.add_row("failed" if trial.score is None else f"{trial.score:.3f}", *values)
    Console(highlight=False, width=None if sys.stdout.isatty() else PIPED_WIDTH).print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("space", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trials", type=int)
    parser.add_argument("--minutes", type=float)
    arguments = parser.parse_args()
    run_reporting(main, arguments.space, arguments.folder, arguments.trials, arguments.minutes)
