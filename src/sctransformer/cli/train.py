"""`sctransformer train`: a training run, tracked by DVC and MLflow."""

from typing import Annotated

import typer


def train(
    set_param: Annotated[
        list[str] | None,
        typer.Option(
            "--set-param",
            "-S",
            metavar="NAME=VALUE",
            help="Override a parameter of params.yaml for this run, as in -S prior.strength=10; -S data=NAME uses a "
            "dataset of the catalogue, -S prior=NAME a network of data/networks. Of two overrides of one parameter "
            "the later wins. params.yaml is not changed.",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", "-n", metavar="TEXT", help="Name of the run, any text.")] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume", metavar="RUN", help="Resume an interrupted run: its ID, the start of its ID, or its name."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Train also if the same training is in DVC's cache.")] = False,
) -> None:
    """Train, evaluate and export with the parameters of params.yaml, as one MLflow run.

    Stages whose inputs have not changed are not run again, unless --force is given. Afterwards `sctransformer runs`
    compares runs and `sctransformer register` adds the model to the registry.

    An interrupted run is resumed from its last checkpoint with --resume, with the parameters it was started with, and
    ends with the same weights as an uninterrupted run.

    For example: `sctransformer train -S train.pretrain_lr=3e-4 --name "small lr"`, `sctransformer train -S data=mine
    -S model.mode=bias`, `sctransformer train --resume 1f3a9c02`.
    """
    from sctransformer.pipeline import experiment

    experiment.train(set_param, name=name, resume=resume, force=force)
