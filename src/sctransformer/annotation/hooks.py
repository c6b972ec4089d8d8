"""What a scheduled job adds to the annotation of a file."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sctransformer.annotation.reading import CheckedCells


@dataclass(frozen=True)
class Hooks:
    """Checks before scoring and flags after it."""

    check: Callable[[CheckedCells], dict[str, Any]] = lambda read: {}
    """Called before scoring; its result is kept in the summary. A UserError stops the annotation of the file."""
    flag: Callable[[dict[str, Any]], dict[str, Any]] = lambda profile: {}
    """Called with the profile of the cells; its result is written with the labels."""
    decisive: dict[str, Any] = field(default_factory=dict)
    """JSON of the settings of both; the output is written again when they change."""


NO_HOOKS = Hooks()
