"""Download of published networks from their servers, through decoupler."""

from collections.abc import Collection
from typing import Literal

import pandas as pd

from sctransformer.errors import UserError, one_line
from sctransformer.prior.network import Network
from sctransformer.prior.readers import network_from_frame

Published = Literal["collectri", "dorothea"]
LEVELS: dict[str, tuple[str, ...]] = {"collectri": (), "dorothea": ("A", "B", "C", "D")}
"""Confidence levels that can be downloaded."""


def fetch(name: Published, levels: Collection[str] = ()) -> Network:
    """Download CollecTRI or DoRothEA for human genes and clean it, see `network.repaired`.

    Args:
        name: `collectri` or `dorothea`.
        levels: levels of DoRothEA to keep; empty keeps A, B and C.

    Raises:
        UserError: a level is unknown, the server was not reached, or its answer is not a network.
    """
    wrong = sorted(set(levels) - set(LEVELS[name]))
    if wrong:
        there = ", ".join(LEVELS[name]) or "none"
        raise UserError(f"{name} has no level {', '.join(wrong)}; available levels: {there}.")
    try:
        frame = from_server(name, sorted(levels) or ["A", "B", "C"])
    except Exception as error:  # requests, pandas and decoupler each raise their own
        raise UserError(
            f"{name} could not be downloaded ({type(error).__name__}: {one_line(error)}); try again, or read a file: "
            f"`sctransformer prior build -i {name}=FILE -o NETWORK.tsv`."
        ) from error
    return network_from_frame(f"{name} (downloaded)", frame, name, name)


def from_server(name: Published, levels: list[str]) -> pd.DataFrame:
    """Table of decoupler: columns source, target, weight and, for DoRothEA, confidence."""
    import decoupler  # type: ignore[import-untyped]  # takes seconds to import

    return decoupler.op.collectri() if name == "collectri" else decoupler.op.dorothea(levels=levels)
