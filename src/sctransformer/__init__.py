"""The prior-biased Transformer for single-cell RNA-seq, from versioned data to scheduled annotation."""

__version__ = "0.1.0"
