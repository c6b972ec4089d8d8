"""What the gates look at, taken from registered versions. A bundle that cannot be had is evidence against itself."""

from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from sctransformer.errors import UserError
from sctransformer.export.bundle import read_bundle
from sctransformer.registry.gates import Evidence
from sctransformer.registry.models import fetch
from sctransformer.registry.names import VERSION_TAGS


def evidence_of(client: MlflowClient, version: ModelVersion) -> Evidence:
    """Contents of a version's bundle. One that cannot be had or read is damaged; a store that is gone is an error."""
    folder: Path | None = None
    try:
        folder = fetch(client, version).folder
        bundle = read_bundle(folder)
    except (UserError, OSError, ValueError, KeyError) as error:
        return Evidence(damage=str(error))
    except MlflowException as error:
        if error.error_code == "TEMPORARILY_UNAVAILABLE":
            raise
        return Evidence(damage=str(error.message).splitlines()[0])
    registered = version.tags.get(VERSION_TAGS.identity)
    if registered != bundle.identity:
        return Evidence(damage=f"{folder}: is not the bundle that was registered")
    return Evidence(metrics=bundle.metrics, parity=bundle.parity, lineage=bundle.lineage)
