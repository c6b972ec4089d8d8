"""From what a person calls a model to its verified bundle: a bundle's folder, NAME@ALIAS or NAME/VERSION."""

import os
from dataclasses import replace
from pathlib import Path

from sctransformer.errors import UserError
from sctransformer.export.bundle import read_bundle
from sctransformer.registry.lookup import look_up
from sctransformer.registry.opened_model import OpenedModel
from sctransformer.registry.references import is_reference, parse_reference


def open_model(reference: str | Path, *, refetch: bool = False) -> OpenedModel:
    """Open a model and verify every file of its bundle. MLflow is imported only where `lookup` has no answer.

    Args:
        reference: a bundle's folder, `NAME@ALIAS` or `NAME/VERSION`.
        refetch: fetch the bundle from the registry even if a valid download is in the cache.

    Raises:
        UserError: the model does not exist, or its bundle is damaged.

    Examples:
        >>> open_model("celltype@champion").version  # doctest: +SKIP
        7
    """
    if not isinstance(reference, str | os.PathLike):
        raise UserError(
            f"a model is given by a bundle's folder, NAME@ALIAS or NAME/VERSION, not by a {type(reference).__name__}."
        )
    if _is_folder(reference):
        return OpenedModel(read_bundle(Path(reference)))
    if isinstance(reference, Path) or not is_reference(reference):
        raise UserError(
            f"{reference}: no such folder, and not a model reference; give the folder of a bundle, NAME@ALIAS, for "
            "example celltype@champion, or NAME/VERSION."
        )
    looked_up = None if refetch else look_up(parse_reference(reference))
    if looked_up is not None and looked_up.is_here():
        found = looked_up.open()
    else:
        from sctransformer.registry.models import resolve  # MLflow takes seconds to import

        found = resolve(reference, refetch=refetch)
    return replace(found, bundle=replace(found.bundle, opened_as=str(reference)))


def _is_folder(reference: str | Path) -> bool:
    try:
        return Path(reference).is_dir()
    except (OSError, ValueError):  # a name that is too long, or holds a null character
        return False
