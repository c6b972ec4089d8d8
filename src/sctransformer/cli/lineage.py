"""`sctransformer lineage`: the origin of a model, or of the labels in a file."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from sctransformer.errors import UserError
from sctransformer.wording import some

_DIGITS = 12
"""Digits shown of a commit or digest."""


def lineage(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE|MODEL",
            help="An annotated h5ad, zarr or Parquet file, the folder of a bundle, or celltype@champion.",
        ),
    ],
    everything: Annotated[
        bool, typer.Option("--all", help="Show everything, with parameters, package versions and digests.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON object.")] = False,
) -> None:
    """Show what a model, or the model that labelled a file, was made from: code, cells, network, run, decisions.

    --all and --json add parameters, package versions and digests.
    """
    content = _lineage_of(source)
    if as_json:
        print(json.dumps(content, indent=2, sort_keys=True, default=str))
        return
    for name, value in _lines(content) if everything else _summary(source, content):
        print(f"{name}: {value}")


def _summary(source: str, content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What matters first, in a few lines."""
    record = content.get("annotation")
    lineage = content.get("lineage", {}) if record is not None else content
    yield "model", str(content.get("model") or (record or {}).get("model") or source)
    if record is not None:
        yield "labelled", f"{source}, {record.get('annotated_at') or 'time not recorded'}"
    if "lineage_not_found" in content:
        yield "lineage not found", str(content["lineage_not_found"])
        return
    params = lineage.get("params") or {}
    yield "code", _code(lineage.get("git") or {})
    yield "cells", _input(params.get("data") or {}, ("name", "cells"), lineage.get("data_sha256"))
    yield "network", _input(params.get("prior") or {}, ("network",), lineage.get("prior_sha256"))
    yield "made", f"{lineage.get('when') or 'time not recorded'}, by {lineage.get('who') or 'a person not recorded'}"
    yield "training run", str(lineage.get("run_id") or "not recorded")
    if "decisions" in content:
        yield from (("decision", one) for one in content["decisions"] or ["none yet"])
    yield "more", "--all or --json"


def _code(git: Mapping[str, Any]) -> str:
    """Commit, and whether the code and inputs were those of the commit."""
    from sctransformer.registry.lineage import uncommitted_files

    if git.get("commit") is None:
        digest = f"; digest of the code {git['code_sha256'][:_DIGITS]}" if git.get("code_sha256") else ""
        return f"no commit ({git.get('problem') or 'not recorded'}){digest}"
    commit = str(git["commit"])[:_DIGITS]
    if git.get("dirty") is False:
        return f"commit {commit}, clean"
    files = [str(file) for file in uncommitted_files(git)]
    return f"commit {commit}, NOT clean: {some(files) if files else 'files differed from the commit'}"


def _input(params: Mapping[str, Any], fields: tuple[str, ...], digest: str | None) -> str:
    named = [str(params[field]) for field in fields if params.get(field)]
    return ", ".join([*named, f"sha256 {digest[:_DIGITS]}" if digest else "digest not recorded"])


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
