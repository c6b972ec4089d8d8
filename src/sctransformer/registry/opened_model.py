"""A model that is ready to use: its verified bundle, and the registered version it belongs to."""

from dataclasses import dataclass, field
from pathlib import Path

from sctransformer.export.bundle import Bundle

UNREGISTERED = "unregistered"
"""Version of a bundle that is not in the registry."""


@dataclass(frozen=True)
class OpenedModel:
    """A verified bundle, and the registered version it belongs to, if any."""

    bundle: Bundle
    name: str | None = None
    """Name of the registered model; None for a bundle opened by its folder."""
    version: int | None = None
    tags: dict[str, str] = field(default_factory=dict)
    """Tags of the registered version."""

    @property
    def folder(self) -> Path:
        """Folder of the bundle. Read only: it may be the registry's own copy."""
        return self.bundle.folder

    @property
    def version_text(self) -> str:
        """The version as written to annotated files."""
        return UNREGISTERED if self.version is None else str(self.version)

    def __str__(self) -> str:
        return str(self.folder) if self.name is None else f"{self.name}/{self.version}"
