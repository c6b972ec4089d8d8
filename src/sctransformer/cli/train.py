"""`sctransformer train`: an experiment, tracked by DVC and MLflow."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from sctransformer.cli.stopping import run_stoppable

TARGET = "export"
"""The stage an experiment ends with: a bundle, measured, not yet registered."""
RESUME, NAME = "SCTRANSFORMER_RESUME", "SCTRANSFORMER_RUN_NAME"
"""Variables by which the training stage knows of both, see `sctransformer.training.resume`."""
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
    name: Annotated[str | None, typer.Option("--name", "-n", help="What the run is called, in any words.")] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume", metavar="RUN", help="Go on with a run that was interrupted: its id, the beginning, or its name."
        ),
    ] = None,
) -> None:
    """Train, evaluate and export with the parameters of params.yaml, as a DVC experiment and an MLflow run.

    Stages whose inputs did not change are not run again. Afterwards `sctransformer runs` compares runs and
    `sctransformer register` hands the model to the registry.

    A run that was interrupted, by Ctrl-C or worse, goes on from its last checkpoint with --resume, with the parameters
    that it began with, and ends with the weights of an undisturbed one.

    For example: `sctransformer train -S train.lr=3e-4 --name "small lr"`, `sctransformer train -S data=mine
    -S model.mode=bias`, `sctransformer train --resume 1f3a9c02`.
    """
    from sctransformer.errors import UserError

    if not Path("dvc.yaml").is_file():
        raise UserError("dvc.yaml: no such file here; run from the project's folder.")
    environment, overrides = {}, expanded(set_param or [])
    if resume is not None:
        run_id, its_name, before = _of_interrupted(resume)
        environment[RESUME] = run_id
        name, overrides = name or its_name, [*before, *overrides]
    elif name:
        environment[NAME] = name
    launch(overrides, TARGET, name, environment)


def launch(overrides: Iterable[str], target: str, name: str | None, environment: Mapping[str, str]) -> None:
    """Run stages up to a target as a DVC experiment.

    Args:
        overrides: of parameters, as DVC takes them.
        target: the last stage.
        name: of the experiment, in any words; DVC gets what git allows of it.
        environment: variables for the stages.

    Raises:
        UserError: the experiment did not end well.
    """
    from sctransformer.errors import UserError

    arguments = ["exp", "run", *(f"--set-param={words}" for words in overrides)]
    if name and (allowed := experiment_name(name)):
        arguments.append(f"--name={allowed}")
    # the stages call `python`: let it be this one
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    variables = {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1", **environment}
    if run_stoppable([sys.executable, "-m", "dvc", *arguments, target], variables):
        raise UserError("the experiment did not end well; what stopped it stands above.")


def experiment_name(name: str, unique: bool = True) -> str:
    """What git allows of a name in any words; if it must be unique, one that is taken gets the time added."""
    allowed = re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-")
    if not unique:
        return allowed
    taken = subprocess.run(
        ["git", "for-each-ref", "--format=%(refname)", "refs/exps"], capture_output=True, text=True, check=False
    )
    names = {line.rsplit("/", maxsplit=1)[-1] for line in taken.stdout.splitlines()}
    return f"{allowed}-{time.strftime('%Y%m%d-%H%M%S')}" if allowed in names else allowed


def _of_interrupted(wanted: str) -> tuple[str, str, list[str]]:
    """The id and name of an interrupted run, and overrides that bring back the parameters it began with."""
    from sctransformer.errors import UserError
    from sctransformer.params import load_params
    from sctransformer.tracking.queries import ended_well
    from sctransformer.training.resume import find_begun

    params = load_params()
    try:
        _, begun = find_begun(params.train.storage, wanted)
    except UserError as error:
        ended = ended_well(wanted)
        if ended is not None:
            raise UserError(f"run {wanted!r} has finished ({ended}); there is nothing to resume.") from error
        raise
    now = flat(params.model_dump(mode="json", by_alias=True))
    then = flat(begun.params)
    return (
        begun.run_id,
        begun.name,
        [override(key, value) for key, value in then.items() if now.get(key) != value],
    )


def flat(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested parameters under dotted names."""
    found: dict[str, Any] = {}
    for key, value in params.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def override(name: str, value: Any) -> str:
    """One parameter set to a value, in DVC's grammar."""
    return f"{name}={quoted(value) if value is None or isinstance(value, str) else json.dumps(value)}"


def expanded(overrides: Iterable[str]) -> list[str]:
    """Overrides with `data=NAME` and `prior=NAME` spelled out, so that DVC and params.yaml see every parameter.

    `data=NAME` becomes one `data.<field>=value` for each field of the catalogue's entry that params.yaml has, nulls
    too; `prior=NAME` becomes `prior.network=FILE`. All others stay as they are, in their place.

    Raises:
        UserError: there is no such dataset or network, or its file is not here.
    """
    spelled_out: list[str] = []
    for words in overrides:
        key, equals, value = words.partition("=")
        if key == "data" and equals:
            spelled_out += _of_dataset(value)
        elif key == "prior" and equals:
            spelled_out.append(f"prior.network={quoted(_network(value).as_posix())}")
        else:
            spelled_out.append(words)
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
