"""params.yaml, typed: every parameter of the pipeline with its meaning and its default."""

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sctransformer.errors import UserError

Weight = Annotated[float, Field(gt=0.0, le=1.0)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataParams(_Section):
    """Which cells, and how their columns are called."""

    cells: Path = Path("data/embedded/pbmc68k_reduced.h5ad")
    """An h5ad with raw counts in X."""
    label_column: str = "cell_type"
    """Column of obs with the cell type of each cell."""
    library_size_column: str | None = "library_size"
    """Column of obs with the counts of the whole cell; null: the sum of X (right only if X holds every gene)."""
    new_cells_fraction: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share of each cell type that is kept back, without labels, as the cells to annotate at the end."""


class ValidateParams(_Section):
    """Limits that the Great Expectations suites check."""

    min_cells: int = Field(default=50, ge=2)
    min_cells_per_class: int = Field(default=5, ge=3)
    """Train, validation and test each need one cell of every class, so never under 3."""
    min_genes_per_cell: int = Field(default=1, ge=1)
    max_unlabelled_fraction: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Largest share of cells without a label."""
    min_edges_in_cells: int = Field(default=1, ge=1)
    """Fewest edges of the network with both ends among the genes of the cells."""


class PrepareParams(_Section):
    """Gene panel and splits."""

    gene_budget: int = Field(default=1024, ge=2)
    """Most genes in the panel."""
    validation_fraction: float = Field(default=0.15, gt=0.0, lt=1.0)
    test_fraction: float = Field(default=0.25, gt=0.0, lt=1.0)


class PriorParams(_Section):
    """Which network, and what its edges weigh."""

    network: Path = Path("src/sctransformer/prior/immune_network.tsv")
    """A tab-separated table: regulator, target, sign (1, -1), confidence (high, medium, low)."""
    confidence: dict[str, Weight] = {"high": 1.0, "medium": 0.7, "low": 0.4}
    """Weight of each confidence level that the network's table may name."""
    min_coverage: float = Field(default=0.05, ge=0.0, le=1.0)
    """Least share of the panel's genes that must have a regulator."""


class ModelParams(_Section):
    """The prior-biased Transformer."""

    mode: Literal["mask"] = "mask"
    """How the network shapes attention; `mask`: closed unless the network has the edge."""
    width: int = Field(default=32, ge=4)
    """Length of a token."""
    depth: int = Field(default=1, ge=1)
    """Regulation layers."""
    heads: int = Field(default=4, ge=1)
    """Attention heads of a regulation layer; divides the width."""
    feedforward: int = Field(default=64, ge=1)
    """Inner width of a layer's feed-forward block."""
    readout_heads: int = Field(default=32, ge=1)
    """Heads with which the cell token reads all genes."""
    embedding: int = Field(default=64, ge=2)
    """Length of the cell embedding."""


class TrainParams(_Section):
    """Optimisation, and the workers it runs on."""

    workers: int = Field(default=2, ge=1)
    """Ray Train workers; the result does not depend on their number beyond float32 noise."""
    gpus: bool = False
    """One GPU a worker (NCCL) instead of CPUs (gloo)."""
    epochs: int = Field(default=20, ge=1)
    batch_size: int = Field(default=64, ge=1)
    """Cells a step, over all workers."""
    lr: float = Field(default=1e-3, gt=0.0)
    """Highest learning rate."""
    warmup_fraction: float = Field(default=0.1, ge=0.0, le=1.0)
    """Share of the steps over which the learning rate rises; it then falls along a cosine."""
    weight_decay: float = Field(default=0.01, ge=0.0)
    gene_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of a training cell's genes whose counts are hidden, drawn anew each step."""
    label_smoothing: float = Field(default=0.05, ge=0.0, lt=1.0)
    class_weight_power: float = Field(default=0.5, ge=0.0, le=1.0)
    """A class of frequency f weighs f**-power: 0 none, 0.5 square root, 1 balanced."""
    clip_norm: float = Field(default=1.0, gt=0.0)
    """Largest norm of the gradient."""
    max_restarts: int = Field(default=3, ge=0)
    """How often lost workers are replaced before the run fails."""


class EvaluateParams(_Section):
    """What evaluation chooses on validation cells."""

    rejection_error: float = Field(default=0.05, gt=0.0, lt=1.0)
    """Share of wrong labels tolerated among accepted validation cells; sets the rejection threshold."""
    baseline_folds: int = Field(default=5, ge=2)
    """Folds of the inner cross-validation that chooses C of the logistic regression."""


class ExportParams(_Section):
    """The ONNX graph."""

    opset: int = Field(default=23, ge=23)
    """23 is the first opset with the standard Attention operator."""
    parity_tolerance: float = Field(default=1e-5, gt=0.0)
    """Largest difference of a probability between torch and onnxruntime."""


class RegisterParams(_Section):
    """The registry."""

    name: str = Field(default="celltype", pattern=r"^[A-Za-z0-9_.-]+$")
    """Name of the registered model."""


class Params(_Section):
    """All of params.yaml."""

    seed: int = Field(default=0, ge=0)
    data: DataParams = DataParams()
    validation: ValidateParams = Field(default=ValidateParams(), alias="validate")
    prepare: PrepareParams = PrepareParams()
    prior: PriorParams = PriorParams()
    model: ModelParams = ModelParams()
    train: TrainParams = TrainParams()
    evaluate: EvaluateParams = EvaluateParams()
    export: ExportParams = ExportParams()
    registration: RegisterParams = Field(default=RegisterParams(), alias="register")


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read and check a parameter file.

    Raises:
        UserError: the file is absent, is not YAML, or a parameter is unknown or out of its range.
    """
    try:
        content = yaml.safe_load(path.read_text()) or {}
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; run from the project's folder.") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path}: is not valid YAML ({' '.join(str(error).split())}).") from error
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path}: parameter {field} is {first.get('input')!r}: {first['msg']}.") from error
