"""registry/policy.yaml, typed: every gate of a promotion with its meaning and its default."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sctransformer.errors import UserError

POLICY_PATH = Path("registry/policy.yaml")


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
    """Commit, dvc.lock digest, data hash and prior hash are recorded."""
    lineage_clean: Gate = Gate()
    """Nothing differed from the commit when the model was made."""
    validation: Gate = Gate()
    """The cells passed validation."""
    onnx_parity: Ceiling = Ceiling(maximum=1e-5)
    """onnxruntime gives torch's labels, and probabilities no further away than this."""
    macro_f1: Floor = Floor(minimum=0.5)
    """Macro-F1 on test cells."""
    baseline: Margin = Margin(margin=0.02)
    """Macro-F1 against logistic regression on the same test cells."""
    champion: Margin = Margin(margin=0.02)
    """Macro-F1 against the champion on the same test cells."""
    prior_genes: Floor = Floor(minimum=0.05)
    """Share of the vocabulary's genes that have a regulator."""
    prior_edges: Count = Count(minimum=50)
    """Edges of the network with both ends in the vocabulary."""


class Policy(_Section):
    """All of policy.yaml."""

    gates: Gates = Gates()


def load_policy(path: Path = POLICY_PATH) -> Policy:
    """Read and check a policy.

    Raises:
        UserError: the file is absent, is not YAML, or a key is unknown, of the wrong type or out of its range.
    """
    try:
        content: Any = yaml.safe_load(path.read_text())
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); run from the project's folder or give --policy."
        ) from error
    except yaml.YAMLError as error:
        raise UserError(f"{path}: is not valid YAML ({' '.join(str(error).split())}).") from error
    try:
        return Policy.model_validate({} if content is None else content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise UserError(f"{path}: {field} is {first.get('input')!r}: {first['msg']}.") from error
