"""Aligned output of the verbs."""

from collections.abc import Iterable

import typer

from sctransformer.errors import printable


def print_fields(fields: Iterable[tuple[str, str]]) -> int:
    """Print names and values in two aligned columns.

    Returns:
        Width of the first column, for further lines.
    """
    rows = list(fields)
    width = max((len(name) for name, _ in rows), default=0)
    typer.echo("\n".join(printable(f"{name:<{width}}  {value}") for name, value in rows))
    return width
