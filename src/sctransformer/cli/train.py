"""`sctransformer train`: an experiment, tracked by DVC and MLflow."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

TARGET = "export"
"""The stage an experiment ends with: a bundle, measured, not yet registered."""


def train(
    set_param: Annotated[
        list[str] | None,
        typer.Option("--set-param", "-S", help="Override a parameter of params.yaml, as in -S train.lr=0.001."),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", "-n", help="Name of the experiment in DVC.")] = None,
) -> None:
    """Train, evaluate and export with the parameters of params.yaml, as a DVC experiment and an MLflow run.

    Stages whose inputs did not change are not run again. Afterwards `dvc exp show` compares experiments and
    `sctransformer register` hands the model to the registry.
    """
    from sctransformer.errors import UserError

    if not Path("dvc.yaml").is_file():
        raise UserError("dvc.yaml: no such file here; run from the project's folder.")
    arguments = ["exp", "run", *(f"--set-param={override}" for override in set_param or [])]
    if name:
        arguments.append(f"--name={name}")
    # the stages call `python`: let it be this one
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run([sys.executable, "-m", "dvc", *arguments, TARGET], env=environment, check=False)
    if done.returncode:
        raise UserError("the experiment did not end well; what stopped it stands above.")
