"""`sctransformer train`: an experiment, tracked by DVC and MLflow."""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

TARGET = "export"
"""The stage an experiment ends with: a bundle, measured, not yet registered."""
NETWORKS = Path("data/networks")
"""Where -S prior=NAME looks for NAME.tsv."""
EMBEDDED_NETWORK = "embedded"
"""The name of the network that comes with the package."""


def train(
    set_param: Annotated[
        list[str] | None,
        typer.Option(
            "--set-param",
            "-S",
            help="Override a parameter of params.yaml, as in -S train.lr=0.001; -S data=NAME takes a dataset of the "
            "catalogue, -S prior=NAME a network of data/networks. Of two for one parameter the later holds.",
        ),
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
    arguments = ["exp", "run", *(f"--set-param={override}" for override in expanded(set_param or []))]
    if name:
        arguments.append(f"--name={name}")
    # the stages call `python`: let it be this one
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run([sys.executable, "-m", "dvc", *arguments, TARGET], env=environment, check=False)
    if done.returncode:
        raise UserError("the experiment did not end well; what stopped it stands above.")


def expanded(overrides: Iterable[str]) -> list[str]:
    """Overrides with `data=NAME` and `prior=NAME` spelled out, so that DVC and params.yaml see every parameter.

    `data=NAME` becomes one `data.<field>=value` for each field of the catalogue's entry that params.yaml has, nulls
    too; `prior=NAME` becomes `prior.network=FILE`. All others stay as they are, in their place.

    Raises:
        UserError: there is no such dataset or network, or its file is not here.
    """
    spelled_out: list[str] = []
    for override in overrides:
        key, equals, value = override.partition("=")
        if key == "data" and equals:
            spelled_out += _of_dataset(value)
        elif key == "prior" and equals:
            spelled_out.append(f"prior.network={quoted(_network(value).as_posix())}")
        else:
            spelled_out.append(override)
    return spelled_out


def quoted(value: str | None) -> str:
    """A value in the grammar of DVC's overrides, which is Hydra's: text stays text, whatever it looks like.

    See https://hydra.cc/docs/advanced/override_grammar/basic/#quoted-values.
    """
    from hydra.core.override_parser.types import Quote, QuotedString

    return "null" if value is None else QuotedString(value, Quote.single).with_quotes()


def _of_dataset(name: str) -> list[str]:
    from sctransformer.data.catalogue import find_dataset, read_catalogue
    from sctransformer.data.versioned import find_tracked
    from sctransformer.errors import UserError
    from sctransformer.params import DataParams

    entry = find_dataset(read_catalogue(), name)
    cells = Path(entry.cells)
    tracked = find_tracked(cells)
    if not cells.exists() and (tracked is None or tracked.stage is None):  # a stage makes its cells itself
        remedy = f"run `dvc pull {tracked.file}`" if tracked else "add them again by `sctransformer data add`"
        raise UserError(f"{cells}: the cells of dataset {name!r} are not here; {remedy}.")
    return [f"data.{field}={quoted(value)}" for field, value in entry.parameters(DataParams.model_fields).items()]


def _network(name: str) -> Path:
    from sctransformer.errors import UserError
    from sctransformer.params import PriorParams

    if name == EMBEDDED_NETWORK:
        return Path(PriorParams.model_fields["network"].default)
    file = NETWORKS / f"{name}.tsv"
    there = {found.stem: found for found in sorted(NETWORKS.glob("*.tsv"))}
    if name not in there:
        names = ", ".join([EMBEDDED_NETWORK, *there])
        remedy = f"run `dvc pull {file}.dvc`" if Path(f"{file}.dvc").is_file() else f"networks here: {names}"
        raise UserError(f"{file}: no such network; {remedy} (a file elsewhere: -S prior.network=FILE).")
    return file
