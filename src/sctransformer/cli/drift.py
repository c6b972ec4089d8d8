"""`sctransformer drift report`: compare the batches of a job with the training cells of its model."""

from pathlib import Path
from typing import Annotated

import typer

from sctransformer.errors import UserError


def report(
    job: Annotated[str, typer.Argument(help="A job file, or the name of one in pipelines/jobs.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The HTML file.", show_default="the job's report")
    ] = None,
) -> None:
    """Write an HTML page with plots: the drift of each batch with its limits, and the latest batch compared
    with the training cells.
    """
    from sctransformer.jobs.find import find_job
    from sctransformer.jobs.history import History
    from sctransformer.jobs.runner import raised
    from sctransformer.jobs.spec import load_job
    from sctransformer.monitor.report import write_report
    from sctransformer.registry.opening import open_model

    loaded = load_job(find_job(job))
    history = History(loaded)
    batches = history.batches()
    if not batches:
        raise UserError(f"{loaded.name}: has labelled no batch yet; run `sctransformer batch run {job}` first.")
    bundle = open_model(loaded.model).bundle
    target = output or history.report
    alarm = raised(loaded, batches)
    write_report(target, loaded.name, batches, bundle, loaded.drift.model_dump(), alarm)
    typer.echo(f"{target}: {len(batches)} batches, {'ALARM' if alarm else 'no alarm'}")
