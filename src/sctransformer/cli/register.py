"""`sctransformer register`: a bundle becomes a version of a registered model."""

from pathlib import Path
from typing import Annotated

import typer

from sctransformer import layout
from sctransformer.cli.options import option_for
from sctransformer.export.settings import RegistrationSettings


def register(
    bundle: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder of the bundle.")] = layout.BUNDLE_FOLDER,
    name: Annotated[str, option_for(RegistrationSettings, "name")] = RegistrationSettings.model_construct().name,
) -> None:
    """Register a bundle in MLflow as the candidate; the same bundle is never registered twice."""
    from sctransformer import registry

    registered = registry.register(bundle=bundle, name=name)
    state = "registered" if registered.created else "was already registered"
    print(f"{registered.name}/{registered.version}: {state}; it is now {registered.name}@candidate.")
