"""From the labels in a file back to the model that predicted them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from anndata.io import read_elem
from pyarrow import parquet

from sctransformer._constants import BUNDLE, UNS
from sctransformer.annotation.fields import REGULATORS
from sctransformer.errors import UserError, one_line
from sctransformer.export.bundle import read_bundle
from sctransformer.registry.history import decisions_on
from sctransformer.registry.models import lineage_of_version, tags_of_version, version_with_identity
from sctransformer.registry.names import VERSION_TAGS
from sctransformer.registry.references import Reference, is_reference, parse_reference

_PARQUET = b"PAR1"
"""First bytes of a Parquet file."""
_WHERE = f"uns[{UNS.annotation!r}]"
_NOT_OURS = "it was not annotated by sctransformer"


def lineage_of_file(path: Path) -> dict[str, Any]:
    """The record of the annotation in a file, and the lineage of the model if the registry still has it.

    Only the record is read, whatever the size of the file: `uns["sctransformer"]` of an h5ad file or a zarr folder,
    the schema's metadata of a Parquet file.

    Returns:
        `annotation`: that record, without its table of regulators. `model`, `lineage` and, of a registered version,
        `decisions` (see `decisions_on`); or `lineage_not_found`: the reason why they are missing.

    Raises:
        UserError: the file cannot be read, its format holds no record, or it was not annotated by sctransformer.
    """
    annotation = _annotation_of(path)
    try:
        return {"annotation": annotation, **_model_lineage(annotation)}
    except UserError as error:
        return {"annotation": annotation, "lineage_not_found": str(error)}


def _annotation_of(path: Path) -> dict[str, Any]:
    if path.is_dir():
        content = _in_zarr(path)
    elif path.suffix == ".csv":
        raise UserError(
            f"{path}: is CSV, which holds labels but no record of the model; show the model itself (`sctransformer "
            "lineage celltype@champion`), or annotate with --format parquet or anndata, which keep the record."
        )
    elif path.suffix == ".parquet" or _starts_with(path, _PARQUET):
        content = _in_parquet(path)
    else:
        content = _in_h5ad(path)
    if not isinstance(content, Mapping) or not isinstance(content.get("model"), str):
        raise UserError(f"{path}: its {UNS.annotation!r} names no model; {_NOT_OURS}.")
    return {str(key): _plain(value) for key, value in content.items() if key != REGULATORS}


def _in_h5ad(path: Path) -> Any:
    try:
        with h5py.File(path, "r") as file:
            return _in_tree(file, path)
    except OSError as error:
        raise UserError(f"{path}: is not a readable h5ad file; it is cut short or damaged ({error}).") from error


def _in_zarr(path: Path) -> Any:
    import zarr  # half a second

    try:
        root = zarr.open_group(path, mode="r")
    except Exception as error:  # zarr raises many kinds of exceptions
        raise UserError(
            f"{path}: is neither a model bundle (it has no {BUNDLE.checksums}) nor a readable zarr folder."
        ) from error
    return _in_tree(root, path)


def _in_tree(root: Any, path: Path) -> Any:
    try:
        uns = root.get("uns")
        found = uns.get(UNS.annotation) if hasattr(uns, "keys") else None
        content = None if found is None else read_elem(found)
    except Exception as error:  # h5py, zarr and anndata raise many kinds of exceptions
        why = one_line(error)
        raise UserError(f"{path}: {_WHERE} cannot be read; the file is damaged ({why}).") from error
    if found is None:
        raise UserError(f"{path}: has no {_WHERE}; {_NOT_OURS}.")
    return content


def _in_parquet(path: Path) -> Any:
    try:
        metadata = parquet.read_schema(path).metadata or {}
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: is not a readable Parquet file; it is cut short or damaged ({error}).") from error
    text = metadata.get(UNS.annotation.encode())
    if text is None:
        raise UserError(f"{path}: its schema has no metadata {UNS.annotation!r}; {_NOT_OURS}.")
    try:
        return json.loads(text)
    except ValueError as error:
        raise UserError(
            f"{path}: the metadata {UNS.annotation!r} of its schema are not valid JSON ({error})."
        ) from error


def _starts_with(path: Path, prefix: bytes) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(len(prefix)) == prefix
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error


def _model_lineage(annotation: dict[str, Any]) -> dict[str, Any]:
    reference, version = annotation["model"], str(annotation.get("model_version", ""))
    if is_reference(reference) and version.isdecimal():
        # The alias may have moved since; the version was recorded.
        return _of_registered(str(Reference(parse_reference(reference).name, version=int(version))), annotation)
    if not Path(reference).is_dir():
        raise UserError(f"{reference or 'the model'}: was not a registered model, and there is no such folder here.")
    bundle = read_bundle(Path(reference))
    if bundle.identity != annotation.get("model_identity", bundle.identity):
        raise UserError(f"{reference}: is not the model that labelled this file (its identity is another).")
    return {"model": reference, "lineage": bundle.lineage}


def _of_registered(wanted: str, annotation: dict[str, Any]) -> dict[str, Any]:
    """Look the model up by version; if that version is deleted or another model, by identity under any name."""
    identity = annotation.get("model_identity")
    refusal = UserError(f"{wanted}: is not the model that labelled this file (its identity is another).")
    try:
        version, tags = tags_of_version(wanted)
        if identity is None or tags.get(VERSION_TAGS.identity, identity) == identity:
            return _of_version(version)
    except UserError as error:
        if not _is_absence(error):
            raise
        refusal = UserError(
            f"the registry no longer has {wanted} ({str(error).rstrip('.')}); `annotation` shows what the file "
            "itself records about the model."
        )
    elsewhere = version_with_identity(str(identity)) if identity else None
    if elsewhere is None:
        raise refusal
    return _of_version(elsewhere)


def _of_version(version: str) -> dict[str, Any]:
    name, lineage = lineage_of_version(version)
    return {"model": name, "lineage": lineage, "decisions": decisions_on(name)}


def _is_absence(error: UserError) -> bool:
    """Whether the registry reported that the model does not exist, rather than not responding at all."""
    return getattr(error.__cause__, "error_code", None) == "RESOURCE_DOES_NOT_EXIST"


def _plain(value: Any) -> Any:
    """NumPy values as plain Python values."""
    if isinstance(value, Mapping):
        return {str(key): _plain(member) for key, member in value.items()}
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
