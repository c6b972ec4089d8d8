"""`sctransformer register`: a bundle becomes a version of a registered model."""

from pathlib import Path
from typing import Annotated

import typer


def register(
    bundle: Annotated[Path, typer.Option(help="Folder of the bundle.")] = Path("outputs/bundle"),
    name: Annotated[str, typer.Option(help="Name of the registered model.")] = "celltype",
) -> None:
    """Register a bundle in MLflow as the candidate; the same bundle is never registered twice."""
    from sctransformer.export.bundle import read_bundle
    from sctransformer.registry.models import register_bundle

    run_id = read_bundle(bundle).lineage.get("run_id")
    registered = register_bundle(bundle, name, run_id)
    state = "registered" if registered.created else "was registered before"
    print(f"{registered.name}/{registered.version}: {state}; it is {registered.name}@candidate now.")
