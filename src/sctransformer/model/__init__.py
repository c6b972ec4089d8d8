"""The prior-biased Transformer: tokens, attention, regulation layers, readout. Imports torch and numpy only."""

from sctransformer.model.config import ModelConfig
from sctransformer.model.transformer import PriorBiasedTransformer

__all__ = ["ModelConfig", "PriorBiasedTransformer"]
