"""The shape of a model: everything that must be known to build one, apart from its tensors."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

PriorMode = Literal["mask"]


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of a prior-biased Transformer.

    Raises:
        ValueError: a size that no model can have.
    """

    n_genes: int
    """G: genes of the vocabulary, regulators first."""
    n_regulators: int
    """R: the first R genes of the vocabulary are regulators, the keys of every regulation layer."""
    n_classes: int
    """C: cell types."""
    mode: PriorMode = "mask"
    """How the network shapes attention; `mask`: a gene reads its regulators and the sink, nothing else."""
    width: int = 32
    """D: length of a token."""
    depth: int = 1
    """Number of regulation layers."""
    heads: int = 4
    """H: attention heads of a regulation layer."""
    feedforward: int = 64
    """Inner width of the feed-forward block of a layer."""
    readout_heads: int = 32
    """Heads with which the cell token reads all genes."""
    embedding: int = 64
    """E: length of the cell embedding."""

    def __post_init__(self) -> None:
        if not 1 <= self.n_regulators <= self.n_genes:
            raise ValueError(f"n_regulators is {self.n_regulators}; it must lie in 1..n_genes ({self.n_genes})")
        if self.n_classes < 2:
            raise ValueError(f"n_classes is {self.n_classes}; a classifier needs at least 2")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)
