"""The shape of a model: everything needed to build one, apart from its tensors."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from sctransformer.settings import Settings

PriorMode = Literal["mask", "bias", "regulators", "dense"]
Direction = Literal["targets", "regulators"]


class ModelSettings(Settings):
    """Attention mode and layer sizes of a prior-biased Transformer."""

    mode: PriorMode = "mask"
    """How the network shapes attention. `mask` (the paper's): a gene attends to its regulators in the network and to
    the sink. `bias`: a gene attends to all regulators; for an edge of the network, confidence times a learned strength
    per head and layer is added to the score, with activating and repressing edges on different heads. `regulators`: a
    gene attends to all regulators; the edges are not used. `dense`: a gene attends to all genes, as in a standard
    Transformer."""
    direction: Direction = "regulators"
    """Who attends to whom. `targets`: regulators attend to their targets, which gives their activity, and genes to
    regulators; computed along the edges of the network. `regulators`: genes attend to their regulators alone; `width`,
    `heads`, `feedforward` and `readout_heads` are the sizes of these layers. A regulator's own mRNA says little of its
    targets, its targets say much of its activity. With `mode` dense, genes attend to genes in either case."""
    factors: int = Field(default=16, ge=0)
    """Number of unnamed factors beside the regulators that predict hidden genes in training, with direction
    `targets`."""
    width: int = Field(default=8, ge=4)
    """D: length of a token; a multiple of `heads`."""
    depth: int = Field(default=1, ge=1)
    """L: number of regulation layers."""
    heads: int = Field(default=2, ge=1)
    """H: attention heads per regulation layer."""
    feedforward: int = Field(default=16, ge=1)
    """Inner width of the feed-forward block of a layer."""
    readout_heads: int = Field(default=8, ge=1)
    """Attention heads with which the cell token reads all genes."""
    embedding: int = Field(default=128, ge=2)
    """E: length of the cell embedding."""

    @model_validator(mode="after")
    def _require_whole_heads(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self

    @property
    def by_edge(self) -> bool:
        """Whether regulators attend to their targets, along the edges of the network."""
        return self.direction == "targets" and self.mode != "dense"

    @property
    def uses_edges(self) -> bool:
        """Whether attention depends on the network's edges, and not only on which genes are regulators."""
        return self.mode in ("mask", "bias")


class ModelConfig(ModelSettings):
    """All sizes of a prior-biased Transformer.

    Raises:
        ValueError: the sizes do not fit together.
    """

    n_genes: int
    """G: genes of the panel, regulators first."""
    n_regulators: int = Field(ge=1)
    """R: number of regulators. With direction `regulators` they are the first R genes of the panel."""
    n_classes: int = Field(ge=2)
    """C: cell types."""

    @model_validator(mode="after")
    def _require_regulators_in_panel(self) -> Self:
        if self.n_regulators > self.n_genes and not self.by_edge:
            raise ValueError(f"n_regulators is {self.n_regulators}; expected at most n_genes ({self.n_genes})")
        return self

    @property
    def n_keys(self) -> int:
        """K: number of genes that a regulation layer attends to, the first K of the panel."""
        return self.n_genes if self.mode == "dense" else self.n_regulators

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return self.model_dump()
