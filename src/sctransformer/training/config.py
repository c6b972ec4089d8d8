"""How a model is trained: everything that must be known to repeat a run, apart from the cells."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, get_args

Start = Literal["principal", "random"]
"""Where training begins, see `TrainConfig.start`."""
Finetune = Literal["all", "frozen"]
"""What the supervised phase changes, see `TrainConfig.finetune`."""

SHARED_BY_PHASES = ("seed", "start", "warmup_fraction", "clip_norm", "hidden_share")
"""What shapes pretraining, beside the parameters whose names begin with `pretrain_`."""


@dataclass(frozen=True)
class TrainConfig:
    """Optimisation of a prior-biased Transformer: pretraining on all cells, then classification of the labelled ones.

    Raises:
        ValueError: a value with which no run can start.
    """

    seed: int = 0
    """Of the first weights, the order of cells and the hidden genes."""
    start: Start = "principal"
    """`principal`: the embedding begins as the principal components of all training cells, labelled or not
    (`training.principal_start`); `random`: it does not."""
    epochs: int = 5
    """Of classification."""
    min_steps: int = 100
    """Classification takes at least so many steps: with few cells an epoch goes over them several times."""
    batch_size: int = 64
    """Cells a step, over all workers."""
    lr: float = 1e-3
    """Highest learning rate of all weights but the classifier's."""
    head_lr: float = 3e-2
    """Highest learning rate of the classifier, which begins at nothing while the embedding begins at something."""
    layer_lr: float | None = None
    """Highest learning rate of the regulation layers in classification; None: `lr`. They begin at nothing too, and at
    the rate of weights that begin at something, what regulators add to a gene stays small."""
    warmup_fraction: float = 0.1
    """Share of a phase's steps over which the learning rate rises linearly; it then falls along a cosine to zero."""
    weight_decay: float = 0.01
    gene_dropout: float = 0.0
    """Share of a training cell's genes of which the model is told nothing, drawn anew each step."""
    thinning: float = 0.0
    """Largest share of a training cell's counts that is taken away, drawn anew each step: the cell as less deep
    sequencing would have seen it (`training.thinning`)."""
    label_smoothing: float = 0.05
    class_weight_power: float = 0.5
    """A class of frequency f weighs f**-power: 0 none, 0.5 square root, 1 balanced."""
    head_penalty: float = 0.1
    """Weight of the squared norm of the classifier's weights, over twice the number of labelled cells: 1/C of logistic
    regression. Unlike weight decay, which AdamW applies beside the gradient, it is part of the objective: of directions
    of the embedding that separate types alike, those that vary most are used."""
    clip_norm: float = 1.0
    """Largest norm of the gradient."""
    patience: int = 0
    """Classification ends after so many epochs without a better one on validation cells; 0: it never ends early."""
    pretrain_epochs: int = 0
    """Of masked expression on all training cells, labelled or not, before classification."""
    pretrain_batch_size: int = 32
    pretrain_lr: float = 3e-4
    pretrain_weight_decay: float = 0.01
    hidden_share: float = 0.3
    """Share of a cell's genes whose expression is hidden and predicted, drawn anew each step."""
    finetune: Finetune = "all"
    """What classification changes: all weights, or (`frozen`) the classifier alone."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "pretrain_batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("pretrain_epochs", "patience", "min_steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative")
        if not 0.0 <= self.gene_dropout < 1.0:
            raise ValueError(f"gene_dropout is {self.gene_dropout}; it must lie in [0, 1)")
        if not 0.0 <= self.thinning < 1.0:
            raise ValueError(f"thinning is {self.thinning}; it must lie in [0, 1)")
        if not 0.0 < self.hidden_share < 1.0:
            raise ValueError(f"hidden_share is {self.hidden_share}; it must lie in (0, 1)")
        for name in ("lr", "head_lr", "layer_lr", "pretrain_lr"):
            if getattr(self, name) is not None and getattr(self, name) <= 0.0:
                raise ValueError(
                    f"{name} is {getattr(self, name)}; it must be above 0 (finetune 'frozen' keeps weights as they are)"
                )
        if self.head_penalty < 0.0:
            raise ValueError(f"head_penalty is {self.head_penalty}; it must not be negative")
        if self.finetune not in get_args(Finetune):
            raise ValueError(f"finetune is {self.finetune!r}; expected one of {', '.join(get_args(Finetune))}")
        for name in ("gene_dropout", "thinning"):
            if self.finetune == "frozen" and getattr(self, name) > 0.0:
                raise ValueError(
                    f"finetune is 'frozen' and {name} {getattr(self, name)}: cells are embedded once, as they are; "
                    f"set {name} to 0"
                )
        if self.start not in get_args(Start):
            raise ValueError(f"start is {self.start!r}; expected one of {', '.join(get_args(Start))}")
        if self.finetune == "frozen" and self.pretrain_epochs == 0 and self.start == "random":
            raise ValueError(
                "finetune is 'frozen', pretrain_epochs is 0 and start is 'random': the classifier would learn from "
                "random weights"
            )

    def of_pretraining(self) -> dict[str, Any]:
        """The parameters on which the pretrained weights depend."""
        own = dataclasses.asdict(self)
        return {name: own[name] for name in own if name.startswith("pretrain_") or name in SHARED_BY_PHASES}
