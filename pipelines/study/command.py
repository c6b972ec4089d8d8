"""Run a study: arms x label fractions x seeds, beside baselines on the same cells. The same command goes on.

    python -m pipelines.study pipelines/study/kang.yaml
    python -m pipelines.study pipelines/study/kang.yaml --only mask dense 10% s0 --processes 2

A finished cell of the grid is a file in OUT/cells, named by a digest of everything that decides it: it is never run
again, and changed settings are. Stop it with Ctrl-C or kill it at any time.

The protocol is the same for every arm:

1. Test cells are put aside. Their labels are compared with what was said of them at the very end, and nothing else.
2. If `search` has more than one point, each is tried for each arm: labelled training cells are cut into training and
   validation cells (stratified, `search_repeats` times, the same cuts for all), and the point with the best mean
   validation macro-F1 wins. All seeds of a percentage choose together where no labelled cell of one is a test cell of
   another, else each for itself: with two labelled cells of a type one cut says little.
3. If `train.pretrain_epochs` asks for it, the model first learns masked expression on all cells that are no test cells,
   without labels: once a seed, for all percentages.
4. The model is trained on all labelled cells with the parameters of that point up to the last epoch. No cell is kept
   back to choose an epoch; baselines train on all labelled cells too.
5. Logistic regression chooses its penalty, and whether to standardise and to weight classes, by cross-validation on the
   labelled cells; CellTypist has its defaults. Both see all genes of the file, models see the panel.

Arms run side by side in processes of one thread: times are recorded, and are indicative only.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pipelines.study import report, work
from pipelines.study.cells import CELLS, Sources, prepare, sides
from pipelines.study.config import StudyConfig, load_study
from pipelines.study.grid import RESULTS, Filter, Grid, Task
from pipelines.study.pool import alone_in, parallel_map
from pipelines.study.protocol import seeds_searched_together
from pipelines.study.record import Record
from sctransformer.data.cells import CellFile
from sctransformer.data.splits import TEST, TRAIN
from sctransformer.errors import UserError, one_line
from sctransformer.files import read_json, write_json

PREPARED = "prepared"
"""Folder of the prepared cells."""


def make_grid(study: StudyConfig, words: Sequence[str], out: Path) -> Grid:
    """Prepare the cells and lay out the grid.

    Raises:
        UserError: files, splits or words do not fit.
    """
    chosen = Filter.of(words, study)
    seeds = sorted({seed for percent in study.percents for seed in study.seeds_of(percent)})
    sources = prepare(study, seeds, out / PREPARED)
    with CellFile(sources.cells / CELLS) as file:
        obs = file.obs
    together = {}
    for percent in study.percents:
        by_seed = {seed: sides(study, obs, percent, seed) for seed in study.seeds_of(percent)}
        labelled, tested = (
            {seed: frozenset(obs.index[split == side]) for seed, split in by_seed.items()} for side in (TRAIN, TEST)
        )
        together[percent] = seeds_searched_together(labelled, tested)
    return Grid(study, sources, together, chosen)


def do(task: Task, study: StudyConfig, sources: Sources, out: Path) -> None:
    """In a worker: do a task and write its result."""
    write_json(task.result(out), work.result_of(task, study, sources, out))


def undone(tasks: Iterable[Task], out: Path) -> list[Task]:
    """Tasks without a result, each digest once."""
    by_digest = {task.digest: task for task in tasks if not task.result(out).is_file()}
    return list(by_digest.values())


def run_tasks(
    title: str, tasks: Sequence[Task], grid: Grid, out: Path, processes: int, on_done: Callable[[Task], None]
) -> list[str]:
    """Do tasks in worker processes, showing what is done and the time left; a sentence for each that failed."""
    failed = []
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task(title, total=len(tasks))
        job = partial(do, study=grid.study, sources=grid.sources, out=out)
        for number, (task, error) in enumerate(parallel_map(job, tasks, processes), start=1):
            if error is None:
                on_done(task)
            else:
                failed.append(f"{task.label}: {type(error).__name__}: {one_line(error)}")
            progress.update(bar, advance=1)
            if not console.is_terminal:
                state = "done" if error is None else "failed"
                print(f"{title} {number}/{len(tasks)}: {task.label} {state}", file=sys.stderr, flush=True)
    return failed


def run_study(study: StudyConfig, out: Path, words: Sequence[str], processes: int) -> None:
    """Run what is missing of a study, and report.

    Raises:
        UserError: the study does not fit its files, another run is at work, or a task failed.
    """
    with alone_in(out):
        grid = make_grid(study, words, out)
        record = Record(study, out)
        try:

            def keep(task: Task) -> None:
                if task.kind in ("arm", "baseline"):
                    scores = grid.search_scores(task.name, task.percent, task.seed, out) if task.kind == "arm" else None
                    record.keep(task, read_json(task.result(out)), scores)

            ahead = [*grid.baselines(), *grid.pretrainings()]
            failed = run_tasks("preparing", undone(ahead, out), grid, out, processes, keep)
            searches = [task for task in grid.searches() if task.ready(out)]
            failed += run_tasks("searching", undone(searches, out), grid, out, processes, keep)
            arms = [task for task in grid.arms(out) if task.ready(out)]
            failed += run_tasks("measuring", undone(arms, out), grid, out, processes, keep)
            whole = replace(grid, filter=Filter())  # what `--only` leaves out may be there from another time
            finished = [task for task in (*whole.baselines(), *whole.arms(out)) if task.result(out).is_file()]
            for task in finished:
                keep(task)
            report.write_plan(study, finished, out)
            files = report.write_report(out) if finished else []
        except KeyboardInterrupt:
            with suppress(UserError):  # a call that was broken off may hold the database; the next run takes this up
                record.close("KILLED", [])
            raise
        except Exception:
            record.close("FAILED", [])
            raise
        record.close("FAILED" if failed else "FINISHED", [] if failed else files)
    for sentence in failed:
        print(f"Failed: {sentence}", file=sys.stderr)
    print(f"{len(finished)} of {whole.size()} cells of the grid are done; {out / report.TABLE}")
    if failed:
        raise UserError(f"{len(failed)} tasks failed, the first is {failed[0]}; the same command tries them again.")


def main(words: Sequence[str] | None = None) -> None:
    """Run the study that a file describes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="YAML file")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="arms, baselines, 10%%, s0")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, help="default: outputs/study/NAME")
    options = parser.parse_args(words)
    study = load_study(options.study)
    out = options.out or Path("outputs/study") / study.name
    try:
        run_study(study, out, options.only, max(1, options.processes))
    except KeyboardInterrupt:
        done = len(list((out / RESULTS).glob("*.json")))
        print(f"Stopped; {done} results are in {out / RESULTS}, and the same command goes on.", file=sys.stderr)
        sys.exit(130)
