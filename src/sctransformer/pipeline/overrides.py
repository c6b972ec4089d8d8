"""Overrides of params.yaml: parameters that hold for one run."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sctransformer.data.catalogue import find_dataset, read_catalogue
from sctransformer.data.settings import DataSettings
from sctransformer.data.versioned import find_tracked
from sctransformer.errors import UserError
from sctransformer.layout import NETWORKS
from sctransformer.prior.settings import PriorSettings

BUILT_IN_NETWORK = "immune"
"""Name of the network that comes with the package."""
FORMER_NAME = "embedded"
"""The built-in network's name in earlier versions; still accepted."""


def expanded(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Replace `data=NAME` and `prior=NAME` by the parameters they stand for.

    `data=NAME` becomes `data.<field>` for each field of the catalogue entry that params.yaml has, nulls included;
    `prior=NAME` becomes `prior.network`. All others stay as they are; of several values for one parameter the last
    counts.

    Raises:
        UserError: the dataset or network does not exist, or its file is missing.
    """
    result: dict[str, Any] = {}
    for name, value in overrides.items():
        if name == "data" and not isinstance(value, Mapping):
            result |= _dataset(str(value))
        elif name == "prior" and not isinstance(value, Mapping):
            result["prior.network"] = _network(str(value)).as_posix()
        else:
            result[name] = value
    return result


def _dataset(name: str) -> dict[str, Any]:
    entry = find_dataset(read_catalogue(), name)
    cells = Path(entry.cells)
    tracked = find_tracked(cells)
    if not cells.exists() and (tracked is None or tracked.stage is None):  # a stage makes its cells itself
        remedy = f"run `dvc pull {tracked.file}`" if tracked else "add them again with `sctransformer data add`"
        raise UserError(f"{cells}: the cells of dataset {name!r} are missing; {remedy}.")
    return {f"data.{field}": value for field, value in entry.parameters(DataSettings.model_fields).items()}


def _network(name: str) -> Path:
    if name == FORMER_NAME:
        print(f"Note: -S prior={FORMER_NAME} is now -S prior={BUILT_IN_NETWORK}.", file=sys.stderr)
    if name in (BUILT_IN_NETWORK, FORMER_NAME):
        return Path(PriorSettings().network)
    file = NETWORKS / f"{name}.tsv"
    found = [path.stem for path in sorted(NETWORKS.glob("*.tsv"))]
    if name not in found:
        names = ", ".join([BUILT_IN_NETWORK, *found])
        remedy = f"run `dvc pull {file}.dvc`" if Path(f"{file}.dvc").is_file() else f"available networks: {names}"
        raise UserError(f"{file}: no such network; {remedy} (for a file elsewhere: -S prior.network=FILE).")
    return file
