"""The prior-biased Transformer: tokens, attention, regulation layers, readout."""

from typing import TYPE_CHECKING, Any

from sctransformer.model.config import ModelConfig

if TYPE_CHECKING:
    from sctransformer.model.transformer import PriorBiasedTransformer

__all__ = ["ModelConfig", "PriorBiasedTransformer"]


def __getattr__(name: str) -> Any:
    """Import torch only when the network is asked for: reading settings must not take its seconds."""
    if name == "PriorBiasedTransformer":
        from sctransformer.model.transformer import PriorBiasedTransformer

        return PriorBiasedTransformer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
