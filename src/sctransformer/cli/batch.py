"""`sctransformer batch`: run a scheduled job, show its runs, write files for schedulers."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sctransformer.wording import counted

if TYPE_CHECKING:
    from sctransformer.jobs.history import RunRecord

_RUNS_SHOWN = 10
Job = Annotated[str, typer.Argument(help="A job file, or the name of one in pipelines/jobs.", metavar="JOB")]


class Target(StrEnum):
    """See `jobs.render.Target`."""

    systemd = "systemd"
    cron = "cron"
    kubernetes = "kubernetes"
    kuberay = "kuberay"


def run(
    job: Job,
    cluster: Annotated[bool, typer.Option("--cluster", help="Score on the Ray cluster of RAY_ADDRESS.")] = False,
) -> None:
    r"""Label the files that have arrived since the last run.

    The model's alias is resolved once. Files that are labelled already are skipped, and an interrupted run resumes.
    Batches that differ from the training cells are labelled too, and their outputs are marked. Each run of the job is
    one MLflow run; if MLflow is down, labels are written first and the next run sends the metrics.

    Exit codes, for schedulers; * means that a retry can help:

    \b
      0    all files labelled, or nothing to do
      1    a file, setting or model is wrong
      2    wrong command line
      3 *  some files labelled, some not
      4    new batches raise the drift alarm (only with drift.fail)
      5 *  all files labelled, but not yet logged to MLflow
     70    internal error
     73 *  the output cannot be written
     75 *  another process is running this job, or annotating one of its files
    130 *  stopped by Ctrl-C
    143 *  stopped by SIGTERM

    \b
    sctransformer batch run new-cells
    sctransformer batch run pipelines/jobs/mine.yaml --cluster
    """
    import logging

    from sctransformer.annotation.model import Model
    from sctransformer.annotation.regulators import warn_without_activities
    from sctransformer.annotation.scorer import LocalScorer, Scorer
    from sctransformer.cli.annotate import of_file
    from sctransformer.jobs.find import find_job
    from sctransformer.jobs.runner import METRICS_KEPT, run_job
    from sctransformer.jobs.spec import load_job
    from sctransformer.progress import cells_bar
    from sctransformer.registry.loading import load_model

    logging.basicConfig(format="Note: %(message)s", level=logging.WARNING)
    logging.getLogger("great_expectations").propagate = False  # it logs its temporary folders
    loaded = load_job(find_job(job))

    def start() -> tuple[Model, Scorer]:
        model = load_model(loaded.model)
        warn_without_activities(model.bundle, loaded.settings)
        if not cluster:
            return model, LocalScorer(model.bundle, loaded.settings.scoring)
        from sctransformer.annotation.cluster import ClusterScorer

        return model, ClusterScorer(model.bundle, loaded.settings.scoring, loaded.workers, loaded.resources.gpus)

    with cells_bar("Annotating") as on_progress:
        record = run_job(loaded, start, on_progress, on_file=lambda outcome: typer.echo(of_file(outcome)))
    for file in record.files:
        if "error" in file:
            typer.echo(f"{'Error' if file['status'] == 'failed' else 'Note'}: {file['error']}", err=True)
    typer.echo(_summary(record))
    if record.mlflow_run is None or record.exit_code == METRICS_KEPT:
        typer.echo("MLflow could not be reached; the next run, or `sctransformer runs`, sends the metrics.", err=True)
    if record.exit_code:
        raise typer.Exit(record.exit_code)


def status(
    job: Annotated[
        str | None,
        typer.Argument(
            help="A job file, or the name of one in pipelines/jobs.", metavar="JOB", show_default="all jobs"
        ),
    ] = None,
) -> None:
    """Show the last runs of a job, and the drift of its latest batches; without a job, the state of every job."""
    if job is None:
        _all_jobs()
        return
    from sctransformer.jobs.find import find_job
    from sctransformer.jobs.history import History
    from sctransformer.jobs.runner import raised
    from sctransformer.jobs.spec import load_job

    loaded = load_job(find_job(job))
    history = History(loaded)
    runs, batches = history.runs(), history.batches()
    if not runs:
        typer.echo(f"{loaded.name}: has not run yet; output folder {loaded.output}.")
        return
    for record in runs[-_RUNS_SHOWN:]:
        typer.echo(f"run      {record.started[:19]}  {_run(record)}")
    for file in runs[-1].files:
        if "error" in file:
            typer.echo(f"{file['status']:8} {file['error']}")
    for batch in batches[-loaded.drift.window :]:
        typer.echo(f"batch    {batch['time'][:19]}  {batch['source']}: {batch['drift']}")
    if not batches:
        typer.echo("drift    no batch yet")
        return
    report = history.report if history.report.exists() else f"none, `sctransformer drift report {job}` makes it"
    typer.echo(f"drift    {'ALARM' if raised(loaded, batches) else 'no alarm'}; report: {report}")


def render(
    job: Job,
    target: Annotated[Target, typer.Option("--target", "-t", help="Scheduler.")],
    outdir: Annotated[
        Path | None, typer.Option("--outdir", "-o", help="Folder for the files.", show_default="standard output")
    ] = None,
) -> None:
    r"""Write the files with which a scheduler runs a job.

    systemd and cron read environment variables, such as MLFLOW_TRACKING_URI, from .env in the project's folder.

    \b
    sctransformer batch render new-cells --target systemd -o ~/.config/systemd/user
    sctransformer batch render new-cells --target kubernetes | kubectl apply -f -
    """
    from sctransformer.files import atomic_write
    from sctransformer.jobs.find import find_job
    from sctransformer.jobs.render import ENVIRONMENT, missing_variables
    from sctransformer.jobs.render import render as rendered
    from sctransformer.jobs.spec import load_job

    file = find_job(job)
    for name, text in rendered(load_job(file), file, target.value).items():
        if outdir is None:
            typer.echo(text, nl=False)
            continue
        with atomic_write(outdir / name) as temporary:
            temporary.write_text(text)
        typer.echo(outdir / name)
    if target.value in ("systemd", "cron") and (names := missing_variables(Path.cwd())):
        typer.echo(
            f"Note: the scheduler does not see {', '.join(names)} of this shell; write NAME=value lines to "
            f"{Path.cwd() / ENVIRONMENT}.",
            err=True,
        )


def _all_jobs() -> None:
    """One line per job in pipelines/jobs: schedule, last run, drift."""
    from sctransformer.errors import UserError
    from sctransformer.jobs.find import job_files
    from sctransformer.jobs.history import History
    from sctransformer.jobs.runner import raised
    from sctransformer.jobs.spec import load_job
    from sctransformer.layout import JOBS

    files = job_files()
    if not files:
        typer.echo(f"{JOBS}: has no job file; README.md, 'On a schedule', shows one.")
    for file in files:
        try:
            job = load_job(file)
            history = History(job)
            runs = history.runs()
        except UserError as error:  # the other jobs are shown all the same
            typer.echo(f"{file.stem}: {error}")
            continue
        last = f"last run {runs[-1].started[:19]}, {_run(runs[-1])}" if runs else "has not run yet"
        alarm = "; drift ALARM" if raised(job, history.batches()) else ""
        typer.echo(f"{job.name}: schedule {job.schedule!r}; {last}{alarm}")


def _run(record: "RunRecord") -> str:
    ended = "running, or killed" if record.exit_code is None else f"exit code {record.exit_code}"
    sent = f"MLflow run {record.mlflow_run or 'not sent'}"
    if record.error:
        return f"{ended}; {sent}; {record.error}"
    share = record.metrics.get("rejected_share")
    cells = counted(int(record.metrics.get("cells", 0)), "cell")
    cells += "" if share is None else f", {share:.1%} unknown{_by_reason(record)}"
    return f"{ended}; {_counts(record)}; {cells}; {record.model} = {record.version or '?'}; {sent}"


def _by_reason(record: "RunRecord") -> str:
    """The shares of cells without a label by reason; empty for runs of earlier versions."""
    prefix = "rejected_share/"
    shares = {name.removeprefix(prefix): value for name, value in record.metrics.items() if name.startswith(prefix)}
    named = [f"{reason} {share:.1%}" for reason, share in shares.items() if share]
    return f" ({', '.join(named)})" if named else ""


def _summary(record: "RunRecord") -> str:
    new = "; DRIFT ALARM" if record.new_batches else "; drift alarm as before"
    return (
        f"{record.job}: files {_counts(record)}; {counted(int(record.metrics['cells']), 'cell')} in "
        f"{record.seconds:.1f} s"
        f"{new if record.alarm else ''}"
    )


def _counts(record: "RunRecord") -> str:
    kinds = [kind for kind in ("labelled", "unchanged", "failed", "waiting") if kind != "waiting" or record.count(kind)]
    return ", ".join(f"{record.count(kind)} {kind}" for kind in kinds)
