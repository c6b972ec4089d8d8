"""Models in MLflow: registration, gates, promotions and their ledger, lineage, model cards.

from sctransformer import registry

registry.register()
registry.promote("celltype@candidate", reason="new donors")
registry.open_model("celltype@champion").bundle
"""

import importlib
from typing import TYPE_CHECKING, Any

import sctransformer.tracking  # noqa: F401  sets MLflow's environment before any module of this package imports mlflow

if TYPE_CHECKING:
    from sctransformer.registry.opened_model import OpenedModel
    from sctransformer.registry.opening import open_model
    from sctransformer.registry.promotion import promote
    from sctransformer.registry.registration import RegisteredModel, register
    from sctransformer.registry.rollbacks import rollback

__all__ = ["OpenedModel", "RegisteredModel", "open_model", "promote", "register", "rollback"]

_MODULES = {
    "OpenedModel": "opened_model",
    "RegisteredModel": "registration",
    "open_model": "opening",
    "promote": "promotion",
    "register": "registration",
    "rollback": "rollbacks",
}


def __getattr__(name: str) -> Any:
    """Import a function when it is first used: MLflow takes seconds to import."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
