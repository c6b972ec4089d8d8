"""Overrides of params.yaml in the grammar of DVC, which is that of Hydra."""

import json
import sys
from collections.abc import Iterable, Mapping
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
_BY_NAME = ("data", "prior")
"""Parameters that may be set to the name of a dataset or network, which stands for several parameters."""


def from_mapping(overrides: Mapping[str, object]) -> list[str]:
    """Overrides from dotted parameter names and values.

    Examples:
        >>> from_mapping({"train.lr": 0.001, "model.mode": "bias"})
        ['train.lr=0.001', "model.mode='bias'"]
    """
    return [
        f"{name}={value}" if name in _BY_NAME and isinstance(value, str) else override(name, value)
        for name, value in overrides.items()
    ]


def override(name: str, value: Any) -> str:
    """One parameter set to a value."""
    return f"{name}={quoted(value) if value is None or isinstance(value, str) else json.dumps(value)}"


def quoted(value: str | None) -> str:
    """Text in quotes, so that it is not read as a number, a list or null.

    See https://hydra.cc/docs/advanced/override_grammar/basic/#quoted-values.
    """
    from hydra.core.override_parser.types import Quote, QuotedString

    return "null" if value is None else QuotedString(value, Quote.single).with_quotes()


def expanded(overrides: Iterable[str]) -> list[str]:
    """Replace `data=NAME` and `prior=NAME` by the parameters they stand for, so that params.yaml holds every one.

    `data=NAME` becomes one `data.<field>=value` for each field of the catalogue entry that params.yaml has, nulls
    included; `prior=NAME` becomes `prior.network=FILE`. All others stay as they are, in their place.

    Raises:
        UserError: the dataset or network does not exist, or its file is missing.
    """
    result: list[str] = []
    for text in overrides:
        name, equals, value = text.partition("=")
        if name == "data" and equals:
            result += _dataset(value)
        elif name == "prior" and equals:
            result.append(f"prior.network={quoted(_network(value).as_posix())}")
        else:
            result.append(text)
    return result


def _dataset(name: str) -> list[str]:
    entry = find_dataset(read_catalogue(), name)
    cells = Path(entry.cells)
    tracked = find_tracked(cells)
    if not cells.exists() and (tracked is None or tracked.stage is None):  # a stage makes its cells itself
        remedy = f"run `dvc pull {tracked.file}`" if tracked else "add them again with `sctransformer data add`"
        raise UserError(f"{cells}: the cells of dataset {name!r} are missing; {remedy}.")
    return [f"data.{field}={quoted(value)}" for field, value in entry.parameters(DataSettings.model_fields).items()]


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
