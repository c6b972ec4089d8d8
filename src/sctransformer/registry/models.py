"""Registered models: finding a version, and fetching and verifying its bundle."""

import json
from typing import Any

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.entities.model_registry import RegisteredModel as RegisteredModelEntity
from mlflow.exceptions import MlflowException

from sctransformer.errors import UserError
from sctransformer.export.bundle import Bundle
from sctransformer.registry.aliases import aliases_in
from sctransformer.registry.names import VERSION_TAGS
from sctransformer.registry.opened_model import OpenedModel
from sctransformer.registry.references import Reference, parse_reference, require_model_name
from sctransformer.registry.stored_bundle import StoredVersion
from sctransformer.tracking.location import redact_credentials
from sctransformer.tracking.store import connect, one_sentence

_ABSENT = "RESOURCE_DOES_NOT_EXIST"
_GONE = (_ABSENT, "NOT_FOUND", "INVALID_PARAMETER_VALUE")
"""Error codes of MLflow for artifacts that no longer exist."""


@one_sentence
def resolve(reference: str, refetch: bool = False) -> OpenedModel:
    """Find a version, and fetch and verify its bundle.

    Args:
        reference: `NAME@ALIAS` or `NAME/VERSION`, optionally with the prefix `models:/`.
        refetch: fetch the bundle from the store even if a valid download is in the cache.

    Raises:
        UserError: the model, alias or version does not exist (the message lists those that do), its artifacts are gone,
            or the bundle does not match its checksums or the tags of the version.
    """
    client = connect(must_exist=True)
    return _stored(client, find_version(client, parse_reference(reference))).open(refetch)


def bundle_of(client: MlflowClient, version: ModelVersion) -> Bundle | str:
    """The bundle of a version, fetched from the store and verified; or the reason why it cannot be trusted.

    Raises:
        MlflowException: the store cannot be reached.
    """
    if VERSION_TAGS.identity not in version.tags:
        return f"{version.name}/{version.version}: was not registered as a bundle"
    try:
        return _stored(client, version).bundle(refetch=True)
    except (UserError, OSError, ValueError, KeyError) as error:
        return str(error)
    except MlflowException as error:
        if error.error_code not in _GONE:  # a store that does not respond is no evidence against the bundle
            raise
        return str(error.message).splitlines()[0]


@one_sentence
def lineage_of_version(reference: str) -> tuple[str, dict[str, Any]]:
    """Name and lineage of a version, from its tags: run and artifacts may be deleted, and nothing is downloaded.

    Versions of earlier releases have no such tag; their bundle is read instead.

    Raises:
        UserError: the version does not exist.
    """
    version = find_version(connect(must_exist=True), parse_reference(reference))
    content = version.tags.get(VERSION_TAGS.lineage)
    name = f"{version.name}/{version.version}"
    return name, json.loads(content) if content else resolve(name).bundle.lineage


@one_sentence
def tags_of_version(reference: str) -> tuple[str, dict[str, str]]:
    """`NAME/VERSION` and the tags of the version that a reference names.

    Raises:
        UserError: the version does not exist.
    """
    version = find_version(connect(must_exist=True), parse_reference(reference))
    return f"{version.name}/{version.version}", dict(version.tags)


@one_sentence
def version_with_identity(identity: str) -> str | None:
    """A registered version that holds the bundle with this identity, under any name; None if there is none."""
    found = connect(must_exist=True).search_model_versions(f"tags.{VERSION_TAGS.identity} = '{identity}'")
    return f"{found[0].name}/{found[0].version}" if found else None


@one_sentence
def version_of_run(run_id: str) -> str | None:
    """The newest registered version that a run trained, under any name; None if there is none."""
    found = connect(must_exist=True).search_model_versions(f"tags.{VERSION_TAGS.run_id} = '{run_id}'")
    newest = max(found, key=lambda one: int(one.creation_timestamp), default=None)
    return None if newest is None else f"{newest.name}/{newest.version}"


def find_version(client: MlflowClient, reference: Reference) -> ModelVersion:
    """The version that a reference names.

    Raises:
        UserError: the model, alias or version does not exist; the message lists those that do.
    """
    name = reference.name
    model = require_model(client, name)
    wanted = reference.version
    if reference.alias is not None:
        # Not looked up by MLflow, which resolves `latest` to the newest version of any kind.
        aliases = aliases_in(model)
        if reference.alias not in aliases:
            existing = ", ".join(f"{alias} = {version}" for alias, version in aliases.items()) or "none"
            raise UserError(f"model {name!r} has no alias {reference.alias!r} (aliases: {existing}).")
        wanted = aliases[reference.alias]
    try:
        return client.get_model_version(name, str(wanted))
    except MlflowException as error:
        if error.error_code != _ABSENT:
            raise
        versions = sorted(int(version.version) for version in client.search_model_versions(f"name = '{name}'"))
        existing = ", ".join(map(str, versions)) or "none"
        raise UserError(f"model {name!r} has no version {wanted} (versions: {existing}).") from error


def require_model(client: MlflowClient, name: str) -> RegisteredModelEntity:
    """The registered model with this name.

    Raises:
        UserError: the name is not allowed, or no model has it; the message lists the models that exist.
    """
    require_model_name(name)
    try:
        return client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != _ABSENT:
            raise
        names = ", ".join(sorted(model.name for model in client.search_registered_models()))
        found = f"(models: {names})." if names else "or any other; `sctransformer register` stores one after training."
        raise UserError(f"{redact_credentials(client.tracking_uri)}: has no model {name!r} {found}") from error


def _stored(client: MlflowClient, version: ModelVersion) -> StoredVersion:
    name, number = version.name, int(version.version)
    location = client.get_model_version_download_uri(name, str(number))
    return StoredVersion(client.tracking_uri, name, number, dict(version.tags), location)
