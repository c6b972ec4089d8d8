"""The prior-biased Transformer: attention along a network, in two directions."""

import importlib
from typing import TYPE_CHECKING, Any

from sctransformer.model.config import ModelConfig

if TYPE_CHECKING:
    from sctransformer.model.activity import ActivityTransformer
    from sctransformer.model.transformer import PriorBiasedTransformer

    Model = PriorBiasedTransformer | ActivityTransformer

__all__ = ["ActivityTransformer", "Model", "ModelConfig", "PriorBiasedTransformer"]


def __getattr__(name: str) -> Any:
    """Import torch only when a model is asked for: reading settings must not take its seconds."""
    if name == "PriorBiasedTransformer":
        return importlib.import_module("sctransformer.model.transformer").PriorBiasedTransformer
    if name == "ActivityTransformer":
        return importlib.import_module("sctransformer.model.activity").ActivityTransformer
    if name == "Model":
        return __getattr__("PriorBiasedTransformer") | __getattr__("ActivityTransformer")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
