"""Registration: a bundle becomes a version of a registered model, once."""

import json
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from sctransformer import layout
from sctransformer._constants import BUNDLE
from sctransformer.errors import UserError
from sctransformer.export.bundle import Bundle, read_bundle
from sctransformer.registry.card import renamed, shortened
from sctransformer.registry.models import bundle_of
from sctransformer.registry.names import ALIASES, LONGEST_DESCRIPTION, MODELS_EXPERIMENT, VERSION_TAGS
from sctransformer.registry.packaging import save_model
from sctransformer.registry.references import require_model_name
from sctransformer.registry.stored_bundle import bundle_digest
from sctransformer.tracking.location import database_file
from sctransformer.tracking.runs import require_run
from sctransformer.tracking.store import connect_to_write, experiment_id, one_sentence

logger = logging.getLogger(__name__)

DEFAULT_NAME = "celltype"


@dataclass(frozen=True)
class RegisteredModel:
    """A registered version."""

    name: str
    version: int
    identity: str
    """Identity of the bundle."""
    created: bool
    """False if the same bundle was registered before."""


def register(
    run: str | None = None, *, bundle: Path = layout.BUNDLE_FOLDER, name: str = DEFAULT_NAME
) -> RegisteredModel:
    """Register the bundle of a training run as the candidate; the same bundle is not registered twice.

    Args:
        run: ID of the run that must have trained the bundle; None accepts the bundle of any run.
        bundle: folder of the bundle.
        name: of the registered model; it is created if it does not exist.

    Raises:
        UserError: the bundle is damaged or of another run, the name is not allowed, or the store cannot be used.
    """
    trained_by = read_bundle(bundle).lineage.get("run_id")
    if run is not None and run != trained_by:
        raise UserError(
            f"{bundle}: was trained by run {trained_by}, not by {run}; `sctransformer train` with the parameters of "
            "that run restores its bundle from DVC's cache, or register the bundle without naming a run."
        )
    return register_bundle(bundle, name, trained_by)


@one_sentence
def register_bundle(bundle_folder: Path, name: str, run_id: str | None = None) -> RegisteredModel:
    """Create a version of a registered model from a bundle, and give it the alias `candidate`.

    If a version of the model already holds the same files, no version is created. The same weights with other evidence
    (lineage, metrics, parity) become a new version, because its gates may come out differently. So does a bundle of
    which the store has lost or changed a file; a warning names the version that held it.

    Args:
        bundle_folder: a bundle.
        name: of the registered model; it is created if it does not exist.
        run_id: the run that trained it. A run that is not in this store is recorded as a tag only.

    Raises:
        UserError: the bundle is damaged, the name is not allowed, or the store cannot be used.
    """
    require_model_name(name)
    identity, digest = read_bundle(bundle_folder).identity, bundle_digest(bundle_folder)
    client = connect_to_write()
    version = _version_with(client, name, identity, digest)
    created = version is None
    if version is None:
        version = _create_version(client, bundle_folder, name, digest, run_id)
        if version.run_id:
            _tag_run(client, version)
    client.set_registered_model_alias(name, ALIASES.candidate, str(version.version))
    return RegisteredModel(name, int(version.version), identity, created)


def _version_with(client: MlflowClient, name: str, identity: str, digest: str) -> ModelVersion | None:
    """The newest version that holds the same files, if they are still intact in the store."""
    found = client.search_model_versions(f"name = '{name}' and tags.{VERSION_TAGS.identity} = '{identity}'")
    for version in sorted(found, key=lambda one: int(one.version), reverse=True):
        if version.tags.get(VERSION_TAGS.digest, digest) != digest:
            continue
        stored = bundle_of(client, version)
        if isinstance(stored, str):
            logger.warning(
                "%s/%s held this bundle, but its files in the store are damaged (%s); it becomes a new version.",
                name,
                version.version,
                stored.rstrip("."),
            )
        elif bundle_digest(stored.folder) == digest:
            return version
    return None


def _create_version(client: MlflowClient, source: Path, name: str, digest: str, run_id: str | None) -> ModelVersion:
    linked = run_id if run_id is not None and _has_run(run_id) else None
    experiment = client.get_run(linked).info.experiment_id if linked else experiment_id(client, MODELS_EXPERIMENT)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        bundle = save_model(source, folder)
        card = (bundle.folder / BUNDLE.card).read_text()
        if bundle_digest(bundle.folder) != digest:
            raise UserError(f"{source}: changed while it was being registered; try again when nothing writes to it.")
        model = client.create_logged_model(experiment, name=name, source_run_id=linked, model_type="bundle")
        try:
            client.log_model_artifacts(model.model_id, str(folder))
        except BaseException:
            client.finalize_logged_model(model.model_id, "FAILED")
            raise
        tags = _tags(bundle, digest, run_id)
        client.finalize_logged_model(model.model_id, "READY")
    try:  # last, so that a failed upload leaves no empty model behind
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    # Without a run, a database store looks the logged model up through MLflow's global URI, which may be another one.
    known = linked is not None or database_file(client.tracking_uri) is None
    return client.create_model_version(
        name,
        source=model.artifact_location,
        run_id=linked,
        tags=tags,
        description=shortened(renamed(card, name), LONGEST_DESCRIPTION),
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
    """Copy the main lineage tags to the run, where MLflow shows them beside the curves."""
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
