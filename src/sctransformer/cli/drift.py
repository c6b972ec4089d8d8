"""`sctransformer drift report`: compare the batches of a job with the training cells of its model."""

from pathlib import Path
from typing import Annotated

import typer

from sctransformer.errors import UserError
from sctransformer.wording import counted


def report(
    job: Annotated[str, typer.Argument(metavar="JOB", help="A job file, or the name of one in pipelines/jobs.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="The HTML file.", show_default="the job's report"),
    ] = None,
) -> None:
    """Write an HTML page: the drift of each batch with its limits, each batch compared with the training cells, and the
    files that could not be labelled.

    The page is one file and works offline. For each batch it lists the genes whose mean expression differs most.
    """
    from sctransformer.jobs.find import find_job
    from sctransformer.jobs.history import History
    from sctransformer.jobs.runner import state_of
    from sctransformer.jobs.spec import load_job
    from sctransformer.monitor.report import write_report
    from sctransformer.registry.opening import open_model

    loaded = load_job(find_job(job))
    history = History(loaded)
    state = state_of(loaded, history)
    if not state.batches and not state.failed:
        raise UserError(f"{loaded.name}: has labelled no batch yet; run `sctransformer batch run {job}` first.")
    bundle = open_model(loaded.model).bundle
    target = output or history.report
    write_report(target, state, bundle)
    typer.echo(
        f"{target}: {counted(len(state.batches), 'batch', 'batches')}, {'ALARM' if state.raised else 'no alarm'}"
    )
