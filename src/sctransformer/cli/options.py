"""Command-line options that set a field of a settings class: help text and limits come from the field."""

from typing import Any

import typer

from sctransformer.settings import Settings


def option_for(kind: type[Settings], name: str, *flags: str, **others: Any) -> Any:
    """The option for a field, for use in `Annotated`.

    Args:
        kind: the class that declares the field.
        name: of the field.
        flags: names of the option; the parameter's name if not given.
        others: more arguments of `typer.Option`.

    Examples:
        def annotate(threshold: Annotated[float | None, option_for(AnnotationSettings, "threshold")] = None) -> None:
            ...
    """
    field = kind.model_fields[name]
    limits: dict[str, Any] = {}
    for limit in field.metadata:
        if hasattr(limit, "ge"):
            limits["min"] = limit.ge
        if hasattr(limit, "le"):
            limits["max"] = limit.le
    return typer.Option(*flags, help=help_text(kind, name), **{**limits, **others})


def help_text(kind: type[Settings], name: str) -> str:
    """The description of a field, as one line of plain text."""
    return " ".join((kind.model_fields[name].description or "").replace("`", "").split())
