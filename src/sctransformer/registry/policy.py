"""registry/policy.yaml, typed: every gate of a promotion with its meaning and its default."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sctransformer import layout
from sctransformer.errors import UserError
from sctransformer.typed_yaml import first_problem, read_yaml


class _Section(BaseModel):
    # strict: "0.5" or true where a number belongs is a mistake, not a number
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Gate(_Section):
    """A gate that has no threshold."""

    enabled: bool = True
    """false: the gate is passed without looking, and every table and ledger entry says so."""


class Floor(Gate):
    """A gate with the smallest value that passes."""

    minimum: float = Field(ge=0.0, le=1.0)


class Margin(Gate):
    """A gate that compares two macro-F1 on the same cells."""

    margin: float = Field(ge=0.0, le=1.0)
    """How much lower than the other the candidate may be."""


class NoWorse(Margin):
    """A gate that compares two models on the same cells, by a paired bootstrap."""

    probability: float = Field(gt=0.0, lt=1.0)
    """Smallest share of draws in which the candidate must be no more than the margin under the other. 0.5 asks that it
    is probable, 0.95 that it is shown (non-inferiority at 5 %), which takes some thousand test cells."""


class ClassFloor(Floor):
    """A gate that every cell type with enough test cells must pass."""

    min_cells: int = Field(ge=1)
    """Cell types with fewer test cells are not judged: one cell more or less would decide."""


class Positive(Gate):
    """A gate with the smallest value that passes, which has no upper end."""

    minimum: float = Field(gt=0.0)


class Budget(Gate):
    """A gate with the largest value that passes, which has no upper end."""

    maximum: float = Field(gt=0.0)


class Ceiling(Gate):
    """A gate with the largest value that passes."""

    maximum: float = Field(gt=0.0, le=1.0)


class Count(Gate):
    """A gate with the smallest number that passes."""

    minimum: int = Field(ge=0)


class Gates(_Section):
    """All gates; every one is on unless the file says otherwise."""

    bundle_checksums: Gate = Gate()
    """Every file of the bundle matches checksums.txt."""
    lineage_complete: Gate = Gate()
    """Commit, dvc.lock digest, data and prior hashes, parameters, package versions, who and when are recorded."""
    lineage_clean: Gate = Gate()
    """Nothing differed from the commit when the model was made."""
    validation: Gate = Gate()
    """The cells passed validation."""
    same_labels: Gate = Gate()
    """The candidate gives the cell types that the champion gives."""
    onnx_parity: Ceiling = Ceiling(maximum=1e-5)
    """onnxruntime gives torch's labels, and probabilities no further away than this."""
    macro_f1: Floor = Floor(minimum=0.5)
    """Macro-F1 on test cells."""
    class_recall: ClassFloor = ClassFloor(minimum=0.3, min_cells=10)
    """Recall of each cell type on test cells."""
    calibration: Ceiling = Ceiling(maximum=0.1)
    """Expected calibration error on test cells."""
    baseline: Margin = Margin(margin=0.02)
    """Macro-F1 against logistic regression on the same test cells, upper end of the interval of the difference."""
    champion: NoWorse = NoWorse(margin=0.02, probability=0.8)
    """Macro-F1 against the champion, both scored again on the same test cells."""
    prior_genes: Floor = Floor(minimum=0.05)
    """Share of the vocabulary's genes that have a regulator."""
    prior_edges: Count = Count(minimum=50)
    """Edges of the network with both ends in the vocabulary."""
    shuffled_network: Margin = Margin(margin=0.05)
    """Macro-F1 against the same training with a shuffled network."""
    scoring_speed: Positive = Positive(minimum=100.0)
    """Cells a second in onnxruntime, measured when the model was exported, on the CPU of that machine."""
    bundle_size: Budget = Budget(maximum=500.0)
    """Megabytes of all files of the bundle."""

    @model_validator(mode="before")
    @classmethod
    def _need_no_thresholds_where_they_are_off(cls, content: Any) -> Any:
        if not isinstance(content, dict):
            return content
        completed = dict(content)
        for name, gate in content.items():
            if name in cls.model_fields and isinstance(gate, dict) and gate.get("enabled") is False:
                completed[name] = {**cls.model_fields[name].default.model_dump(), **gate}
        return completed


class Policy(_Section):
    """All of policy.yaml."""

    gates: Gates = Gates()


def load_policy(path: Path = layout.POLICY) -> Policy:
    """Read and check a policy.

    Raises:
        UserError: the file is absent, is not YAML, or a key is unknown, of the wrong type or out of its range.
    """
    content = read_yaml(path, "run from the project's folder or give --policy")
    try:
        return Policy.model_validate({} if content is None else content)
    except ValidationError as error:
        raise UserError(f"{path}: {first_problem(error)}.") from error
