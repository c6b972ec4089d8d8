"""The shape of a model: everything that must be known to build one, apart from its tensors."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, get_args

PriorMode = Literal["mask", "bias", "regulators", "dense"]
"""How the network shapes attention, see `ModelConfig.mode`."""


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of a prior-biased Transformer.

    Raises:
        ValueError: a size that no model can have.
    """

    n_genes: int
    """G: genes of the vocabulary, regulators first."""
    n_regulators: int
    """R: the first R genes of the vocabulary are regulators."""
    n_classes: int
    """C: cell types."""
    mode: PriorMode = "mask"
    """`mask`: a gene reads its regulators and the sink, nothing else (the paper's). `bias`: it reads all regulators,
    those that the network gives it more readily: confidence times a learned strength a head and layer is added to the
    score, activating and repressing edges on different heads. `regulators`: it reads all regulators, the edges of the
    network are not used. `dense`: it reads all genes, the standard Transformer."""
    width: int = 8
    """D: length of a token."""
    depth: int = 1
    """Number of regulation layers."""
    heads: int = 2
    """H: attention heads of a regulation layer."""
    feedforward: int = 16
    """Inner width of the feed-forward block of a layer."""
    readout_heads: int = 8
    """Heads with which the cell token reads all genes."""
    embedding: int = 128
    """E: length of the cell embedding."""

    def __post_init__(self) -> None:
        if not 1 <= self.n_regulators <= self.n_genes:
            raise ValueError(f"n_regulators is {self.n_regulators}; it must lie in 1..n_genes ({self.n_genes})")
        if self.mode not in get_args(PriorMode):
            raise ValueError(f"mode is {self.mode!r}; expected one of {', '.join(get_args(PriorMode))}")
        if self.n_classes < 2:
            raise ValueError(f"n_classes is {self.n_classes}; a classifier needs at least 2")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")

    @property
    def n_keys(self) -> int:
        """K: how many genes can be read in a regulation layer, the first K of the vocabulary."""
        return self.n_genes if self.mode == "dense" else self.n_regulators

    @property
    def uses_edges(self) -> bool:
        """Whether attention depends on the network's edges, and not only on which genes are regulators."""
        return self.mode in ("mask", "bias")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)
