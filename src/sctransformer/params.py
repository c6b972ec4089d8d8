"""params.yaml, typed: every parameter of the pipeline with its meaning and its default."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML

from sctransformer._constants import Variant
from sctransformer.errors import UserError
from sctransformer.typed_yaml import first_problem, read_yaml

Weight = Annotated[float, Field(gt=0.0, le=1.0)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataParams(_Section):
    """Which cells, and how their columns are called. An entry of data/catalogue.yaml sets most of these at once."""

    name: str = "pbmc68k"
    """Name of the dataset, for people."""
    cells: Path = Path("data/example/pbmc68k_reduced.h5ad")
    """An h5ad file or a zarr folder with raw counts."""
    counts: str | None = None
    """Where the raw counts stand: `X`, `raw.X` or the name of a layer; null: they are looked for."""
    gene_column: str | None = None
    """Column of var with symbols or Ensembl ids, or `var_names`; null: it is recognised."""
    gene_map: Path = Path("data/example/gene_map.csv")
    """Table of Ensembl ids and symbols; GENCODE v44, as CellTypist's package carries it."""
    label_column: str = "cell_type"
    """Column of obs with the cell type of each cell."""
    donor_column: str | None = None
    """Column of obs with the donor or batch of each cell; null: `donor_id` where there is one."""
    library_size_column: str | None = "library_size"
    """Column of obs with the counts of the whole cell; null: `library_size` where there is one, else the row sums,
    which are right only if every gene is there."""
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
    min_matched_share: float = Field(default=0.05, ge=0.0, le=1.0)
    """Of network and cells, the one with fewer genes must share at least so many of them with the other: less, and the
    two name genes differently."""
    min_regulated_share: float = Field(default=0.01, ge=0.0, le=1.0)
    """Warn under this share of the cells' genes with a regulator among them."""
    min_symbol_share: float = Field(default=0.5, ge=0.0, le=1.0)
    """Warn under this share of gene names that look like symbols."""
    max_mitochondrial_share: float = Field(default=0.2, ge=0.0, le=1.0)
    """A cell with a larger share of mitochondrial counts is suspect; warn when more than one in twenty are."""
    min_cells_per_donor: int = Field(default=10, ge=1)
    """Warn of donors with fewer cells."""
    min_classes_per_donor: int = Field(default=2, ge=1)
    """Warn of donors with fewer cell types."""


class PrepareParams(_Section):
    """Gene panel and splits."""

    gene_budget: int = Field(default=2048, ge=2)
    """Most genes in the panel."""
    split: Literal["auto", "stratified", "donor", "table"] = "auto"
    """By cell type, by donor, or as `split_table` says; auto: the table if one is named, else by donor if there are
    donors, else by cell type."""
    split_table: Path | None = None
    """Parquet, CSV or TSV in data/splits: cells and their side, see `sctransformer.data.split_table`."""
    shared_donors: bool = False
    """Whether a donor may have cells in test and in training; refused unless true."""
    validation_fraction: float = Field(default=0.15, gt=0.0, lt=1.0)
    test_fraction: float = Field(default=0.25, gt=0.0, lt=1.0)
    label_fraction: float = Field(default=1.0, gt=0.0, le=1.0)
    """Share of each type's training cells that keep their label, at least two."""


class PriorParams(_Section):
    """Which network, and what its edges weigh."""

    network: Path = Path("src/sctransformer/prior/immune_network.tsv")
    """A tab-separated table: regulator, target, sign (1, -1, 0 for not known), confidence (a level, or up to 1).
    `sctransformer prior build` makes one of published networks."""
    confidence: dict[str, Weight] = {"high": 1.0, "medium": 0.7, "low": 0.4}
    """Weight of each confidence level that the network's table may name."""
    control: Literal["none", "shuffled", "random"] = "none"
    """A network without the knowledge in place of the real one: `shuffled` keeps the degree of every gene, `random` the
    number of edges alone."""
    min_coverage: float = Field(default=0.05, ge=0.0, le=1.0)
    """Least share of the panel's genes that must have a regulator."""


class ModelParams(_Section):
    """The prior-biased Transformer."""

    mode: Literal["mask", "bias", "regulators", "dense"] = "mask"
    """How the network shapes attention. `mask`: closed unless the network has the edge. `bias`: every regulator is
    open, and read more readily where the network has the edge. `regulators`: every regulator is open, edges are not
    used. `dense`: every gene is open, the standard Transformer."""
    width: int = Field(default=8, ge=4)
    """Length of a token."""
    depth: int = Field(default=1, ge=1)
    """Regulation layers."""
    heads: int = Field(default=2, ge=1)
    """Attention heads of a regulation layer; divides the width."""
    feedforward: int = Field(default=16, ge=1)
    """Inner width of a layer's feed-forward block."""
    readout_heads: int = Field(default=8, ge=1)
    """Heads with which the cell token reads all genes."""
    embedding: int = Field(default=128, ge=2)
    """Length of the cell embedding."""


class TrainParams(_Section):
    """Optimisation, and the workers it runs on."""

    workers: int = Field(default=2, ge=1)
    """Ray Train workers; the result does not depend on their number beyond float32 noise."""
    min_workers: int | None = Field(default=None, ge=1)
    """Go on with as few workers as these when there is no room for more; null: always `workers`."""
    cpus_per_worker: float = Field(default=1, gt=0.0)
    """CPUs that Ray keeps for each worker; threads of torch follow from it."""
    gpus: bool = False
    """One GPU a worker (NCCL) instead of CPUs (gloo)."""
    placement: Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"] = "PACK"
    """How Ray lays workers over nodes."""
    storage: str = "outputs/ray"
    """Folder, or URL of any storage that fsspec knows, for checkpoints; on a cluster all nodes must reach it."""
    cells: Literal["auto", "memory", "stream"] = "auto"
    """Whether workers hold all cells in memory or read them from disk in chunks as they come; auto: by their size."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of matrix products; bfloat16 by autocast. auto: bfloat16 on a GPU, else float32."""
    compiled: bool = False
    """Whether the model goes through torch.compile."""
    shared_weights: bool = False
    """Each worker holds a part of the weights (FSDP2), for a model too large for one GPU, instead of all (DDP)."""
    accumulate: int = Field(default=1, ge=1)
    """A batch is computed in so many parts, for what does not fit in memory at once."""
    checkpoint_steps: int = Field(default=200, ge=0)
    """A checkpoint every so many steps, beside the one at the end of each epoch; 0: none."""
    start: Literal["principal", "random"] = "principal"
    """`principal`: the embedding begins as the principal components of all training cells, labelled or not; `random`:
    it does not."""
    epochs: int = Field(default=5, ge=1)
    """Of classification."""
    min_steps: int = Field(default=100, ge=0)
    """Classification takes at least so many steps: with few cells an epoch goes over them several times."""
    batch_size: int = Field(default=64, ge=1)
    """Cells a step, over all workers."""
    lr: float = Field(default=1e-3, gt=0.0)
    """Highest learning rate of all weights but the classifier's."""
    head_lr: float = Field(default=3e-2, gt=0.0)
    """Highest learning rate of the classifier, which begins at nothing while the embedding begins at something."""
    layer_lr: float | None = Field(default=None, gt=0.0)
    """Highest learning rate of the regulation layers in classification; null: `lr`."""
    warmup_fraction: float = Field(default=0.1, ge=0.0, le=1.0)
    """Share of the steps over which the learning rate rises; it then falls along a cosine."""
    weight_decay: float = Field(default=0.01, ge=0.0)
    gene_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of a training cell's genes of which the model is told nothing, drawn anew each step."""
    thinning: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Largest share of a training cell's counts that is taken away, drawn anew each step: the cell as less deep
    sequencing would have seen it."""
    label_smoothing: float = Field(default=0.05, ge=0.0, lt=1.0)
    class_weight_power: float = Field(default=0.5, ge=0.0, le=1.0)
    """A class of frequency f weighs f**-power: 0 none, 0.5 square root, 1 balanced."""
    head_penalty: float = Field(default=0.1, ge=0.0)
    """Weight of the squared norm of the classifier's weights, over twice the number of labelled cells: 1/C of logistic
    regression."""
    clip_norm: float = Field(default=1.0, gt=0.0)
    """Largest norm of the gradient."""
    patience: int = Field(default=0, ge=0)
    """Training ends after so many epochs without a better one on validation cells; 0: it never ends early."""
    pretrain_epochs: int = Field(default=0, ge=0)
    """Epochs of masked expression on all training cells, labelled or not, before classification; 0: none."""
    pretrain_batch_size: int = Field(default=32, ge=1)
    pretrain_lr: float = Field(default=3e-4, gt=0.0)
    pretrain_weight_decay: float = Field(default=0.01, ge=0.0)
    hidden_share: float = Field(default=0.3, gt=0.0, lt=1.0)
    """Share of a cell's genes whose expression is hidden and predicted in pretraining, drawn anew each step."""
    finetune: Literal["all", "frozen"] = "all"
    """What classification changes: all weights, or (`frozen`) the classifier alone."""
    max_restarts: int = Field(default=3, ge=0)
    """How often lost workers are replaced before the run fails."""


class EvaluateParams(_Section):
    """What evaluation chooses on validation cells."""

    rejection_error: float = Field(default=0.05, gt=0.0, lt=1.0)
    """Share of wrong labels tolerated among accepted validation cells; sets the rejection threshold."""
    withheld_share: float = Field(default=0.05, ge=0.0, lt=1.0)
    """The least confident share of validation cells is rejected in any case: the price of finding cells of unknown
    types where the model is right so often that the tolerated error rejects nobody."""
    baseline_folds: int = Field(default=5, ge=2)
    """Folds of the inner cross-validation that chooses C of the logistic regression."""


class ControlParams(_Section):
    """The same training with a shuffled network, for the gate `shuffled_network`."""

    enabled: bool = True
    """false: it is not trained, and that gate stays closed unless registry/policy.yaml switches it off."""


class ExportParams(_Section):
    """The ONNX graph."""

    opset: int = Field(default=23, ge=23)
    """23 is the first opset with the standard Attention operator."""
    parity_tolerance: float = Field(default=1e-5, gt=0.0)
    """Largest difference of a probability between torch and onnxruntime."""
    variants: tuple[Variant, ...] = get_args(Variant)
    """Other forms of the graph: `mha`, attention as onnxruntime's own operator; `float16`; `int8`, weights in 8 bits.
    One that is not within its tolerance is left out."""


class RegisterParams(_Section):
    """The registry."""

    name: str = Field(default="celltype", pattern=r"^[A-Za-z0-9_-]+$")
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
    control: ControlParams = ControlParams()
    export: ExportParams = ExportParams()
    registration: RegisterParams = Field(default=RegisterParams(), alias="register")


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read and check a parameter file.

    Raises:
        UserError: the file is absent, is not YAML, or a parameter is unknown or out of its range.
    """
    content = read_yaml(path, "run from the project's folder") or {}
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: parameter {first_problem(error)}.") from error


def with_values(params: Params, values: Mapping[str, Any]) -> Params:
    """Copy parameters with some of them replaced.

    Args:
        params: to start from.
        values: `section.name` -> value.

    Raises:
        UserError: there is no such parameter, or a value is out of its range.
    """
    content = params.model_dump(mode="json", by_alias=True)
    for name, value in values.items():
        section, _, field = name.partition(".")
        if not isinstance(content.get(section), dict) or field not in content[section]:
            raise UserError(f"{name}: is not a parameter of params.yaml; expected section.name.")
        content[section][field] = value
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{first_problem(error)}.") from error


def with_overrides(params: Params, overrides: Sequence[str]) -> Params:
    """Copy parameters with some of them replaced by `section.name=value` words, values as in YAML.

    Raises:
        UserError: a word has no `=`, there is no such parameter, or a value is out of its range.

    Examples:
        >>> with_overrides(Params(), ["train.epochs=3", "model.mode=bias"]).train.epochs
        3
    """
    values = {}
    for override in overrides:
        name, equals, value = override.partition("=")
        if not equals:
            raise UserError(f"{override}: expected section.name=value with a parameter of params.yaml.")
        values[name] = YAML(typ="safe", pure=True).load(value)
    return with_values(params, values)
