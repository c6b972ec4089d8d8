"""References to registered models: NAME@ALIAS or NAME/VERSION, optionally with the prefix `models:/`."""

import re
from dataclasses import dataclass

from sctransformer.errors import UserError
from sctransformer.registry.names import ALIASES

_NAME = re.compile(r"[A-Za-z0-9_-]+")  # MLflow does not allow '.' in the name of a logged model
_ALIAS = re.compile(r"[\w-]+", re.ASCII)
_VERSION = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True)
class Reference:
    """A model name with either an alias or a version."""

    name: str
    alias: str | None = None
    version: int | None = None

    def __str__(self) -> str:
        return f"{self.name}@{self.alias}" if self.alias is not None else f"{self.name}/{self.version}"


def parse_reference(text: str) -> Reference:
    """Parse a reference. `NAME/champion` means `NAME@champion`, and likewise for the other aliases of the registry.

    Raises:
        UserError: the text is not a reference.
    """
    bare = text.removeprefix("models:/")
    name, at, alias = bare.partition("@")
    if at and _NAME.fullmatch(name) and _ALIAS.fullmatch(alias):
        return Reference(name, alias=alias)
    name, slash, version = bare.rpartition("/")
    if slash and _NAME.fullmatch(name) and _VERSION.fullmatch(version):
        return Reference(name, version=int(version))
    if slash and _NAME.fullmatch(name) and version in ALIASES:  # only these words: outputs/bundle is a folder
        return Reference(name, alias=version)
    raise UserError(f"{text!r}: is not a model reference; write NAME@ALIAS, for example celltype@champion, or NAME/7.")


def is_reference(text: str) -> bool:
    """Whether the text is a reference."""
    try:
        parse_reference(text)
    except UserError:
        return False
    return True


def require_model_name(name: str) -> None:
    """Check the name of a model.

    Raises:
        UserError: the name contains a character that is not allowed in references.
    """
    if not _NAME.fullmatch(name):
        raise UserError(f"{name!r}: is not a model name; use letters, digits, '_' and '-'.")
