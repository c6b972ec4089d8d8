"""What decides the result of training, apart from the cells and the model."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from sctransformer.settings import Seeded, Settings

Start = Literal["principal", "random"]
Finetune = Literal["all", "frozen"]


class BothPhases(Settings):
    """Optimisation in pretraining and in classification."""

    start: Start = "principal"
    """Initial weights. `principal`: the embedding starts as the principal components of all training cells, labelled
    or not (`training.pca_init`); `random`: at random."""
    warmup_fraction: float = Field(default=0.1, ge=0.0, le=1.0)
    """Fraction of a phase's steps over which the learning rate rises linearly; it then falls along a cosine to zero."""
    clip_norm: float = Field(default=1.0, gt=0.0)
    """Largest norm of the gradient."""


class PretrainingSettings(Settings):
    """Optimisation in pretraining: masked expression, before classification."""

    pretrain_epochs: int = Field(default=0, ge=0)
    """Epochs of pretraining on all training cells, labelled or not; 0: no pretraining."""
    pretrain_min_steps: int = Field(default=0, ge=0)
    """Least number of steps of pretraining: with few cells, an epoch passes over them several times."""
    pretrain_batch_size: int = Field(default=32, ge=1)
    """Cells per step in pretraining, over all workers."""
    pretrain_lr: float = Field(default=3e-4, gt=0.0)
    """Highest learning rate in pretraining."""
    pretrain_weight_decay: float = Field(default=0.01, ge=0.0)
    """AdamW's weight decay in pretraining."""
    hidden_share: float = Field(default=0.3, gt=0.0, lt=1.0)
    """Fraction of a cell's genes that are masked and predicted in pretraining, resampled at each step."""


class ClassificationSettings(Settings):
    """Optimisation in classification of the labelled cells."""

    epochs: int = Field(default=5, ge=1)
    """Epochs of classification."""
    min_steps: int = Field(default=100, ge=0)
    """Least number of steps of classification: with few cells, an epoch passes over them several times."""
    batch_size: int = Field(default=64, ge=1)
    """Cells per step, over all workers."""
    lr: float = Field(default=1e-3, gt=0.0)
    """Highest learning rate of all weights except the classifier's."""
    head_lr: float = Field(default=3e-2, gt=0.0)
    """Highest learning rate of the classifier, which starts at zero while the embedding does not."""
    layer_lr: float | None = Field(default=None, gt=0.0)
    """Highest learning rate of the regulation layers in classification; if not given, `lr`. They start at zero too, and
    with the learning rate of weights that do not, the regulators' contribution to a gene stays small."""
    weight_decay: float = Field(default=0.01, ge=0.0)
    """AdamW's weight decay."""
    head_penalty: float = Field(default=0.1, ge=0.0)
    """Weight of the squared norm of the classifier's weights, over twice the number of labelled cells: 1/C of logistic
    regression. Unlike weight decay, which AdamW applies beside the gradient, it is part of the objective: of several
    directions of the embedding that separate types equally well, it favours those with the largest variance."""
    gene_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Fraction of a training cell's genes that are masked, resampled at each step."""
    thinning: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Largest fraction of a training cell's counts that is removed, resampled at each step, as if the cell had been
    sequenced less deeply (`training.thinning`)."""
    label_smoothing: float = Field(default=0.05, ge=0.0, lt=1.0)
    """Label smoothing of the cross-entropy."""
    class_weight_power: float = Field(default=0.5, ge=0.0, le=1.0)
    """A class of frequency f has the weight f**-power in the loss: 0 none, 0.5 square root, 1 balanced."""
    patience: int = Field(default=0, ge=0)
    """Classification stops after this number of epochs without improvement on validation cells; 0: never early."""
    finetune: Finetune = "all"
    """Which weights classification changes: `all`, or (`frozen`) only those of the classifier."""


class Optimisation(ClassificationSettings, PretrainingSettings, BothPhases):
    """Optimisation of a prior-biased Transformer: pretraining on all cells, then classification of the labelled ones.

    Raises:
        ValueError: the settings exclude one another.
    """

    @model_validator(mode="after")
    def _require_sense_in_frozen(self) -> Self:
        if self.finetune != "frozen":
            return self
        for name in ("gene_dropout", "thinning"):
            if getattr(self, name) > 0.0:
                raise ValueError(
                    f"finetune is 'frozen' and {name} {getattr(self, name)}: cells are embedded once, unchanged; "
                    f"set {name} to 0"
                )
        if not self.pretrain_epochs and self.start == "random":
            raise ValueError(
                "finetune is 'frozen', pretrain_epochs is 0 and start is 'random': the classifier would learn from "
                "random weights; set start to 'principal' or pretrain_epochs above 0"
            )
        return self


class TrainConfig(Optimisation, Seeded):
    """Everything needed to repeat a run, apart from the cells and the model."""

    prior_strength: float = Field(default=0.0, ge=0.0)
    """Weight of the mean squared departure of the edges from the network; `prior.strength` in params.yaml."""

    def of_pretraining(self) -> dict[str, Any]:
        """The parameters on which the pretrained weights depend."""
        kinds: tuple[type[Settings], ...] = (Seeded, BothPhases, PretrainingSettings)
        names = {name for kind in kinds for name in kind.model_fields}
        return self.model_dump(include={*names, "prior_strength"})
