"""What the gates look at, taken from registered versions. A bundle that cannot be had is evidence against itself."""

from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from sctransformer.errors import UserError
from sctransformer.export.bundle import Bundle, read_bundle
from sctransformer.registry.gates import Comparison, Evidence
from sctransformer.registry.models import fetch
from sctransformer.registry.names import VERSION_TAGS
from sctransformer.registry.rescoring import TestCells, rescored

_GONE = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "INVALID_PARAMETER_VALUE")
"""What MLflow says of artifacts that are not there any more."""


def evidence_of(bundle: Bundle | str) -> Evidence:
    """What the gates look at in what `bundle_of` gave."""
    if isinstance(bundle, str):
        return Evidence(damage=bundle)
    return Evidence(
        metrics=bundle.metrics,
        parity=bundle.parity,
        lineage=bundle.lineage,
        config=bundle.config,
        labels=tuple(bundle.labels["name"]),
        megabytes=sum(path.stat().st_size for path in bundle.folder.iterdir()) / 1e6,
    )


def compared(one: Bundle | str, other: Bundle | str, cells: TestCells) -> Comparison:
    """Score candidate and champion on the test cells that the candidate's figures were measured on."""
    if isinstance(one, str) or isinstance(other, str):
        return Comparison(refusal="not compared: a bundle is damaged")
    if one.metrics.get("test_cells_sha256") != cells.sha256:
        return Comparison(
            refusal=f"not compared: {cells.path} does not hold the test cells that the candidate was measured on"
        )
    try:
        return Comparison(rescored(one, other, cells))
    except UserError as error:
        return Comparison(refusal=f"not compared: {error}")


def bundle_of(client: MlflowClient, version: ModelVersion) -> Bundle | str:
    """The bundle of a version, verified; or why it cannot be trusted.

    Raises:
        MlflowException: the store is gone.
    """
    folder: Path | None = None
    try:
        folder = fetch(client, version).folder
        bundle = read_bundle(folder)
    except (UserError, OSError, ValueError, KeyError) as error:
        return str(error)
    except MlflowException as error:
        if error.error_code not in _GONE:  # a store that does not answer says nothing against the bundle
            raise
        return str(error.message).splitlines()[0]
    registered = version.tags.get(VERSION_TAGS.identity)
    if registered != bundle.identity:
        return f"{folder}: is not the bundle that was registered"
    return bundle
