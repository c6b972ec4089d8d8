"""How a model is trained: everything that must be known to repeat a run, apart from the cells."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainConfig:
    """Optimisation of a prior-biased Transformer.

    Raises:
        ValueError: a value with which no run can start.
    """

    seed: int = 0
    """Of the first weights, the order of cells and the hidden genes."""
    epochs: int = 20
    batch_size: int = 64
    """Cells a step, over all workers."""
    lr: float = 1e-3
    """Highest learning rate."""
    warmup_fraction: float = 0.1
    """Share of the steps over which the learning rate rises linearly; it then falls along a cosine to zero."""
    weight_decay: float = 0.01
    gene_dropout: float = 0.0
    """Share of a training cell's genes whose counts are hidden, drawn anew each step."""
    label_smoothing: float = 0.05
    class_weight_power: float = 0.5
    """A class of frequency f weighs f**-power: 0 none, 0.5 square root, 1 balanced."""
    clip_norm: float = 1.0
    """Largest norm of the gradient."""

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1:
            raise ValueError(f"epochs ({self.epochs}) and batch_size ({self.batch_size}) must be at least 1")
        if not 0.0 <= self.gene_dropout < 1.0:
            raise ValueError(f"gene_dropout is {self.gene_dropout}; it must lie in [0, 1)")
