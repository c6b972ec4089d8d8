"""registry/policy.yaml as typed settings: every gate of a promotion, its meaning and its default."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sctransformer import layout
from sctransformer.errors import UserError
from sctransformer.typed_yaml import first_problem, read_fields


class _Section(BaseModel):
    # strict: "0.5" or true in place of a number is an error
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Gate(_Section):
    """A gate without a threshold."""

    enabled: bool = True
    """false: the gate passes without a check, and every table and ledger entry shows that."""


class CleanCode(Gate):
    """A gate on the state of the code when the model was made."""

    without_git: bool = True
    """Whether a model passes that was made outside a git repository, as from an unpacked archive. Its lineage has a
    digest of the code in place of the commit, and its run has a copy of the code."""


class Floor(Gate):
    """A gate with a minimum."""

    minimum: float = Field(ge=0.0, le=1.0)


class Margin(Gate):
    """A gate that compares two macro-F1 scores on the same cells."""

    margin: float = Field(ge=0.0, le=1.0)
    """How far the candidate may be below the other model."""


class NoWorse(Margin):
    """A gate that compares two models on the same cells, by a paired bootstrap."""

    probability: float = Field(gt=0.0, lt=1.0)
    """Smallest fraction of resamples in which the candidate is at most the margin below the other model. 0.5 requires
    that this is likely, 0.95 that it is shown (non-inferiority at 5 %), which takes some thousand test cells."""


class ClassFloor(Floor):
    """A gate that every cell type with enough test cells must pass."""

    min_cells: int = Field(ge=1)
    """Cell types with fewer test cells are not checked: a single cell would decide."""


class Positive(Gate):
    """A gate with a minimum that has no upper limit."""

    minimum: float = Field(gt=0.0)


class Budget(Gate):
    """A gate with a maximum that has no upper limit."""

    maximum: float = Field(gt=0.0)


class Ceiling(Gate):
    """A gate with a maximum."""

    maximum: float = Field(gt=0.0, le=1.0)


class Count(Gate):
    """A gate with a minimum count."""

    minimum: int = Field(ge=0)


class Gates(_Section):
    """All gates; each is enabled unless the file disables it."""

    bundle_checksums: Gate = Gate()
    """Every file of the bundle matches checksums.txt."""
    lineage_complete: Gate = Gate()
    """Commit (without git: digest of the code), dvc.lock digest, data and prior hashes, parameters, package versions,
    who and when are recorded."""
    lineage_clean: CleanCode = CleanCode()
    """Code and inputs did not differ from the commit when the model was made, or were committed later, unchanged."""
    validation: Gate = Gate()
    """The cells passed validation."""
    same_labels: Gate = Gate()
    """The candidate predicts the same cell types as the champion."""
    onnx_parity: Ceiling = Ceiling(maximum=1e-5)
    """onnxruntime predicts the same labels as torch; largest difference of a probability."""
    macro_f1: Floor = Floor(minimum=0.5)
    """Macro-F1 on test cells."""
    class_recall: ClassFloor = ClassFloor(minimum=0.3, min_cells=10)
    """Recall of each cell type on test cells."""
    calibration: Ceiling = Ceiling(maximum=0.1)
    """Expected calibration error on test cells."""
    baseline: Margin = Margin(margin=0.02)
    """Macro-F1 minus that of logistic regression on the same test cells: upper end of the interval."""
    champion: NoWorse = NoWorse(margin=0.02, probability=0.8)
    """Macro-F1 compared with the champion, both scored again on the same test cells."""
    prior_genes: Floor = Floor(minimum=0.05)
    """Fraction of the panel's genes that have a regulator, or of the network's edges in the panel; the larger one."""
    prior_edges: Count = Count(minimum=50)
    """Edges of the network with both genes in the panel."""
    prior_evidence: Gate = Gate()
    """What the network explains of hidden genes, compared with rewired networks: the 95 % interval of the difference is
    above 0."""
    shuffled_network: Margin = Margin(margin=0.05)
    """Macro-F1 compared with the same training on a shuffled network."""
    scoring_speed: Positive = Positive(minimum=100.0)
    """Cells per second in onnxruntime, measured on the CPU when the model was exported."""
    bundle_size: Budget = Budget(maximum=500.0)
    """Size of all files of the bundle in megabytes."""

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
        UserError: the file does not exist, is not YAML, or a key is unknown, of the wrong type or out of its range.
    """
    content = read_fields(path, "run from the project's folder or give --policy")
    try:
        return Policy.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: {first_problem(error, Policy)}.") from error
