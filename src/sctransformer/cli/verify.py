"""`sctransformer verify`: check that a bundle is unchanged and can score cells."""

from typing import Annotated

import typer


def verify(
    bundle: Annotated[
        str,
        typer.Argument(metavar="FOLDER|MODEL", help="Folder of a bundle, or a model: celltype@champion, celltype/7."),
    ],
) -> None:
    """Compare every file of a bundle with its checksum, check that its files agree, and score one cell."""
    from sctransformer.annotation.session import require_scorable
    from sctransformer.registry.opening import open_model

    found = open_model(bundle, refetch=True).bundle
    require_scorable(found)
    print(f"{bundle}: every file matches its checksum (identity {found.identity[:12]}).")
