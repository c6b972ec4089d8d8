"""From the labels in a file back to the model that gave them."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from anndata.io import read_elem

from sctransformer._constants import UNS
from sctransformer.errors import UserError
from sctransformer.export.bundle import read_bundle
from sctransformer.registry.models import lineage_of_version, tags_of_version, version_with_identity
from sctransformer.registry.names import VERSION_TAGS
from sctransformer.registry.references import Reference, is_reference, parse_reference


def lineage_of_file(path: Path) -> dict[str, Any]:
    """What an annotated h5ad says of its labels, and the lineage of the model, where the registry still has it.

    Only `uns["sctransformer"]` is read, however large the file.

    Returns:
        `annotation`: the content of that field. `lineage`: of the model; or `lineage_not_found`: why it is not there.

    Raises:
        UserError: the file is no HDF5, or was not annotated by sctransformer.
    """
    try:
        with h5py.File(path, "r") as file:
            if UNS.annotation not in file.get("uns", {}):
                raise UserError(f"{path}: has no uns[{UNS.annotation!r}]; it was not annotated by sctransformer.")
            content = read_elem(file["uns"][UNS.annotation])
    except OSError as error:
        raise UserError(f"{path}: is not a readable h5ad file; it is cut short or damaged ({error}).") from error
    annotation = {key: _plain(value) for key, value in content.items()}
    try:
        return {"annotation": annotation, "lineage": _model_lineage(annotation)}
    except UserError as error:
        return {"annotation": annotation, "lineage_not_found": str(error)}


def _model_lineage(annotation: dict[str, Any]) -> dict[str, Any]:
    reference, version = str(annotation.get("model", "")), str(annotation.get("model_version", ""))
    if is_reference(reference) and version.isdecimal():
        # The alias may have moved since; the version that it stood for was written down.
        return _of_registered(str(Reference(parse_reference(reference).name, version=int(version))), annotation)
    if Path(reference).is_dir():
        bundle = read_bundle(Path(reference))
    else:
        raise UserError(f"{reference or 'the model'}: was no registered model, and is no folder here.")
    if bundle.identity != annotation.get("model_identity", bundle.identity):
        raise UserError(f"{reference}: is not the model that labelled this file (its identity is another).")
    return bundle.lineage


def _of_registered(wanted: str, annotation: dict[str, Any]) -> dict[str, Any]:
    """By number; and where that version is gone or is another model, by identity under any name."""
    identity = annotation.get("model_identity")
    try:
        version, tags = tags_of_version(wanted)
        if identity is None or tags.get(VERSION_TAGS.identity, identity) == identity:
            return lineage_of_version(version)[1]
        refusal = UserError(f"{wanted}: is not the model that labelled this file (its identity is another).")
    except UserError as error:
        refusal = error
    elsewhere = version_with_identity(str(identity)) if identity else None
    if elsewhere is None:
        raise refusal
    return lineage_of_version(elsewhere)[1]


def _plain(value: Any) -> Any:
    """NumPy's values as Python's own, for JSON and for people."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
