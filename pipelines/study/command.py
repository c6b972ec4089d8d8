"""Run a study: arms x label fractions x seeds, and baselines on the same cells. The same command resumes it.

    python -m pipelines.study pipelines/study/kang.yaml
    python -m pipelines.study pipelines/study/kang.yaml --only mask dense 10% s0 --processes 2

Each result is a file in OUT/cells, named by a digest of everything that decides it. Existing results are not computed
again, also under another name of the arm; changed settings are. The command can be interrupted at any time.

The protocol is the same for every arm:

1. Test cells are set aside. Their labels are used for the final evaluation only.
2. If `search` has more than one point, each point is tried for each arm: the labelled training cells are split into
   training and validation cells (stratified, `search_repeats` times, the same splits for all arms), and the point with
   the best mean validation macro-F1 is chosen. All seeds of a percentage choose together if no labelled cell of one is
   a test cell of another, otherwise each seed chooses alone.
3. With `train.pretrain_epochs` the model is pretrained on masked expression of all cells but the test cells, without
   labels: once per seed, for all percentages.
4. The model is trained on all labelled cells, with the parameters of the chosen point, up to the last epoch: no cells
   are held out to choose an epoch. Baselines are trained on all labelled cells too.
5. Logistic regression chooses its penalty, standardisation and class weights by cross-validation on the labelled cells;
   CellTypist has its default parameters. Both use all genes of the file, models use the panel.

Tasks run in parallel processes of one thread, so the recorded times are indicative only.
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
from pipelines.study.cells import CELLS, Sources, assign_splits, prepare
from pipelines.study.config import StudyConfig, load_study
from pipelines.study.grid import RESULTS, Filter, Grid, Task
from pipelines.study.pool import WorkerPool, lock_folder
from pipelines.study.protocol import seeds_searched_together
from pipelines.study.record import Record
from sctransformer.data.cells import CellFile
from sctransformer.data.splits import TEST, TRAIN
from sctransformer.errors import UserError, one_line
from sctransformer.files import read_json, write_json

PREPARED = "prepared"
"""Folder of the prepared cells."""


def make_grid(study: StudyConfig, words: Sequence[str], out: Path) -> Grid:
    """Prepare the cells and build the grid.

    Raises:
        UserError: the study does not fit its files, or `--only` has an unknown word.
    """
    chosen = Filter.of(words, study)
    seeds = sorted({seed for percent in study.percents for seed in study.seeds_of(percent)})
    sources = prepare(study, seeds, out / PREPARED)
    with CellFile(sources.cells / CELLS) as file:
        obs = file.obs
    together = {}
    for percent in study.percents:
        by_seed = {seed: assign_splits(study, obs, percent, seed) for seed in study.seeds_of(percent)}
        labelled, tested = (
            {seed: frozenset(obs.index[split == name]) for seed, split in by_seed.items()} for name in (TRAIN, TEST)
        )
        together[percent] = seeds_searched_together(labelled, tested)
    return Grid(study, sources, together, chosen)


def run_task(task: Task, study: StudyConfig, sources: Sources, out: Path) -> None:
    """Run a task in a worker process and write its result."""
    write_json(task.result(out), work.result_of(task, study, sources, out))


def unfinished(tasks: Iterable[Task], out: Path) -> list[Task]:
    """Tasks without a result; tasks with the same digest only once."""
    by_digest = {task.digest: task for task in tasks if not task.result(out).is_file()}
    return list(by_digest.values())


def run_tasks(
    title: str, tasks: Sequence[Task], grid: Grid, out: Path, pool: WorkerPool, on_done: Callable[[Task], None]
) -> list[str]:
    """Run tasks in worker processes with a progress bar; returns a message for each failed task."""
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
        job = partial(run_task, study=grid.study, sources=grid.sources, out=out)
        for number, (task, error) in enumerate(pool.map(job, tasks), start=1):
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
    """Run the unfinished tasks of a study and write the report.

    Raises:
        UserError: the study does not fit its files, another process runs it, or a task failed.
    """
    with lock_folder(out):
        grid = make_grid(study, words, out)
        record = Record(study, out)
        try:

            def keep(task: Task) -> None:
                if task.kind in ("arm", "baseline"):
                    scores = grid.search_scores(task.name, task.percent, task.seed, out) if task.kind == "arm" else None
                    record.log(task, read_json(task.result(out)), scores)

            with WorkerPool(processes) as pool:
                ahead = [*grid.baselines(), *grid.pretrainings()]
                failed = run_tasks("preparing", unfinished(ahead, out), grid, out, pool, keep)
                searches = [task for task in grid.searches() if task.ready(out)]
                failed += run_tasks("searching", unfinished(searches, out), grid, out, pool, keep)
                arms = [task for task in grid.arms(out) if task.ready(out)]
                failed += run_tasks("measuring", unfinished(arms, out), grid, out, pool, keep)
            whole = replace(grid, filter=Filter())  # results that `--only` leaves out may exist from earlier runs
            finished = [task for task in (*whole.baselines(), *whole.arms(out)) if task.result(out).is_file()]
            for task in finished:
                keep(task)
            report.write_plan(study, finished, out)
            files = report.write_report(out) if finished else []
        except KeyboardInterrupt:
            with suppress(UserError):  # an interrupted write may lock the database; the next run closes the record
                record.close("KILLED", [])
            raise
        except Exception:
            record.close("FAILED", [])
            raise
        record.close("FAILED" if failed else "FINISHED", [] if failed else files)
    for sentence in failed:
        print(f"Failed: {sentence}", file=sys.stderr)
    print(f"{len(finished)} of {whole.size()} results are finished; {out / report.TABLE}")
    if failed:
        raise UserError(f"{len(failed)} tasks failed, the first is {failed[0]}; the same command runs them again.")


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
        print(
            f"Stopped; {done} results are in {out / RESULTS}, and the same command resumes the study.", file=sys.stderr
        )
        sys.exit(130)
