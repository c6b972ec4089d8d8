"""`sctransformer lineage`: the origin of a model, or of the labels in a file."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from sctransformer.errors import UserError


def lineage(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE|MODEL",
            help="An annotated h5ad, zarr or Parquet file, the folder of a bundle, or celltype@champion.",
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of lines.")] = False,
) -> None:
    """Show commit, data, network, parameters, packages and decisions of a model, or of the model of a labelled file."""
    content = _lineage_of(source)
    if as_json:
        print(json.dumps(content, indent=2, sort_keys=True, default=str))
        return
    for name, value in _lines(content):
        print(f"{name}: {value}")


def _lineage_of(source: str) -> dict[str, Any]:
    from sctransformer._constants import BUNDLE

    path = Path(source)
    if (path / BUNDLE.checksums).is_file():
        from sctransformer.registry.opening import open_model

        return open_model(path).bundle.lineage
    if path.exists():
        from sctransformer.registry.provenance import lineage_of_file

        return lineage_of_file(path)
    from sctransformer.registry.references import is_reference

    if not is_reference(source):
        raise UserError(f"{source}: no such file or folder, and not a model reference such as celltype@champion.")
    from sctransformer.registry.history import decisions_on
    from sctransformer.registry.models import lineage_of_version

    name, content = lineage_of_version(source)
    return {"model": name, **content, "decisions": decisions_on(name)}


def _lines(content: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    from flatten_dict import flatten

    for name, value in flatten(content, "dot").items():
        if isinstance(value, list):
            yield from ((name, one) for one in value or ["none"])
        else:
            yield name, value
