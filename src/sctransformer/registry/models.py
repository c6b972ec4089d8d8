"""Registered models: a bundle becomes a version once, and a version becomes a verified bundle on this machine."""

import hashlib
import json
import logging
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import mlflow.artifacts
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.entities.model_registry import RegisteredModel as RegisteredModelEntity
from mlflow.exceptions import MlflowException
from mlflow.utils.file_utils import local_file_uri_to_path

from sctransformer._constants import BUNDLE
from sctransformer.errors import UserError
from sctransformer.export.bundle import Bundle, read_bundle
from sctransformer.files import atomic_write, sha256_file
from sctransformer.registry.aliases import aliases_in
from sctransformer.registry.card import shortened
from sctransformer.registry.names import ALIASES, LONGEST_DESCRIPTION, MODELS_EXPERIMENT, VERSION_TAGS
from sctransformer.registry.packaging import BUNDLE_IN_MODEL, save_model
from sctransformer.registry.references import Reference, parse_reference, require_model_name
from sctransformer.tracking.runs import require_run
from sctransformer.tracking.store import connect, database_file, experiment_id, one_sentence, redact_credentials

logger = logging.getLogger(__name__)

_ABSENT = "RESOURCE_DOES_NOT_EXIST"
_GONE = (_ABSENT, "NOT_FOUND", "INVALID_PARAMETER_VALUE")
"""What MLflow says of artifacts that are not there any more."""


@dataclass(frozen=True)
class RegisteredModel:
    """A version that holds a bundle."""

    name: str
    version: int
    identity: str
    """Of the bundle."""
    created: bool
    """False: the same bundle was registered before."""


@dataclass(frozen=True)
class ResolvedModel:
    """A version found in the registry, and its bundle on this machine."""

    folder: Path
    """The bundle. Read only: it may be the registry's own copy."""
    name: str
    version: int
    tags: dict[str, str]

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


@one_sentence
def register_bundle(bundle_folder: Path, name: str, run_id: str | None = None) -> RegisteredModel:
    """Make a bundle a version of a registered model, and give that version the alias `candidate`.

    A bundle that a version of the model holds already, file for file, is not registered again. The same weights with
    other evidence (lineage, figures, parity) are a version of their own: its gates may say something else. So is a
    bundle of which the store has lost or changed a file; a warning then names the version that held it.

    Args:
        bundle_folder: a bundle.
        name: of the model; created if it is not there.
        run_id: the run that trained it. A run that this store does not have is only noted in a tag.

    Raises:
        UserError: the bundle is damaged, the name is not allowed, or the store cannot be used.
    """
    require_model_name(name)
    identity, digest = read_bundle(bundle_folder).identity, _digest(bundle_folder)
    client = connect()
    version = _version_with(client, name, identity, digest)
    created = version is None
    if version is None:
        version = _create_version(client, bundle_folder, name, digest, run_id)
        if version.run_id:
            _tag_run(client, version)
    client.set_registered_model_alias(name, ALIASES.candidate, str(version.version))
    return RegisteredModel(name, int(version.version), identity, created)


@one_sentence
def resolve(reference: str, anew: bool = False) -> ResolvedModel:
    """Find a version and bring its bundle here, verified.

    Args:
        reference: `NAME@ALIAS` or `NAME/VERSION`, also with `models:/` in front.
        anew: look into the store also where a good download is kept here.

    Raises:
        UserError: there is no such model, alias or version (the sentence says what there is), its artifacts are gone,
            or the bundle does not match its checksums or the version's tags.
    """
    wanted = parse_reference(reference)
    client = connect(must_exist=True)
    version = find_version(client, wanted)
    found = _fetch(client, version, anew)
    _require_registered(read_bundle(found.folder), version)
    return found


def bundle_of(client: MlflowClient, version: ModelVersion) -> Bundle | str:
    """The bundle of a version as the store has it now, verified; or why it cannot be trusted.

    Raises:
        MlflowException: the store is gone.
    """
    if VERSION_TAGS.identity not in version.tags:
        return f"{version.name}/{version.version}: was not registered as a bundle"
    try:
        bundle = read_bundle(_fetch(client, version, anew=True).folder)
        _require_registered(bundle, version)
    except (UserError, OSError, ValueError, KeyError) as error:
        return str(error)
    except MlflowException as error:
        if error.error_code not in _GONE:  # a store that does not answer says nothing against the bundle
            raise
        return str(error.message).splitlines()[0]
    return bundle


@one_sentence
def version_of(reference: str) -> tuple[str, int]:
    """Name and number of the version behind a reference; nothing is downloaded.

    Raises:
        UserError: as `resolve` for what is not there.
    """
    wanted = parse_reference(reference)
    version = find_version(connect(must_exist=True), wanted)
    return version.name, int(version.version)


@one_sentence
def lineage_of_version(reference: str) -> tuple[str, dict[str, Any]]:
    """Name and lineage of a version from its tags alone, whatever became of run and artifacts; nothing is downloaded.

    A version without that tag, of an earlier release, is asked through its bundle.

    Raises:
        UserError: as `resolve` for what is not there.
    """
    version = find_version(connect(must_exist=True), parse_reference(reference))
    content = version.tags.get(VERSION_TAGS.lineage)
    name = f"{version.name}/{version.version}"
    return name, json.loads(content) if content else read_bundle(resolve(name).folder).lineage


@one_sentence
def tags_of_version(reference: str) -> tuple[str, dict[str, str]]:
    """`NAME/VERSION` and the tags of the version behind a reference.

    Raises:
        UserError: as `resolve` for what is not there.
    """
    version = find_version(connect(must_exist=True), parse_reference(reference))
    return f"{version.name}/{version.version}", dict(version.tags)


@one_sentence
def version_with_identity(identity: str) -> str | None:
    """A registered version that holds this bundle, under whatever name; None: there is none."""
    found = connect(must_exist=True).search_model_versions(f"tags.{VERSION_TAGS.identity} = '{identity}'")
    return f"{found[0].name}/{found[0].version}" if found else None


def find_version(client: MlflowClient, reference: Reference) -> ModelVersion:
    """The version behind a reference.

    Raises:
        UserError: there is no such model, alias or version; the sentence says what there is.
    """
    name = reference.name
    model = require_model(client, name)
    wanted = reference.version
    if reference.alias is not None:
        # Looked up here and not by MLflow, which takes `latest` for the newest version, whatever it is.
        aliases = aliases_in(model)
        if reference.alias not in aliases:
            there = ", ".join(f"{alias} = {version}" for alias, version in aliases.items()) or "none"
            raise UserError(f"model {name!r} has no alias {reference.alias!r} (aliases: {there}).")
        wanted = aliases[reference.alias]
    try:
        return client.get_model_version(name, str(wanted))
    except MlflowException as error:
        if error.error_code != _ABSENT:
            raise
        versions = sorted(int(version.version) for version in client.search_model_versions(f"name = '{name}'"))
        there = ", ".join(map(str, versions)) or "none"
        raise UserError(f"model {name!r} has no version {wanted} (versions: {there}).") from error


def require_model(client: MlflowClient, name: str) -> RegisteredModelEntity:
    """The registered model of a name.

    Raises:
        UserError: the name could be no model's, or there is none; the sentence says what there is.
    """
    require_model_name(name)
    try:
        return client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != _ABSENT:
            raise
        names = ", ".join(sorted(model.name for model in client.search_registered_models())) or "none"
        raise UserError(
            f"{redact_credentials(client.tracking_uri)}: has no model {name!r} (models: {names})."
        ) from error


def _fetch(client: MlflowClient, version: ModelVersion, anew: bool = False) -> ResolvedModel:
    """The bundle of a version on this machine, not verified: the registry's own folder, or a cached download.

    Raises:
        UserError: the artifacts are gone.
    """
    name, number = version.name, int(version.version)
    location = client.get_model_version_download_uri(name, str(number))
    if urlparse(location).scheme in ("", "file"):
        folder = Path(local_file_uri_to_path(location)) / BUNDLE_IN_MODEL
    else:
        folder = _cache_folder(location)
        if anew or not _is_whole(folder, version):
            _download(client, location, folder)
    if not (folder / BUNDLE.checksums).is_file():
        raise UserError(f"{folder}: holds no bundle, so {name}/{number} cannot be used; register the model again.")
    return ResolvedModel(folder, name, number, dict(version.tags))


def _digest(folder: Path) -> str:
    """Of all that a bundle holds, for checksums.txt lists every file; also of what `Bundle.identity` leaves out."""
    return sha256_file(folder / BUNDLE.checksums)


def _require_registered(bundle: Bundle, version: ModelVersion) -> None:
    """A folder whose checksums fit may still be another bundle than the one that became this version."""
    tags = version.tags
    if bundle.identity == tags.get(VERSION_TAGS.identity, bundle.identity):
        digest = _digest(bundle.folder)
        if digest == tags.get(VERSION_TAGS.digest, digest):
            return
    raise UserError(
        f"{bundle.folder}: is not the bundle that was registered as {version.name}/{version.version}, files were "
        "replaced in the store; restore them from a backup, or register the bundle again."
    )


def _version_with(client: MlflowClient, name: str, identity: str, digest: str) -> ModelVersion | None:
    """The newest version that holds this very bundle, and still does."""
    found = client.search_model_versions(f"name = '{name}' and tags.{VERSION_TAGS.identity} = '{identity}'")
    for version in sorted(found, key=lambda one: int(one.version), reverse=True):
        if version.tags.get(VERSION_TAGS.digest, digest) != digest:
            continue
        stored = bundle_of(client, version)
        if isinstance(stored, str):
            logger.warning(
                "%s/%s held this bundle, but the store has not kept it whole (%s); it becomes a new version.",
                name,
                version.version,
                stored.rstrip("."),
            )
        elif _digest(stored.folder) == digest:
            return version
    return None


def _create_version(client: MlflowClient, source: Path, name: str, digest: str, run_id: str | None) -> ModelVersion:
    linked = run_id if run_id is not None and _has_run(run_id) else None
    experiment = client.get_run(linked).info.experiment_id if linked else experiment_id(client, MODELS_EXPERIMENT)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        bundle = save_model(source, folder)
        card = (bundle.folder / BUNDLE.card).read_text()
        if _digest(bundle.folder) != digest:
            raise UserError(f"{source}: changed while it was being registered; try again when nothing writes to it.")
        model = client.create_logged_model(experiment, name=name, source_run_id=linked, model_type="bundle")
        try:
            client.log_model_artifacts(model.model_id, str(folder))
        except BaseException:
            client.finalize_logged_model(model.model_id, "FAILED")
            raise
        tags = _tags(bundle, digest, run_id)
        client.finalize_logged_model(model.model_id, "READY")
    try:  # last, so that nothing is left under the name where the upload fails
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    # Without a run, a database store would look the logged model up through MLflow's global URI, which may be another.
    known = linked is not None or database_file(client.tracking_uri) is None
    return client.create_model_version(
        name,
        source=model.artifact_location,
        run_id=linked,
        tags=tags,
        description=shortened(card, LONGEST_DESCRIPTION),
        model_id=model.model_id if known else None,
    )


def _tags(bundle: Bundle, digest: str, run_id: str | None) -> dict[str, str]:
    lineage: dict[str, Any] = bundle.lineage
    git = lineage.get("git") or {}
    content = {
        VERSION_TAGS.identity: bundle.identity,
        VERSION_TAGS.digest: digest,
        VERSION_TAGS.lineage: json.dumps(lineage, sort_keys=True),
        VERSION_TAGS.git_patch: git.get("patch_sha256"),
        VERSION_TAGS.who: lineage.get("who"),
        VERSION_TAGS.when: lineage.get("when"),
        VERSION_TAGS.git_commit: git.get("commit"),
        VERSION_TAGS.git_dirty: git.get("dirty"),
        VERSION_TAGS.dvc_lock: lineage.get("dvc_lock_sha256"),
        VERSION_TAGS.data: lineage.get("data_sha256"),
        VERSION_TAGS.prior: lineage.get("prior_sha256"),
        VERSION_TAGS.run_id: run_id or lineage.get("run_id"),
        VERSION_TAGS.macro_f1: (bundle.metrics.get("test") or {}).get("macro_f1"),
    }
    texts = {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in content.items()}
    return {key: text for key, text in texts.items() if content[key] is not None}


def _tag_run(client: MlflowClient, version: ModelVersion) -> None:
    """Lineage on the run too, where MLflow shows it beside the curves; the whole of it is the run's lineage.json."""
    for key in (
        VERSION_TAGS.git_commit,
        VERSION_TAGS.git_dirty,
        VERSION_TAGS.git_patch,
        VERSION_TAGS.dvc_lock,
        VERSION_TAGS.data,
        VERSION_TAGS.prior,
        VERSION_TAGS.identity,
    ):
        if key in version.tags:
            client.set_tag(version.run_id, key, version.tags[key])


def _has_run(run_id: str) -> bool:
    try:
        require_run(run_id)
    except UserError as error:
        logger.warning("%s The model is registered without a link to its run.", error)
        return False
    return True


def _cache_folder(location: str) -> Path:
    # MLflow gives every model a location of its own, so it names the content.
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "sctransformer" / "bundles" / hashlib.sha256(location.encode()).hexdigest()[:32]


def _is_whole(folder: Path, version: ModelVersion) -> bool:
    try:
        _require_registered(read_bundle(folder), version)
    except (UserError, OSError):
        return False
    return True


def _download(client: MlflowClient, location: str, folder: Path) -> None:
    with atomic_write(folder) as target, tempfile.TemporaryDirectory() as temporary:
        uri = f"{location.rstrip('/')}/{BUNDLE_IN_MODEL}"
        found = mlflow.artifacts.download_artifacts(
            artifact_uri=uri, dst_path=temporary, tracking_uri=client.tracking_uri
        )
        shutil.copytree(found, target)
