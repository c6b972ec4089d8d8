"""How people name a registered model: NAME@ALIAS or NAME/VERSION, with or without `models:/` in front."""

import re
from dataclasses import dataclass

from sctransformer.errors import UserError
from sctransformer.registry.names import ALIASES

_NAME = re.compile(r"[A-Za-z0-9_-]+")  # MLflow takes no '.' in the name of what it logs
_ALIAS = re.compile(r"[\w-]+", re.ASCII)
_VERSION = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True)
class Reference:
    """One of alias and version is set."""

    name: str
    alias: str | None = None
    version: int | None = None

    def __str__(self) -> str:
        return f"{self.name}@{self.alias}" if self.alias is not None else f"{self.name}/{self.version}"


def parse_reference(text: str) -> Reference:
    """Take a reference apart. `NAME/champion` is taken for `NAME@champion`, and so are the registry's other aliases.

    Raises:
        UserError: it is none.
    """
    bare = text.removeprefix("models:/")
    name, at, alias = bare.partition("@")
    if at and _NAME.fullmatch(name) and _ALIAS.fullmatch(alias):
        return Reference(name, alias=alias)
    name, slash, version = bare.rpartition("/")
    if slash and _NAME.fullmatch(name) and _VERSION.fullmatch(version):
        return Reference(name, version=int(version))
    if slash and _NAME.fullmatch(name) and version in ALIASES:  # no other word: outputs/bundle is a folder
        return Reference(name, alias=version)
    raise UserError(f"{text!r}: is no model reference; write NAME@ALIAS, for example celltype@champion, or NAME/7.")


def is_reference(text: str) -> bool:
    """Whether `parse_reference` takes it."""
    try:
        parse_reference(text)
    except UserError:
        return False
    return True


def require_model_name(name: str) -> None:
    """Check the name of a model to be.

    Raises:
        UserError: it has a character that a reference could not hold.
    """
    if not _NAME.fullmatch(name):
        raise UserError(f"{name!r}: is no name for a model; use letters, digits, '_' and '-'.")
