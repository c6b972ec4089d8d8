"""The bundle of a registered version: where it is stored, fetching it, and checking that it is what was registered.

MLflow is imported only to download.
"""

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

from sctransformer._constants import BUNDLE
from sctransformer.errors import UserError
from sctransformer.export.bundle import Bundle, read_bundle
from sctransformer.files import atomic_write, sha256_file
from sctransformer.registry.names import BUNDLE_ARTIFACT, VERSION_TAGS
from sctransformer.registry.opened_model import OpenedModel
from sctransformer.tracking.location import database_file
from sctransformer.tracking.relocation import local_path, own_location

BUNDLE_IN_MODEL = f"artifacts/{BUNDLE_ARTIFACT}"
"""Path of the bundle in the folder of the model."""


@dataclass(frozen=True)
class StoredVersion:
    """What a store records about a version that is needed to open it."""

    store: str
    """URI of the store."""
    name: str
    version: int
    tags: dict[str, str]
    location: str
    """URI or path of the model's folder."""

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"

    def open(self, refetch: bool = False) -> OpenedModel:
        """Fetch and verify the bundle, see `bundle`."""
        return OpenedModel(self.bundle(refetch), self.name, self.version, self.tags)

    def bundle(self, refetch: bool = False) -> Bundle:
        """Fetch and verify the bundle.

        Args:
            refetch: fetch it from the store even if a valid download is in the cache.

        Raises:
            UserError: the artifacts are gone, or the bundle does not match its checksums or the tags of the version.
            MlflowException: the artifacts cannot be downloaded.
        """
        bundle = read_bundle(self._folder(refetch))
        self._require_registered(bundle)
        return bundle

    def is_here(self) -> bool:
        """Whether the bundle can be opened without a download; a cached download is verified for this."""
        return _is_local(self.location) or self._is_valid(_cache_folder(self.location))

    def _folder(self, refetch: bool) -> Path:
        """Folder of the bundle on this machine: the registry's own, or a cached download. Not verified yet."""
        if _is_local(self.location):
            folder = (local_path(self.location) or Path(self.location)) / BUNDLE_IN_MODEL
            database = database_file(self.store)
            folder = folder if database is None else own_location(database, folder)
        else:
            folder = _cache_folder(self.location)
            if refetch or not self._is_valid(folder):
                self._download(folder)
        if not (folder / BUNDLE.checksums).is_file():
            raise UserError(f"{folder}: contains no bundle, so {self} cannot be used; register the model again.")
        return folder

    def _require_registered(self, bundle: Bundle) -> None:
        """Check that a bundle, whose own checksums match, is the one that was registered as this version."""
        if bundle.identity == self.tags.get(VERSION_TAGS.identity, bundle.identity):
            digest = bundle_digest(bundle.folder)
            if digest == self.tags.get(VERSION_TAGS.digest, digest):
                return
        raise UserError(
            f"{bundle.folder}: is not the bundle that was registered as {self}, files were replaced in the store; "
            "restore them from a backup, or register the bundle again."
        )

    def _is_valid(self, folder: Path) -> bool:
        try:
            self._require_registered(read_bundle(folder))
        except (UserError, OSError):
            return False
        return True

    def _download(self, folder: Path) -> None:
        import mlflow.artifacts  # seconds

        with atomic_write(folder) as target, tempfile.TemporaryDirectory() as temporary:
            uri = f"{self.location.rstrip('/')}/{BUNDLE_IN_MODEL}"
            found = mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=temporary, tracking_uri=self.store)
            shutil.copytree(found, target)


def _is_local(location: str) -> bool:
    return urlparse(location).scheme in ("", "file")


def bundle_digest(folder: Path) -> str:
    """SHA-256 over all files of a bundle, including those that `Bundle.identity` leaves out."""
    return sha256_file(folder / BUNDLE.checksums)


def _cache_folder(location: str) -> Path:
    # MLflow gives every model its own location, so the location identifies the content.
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "sctransformer" / "bundles" / hashlib.sha256(location.encode()).hexdigest()[:32]
