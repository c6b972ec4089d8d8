"""Published networks from their servers, through decoupler."""

from collections.abc import Collection
from typing import Literal

import pandas as pd

from sctransformer.errors import UserError, one_line
from sctransformer.prior.network import Network
from sctransformer.prior.readers import network_of_frame

Published = Literal["collectri", "dorothea"]
LEVELS: dict[str, tuple[str, ...]] = {"collectri": (), "dorothea": ("A", "B", "C", "D")}
"""Levels that a network's server gives."""


def fetch(name: Published, levels: Collection[str] = ()) -> Network:
    """Fetch CollecTRI or DoRothEA for human genes and put it right as `network.repaired` says.

    Args:
        name: which network.
        levels: of DoRothEA; empty takes A, B and C.

    Raises:
        UserError: levels are wrong, the server was not reached, or what it sent is no network.
    """
    wrong = sorted(set(levels) - set(LEVELS[name]))
    if wrong:
        there = ", ".join(LEVELS[name]) or "none"
        raise UserError(f"{name} has no level {', '.join(wrong)} to fetch; its levels are: {there}.")
    try:
        frame = from_server(name, sorted(levels) or ["A", "B", "C"])
    except Exception as error:  # requests, pandas and decoupler each raise their own
        raise UserError(
            f"{name} could not be fetched from its server ({type(error).__name__}: {one_line(error)}); try again, or "
            f"take a file from elsewhere: `sctransformer prior build -i {name}=FILE -o NETWORK.tsv`."
        ) from error
    return network_of_frame(f"{name} as fetched", frame, name, name)


def from_server(name: Published, levels: list[str]) -> pd.DataFrame:
    """The table as decoupler gives it: source, target, weight and, for DoRothEA, confidence."""
    import decoupler  # type: ignore[import-untyped]  # takes seconds to import

    return decoupler.op.collectri() if name == "collectri" else decoupler.op.dorothea(levels=levels)
