"""`sctransformer verify`: whether a bundle is what it was when it was written, and can score."""

from pathlib import Path
from typing import Annotated

import typer

from sctransformer.errors import UserError


def verify(
    bundle: Annotated[str, typer.Argument(help="Folder of a bundle, or a model: celltype@champion, celltype/7.")],
) -> None:
    """Compare every file of a bundle with its checksums, hold its files against one another, and score one cell."""
    from sctransformer.annotation.session import require_scorable
    from sctransformer.export.bundle import read_bundle

    folder = Path(bundle)
    if folder.is_dir():
        found = read_bundle(folder)
    else:
        from sctransformer.registry.references import is_reference

        if not is_reference(bundle):
            raise UserError(f"{bundle}: no such folder, and no model reference such as celltype@champion.")
        from sctransformer.registry.models import resolve

        found = read_bundle(resolve(bundle, anew=True).folder)
    require_scorable(found)
    print(f"{bundle}: every file matches its checksum (identity {found.identity[:12]}).")
