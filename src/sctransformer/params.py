"""params.yaml, typed. Each component declares its own settings; here they are composed to the sections of the file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from sctransformer.data.settings import DataSettings, PrepareSettings
from sctransformer.data.validation.limits import TrainingLimits
from sctransformer.errors import UserError
from sctransformer.evaluation.settings import EvaluationSettings
from sctransformer.export.settings import ExportSettings, RegistrationSettings
from sctransformer.model.config import ModelSettings
from sctransformer.prior.settings import PriorSettings
from sctransformer.settings import Seeded, Settings
from sctransformer.training.config import Optimisation
from sctransformer.training.execution import Execution
from sctransformer.training.workers import Storage, Workers
from sctransformer.typed_yaml import first_problem, read_yaml


class TrainParams(Optimisation, Execution, Storage, Workers):
    """Optimisation, and how and where it is computed."""


class ControlParams(Settings):
    """The same training with a shuffled network, for the gate `shuffled_network`."""

    enabled: bool = True
    """Whether to train the control; if false, the gate fails unless registry/policy.yaml disables it."""


class Params(Seeded):
    """All parameters of the pipeline."""

    data: DataSettings = Field(default_factory=DataSettings)
    validation: TrainingLimits = Field(default_factory=TrainingLimits, alias="validate")
    prepare: PrepareSettings = Field(default_factory=PrepareSettings)
    prior: PriorSettings = Field(default_factory=PriorSettings)
    model: ModelSettings = Field(default_factory=ModelSettings)
    train: TrainParams = Field(default_factory=TrainParams)
    evaluate: EvaluationSettings = Field(default_factory=EvaluationSettings)
    control: ControlParams = Field(default_factory=ControlParams)
    export: ExportSettings = Field(default_factory=ExportSettings)
    registration: RegistrationSettings = Field(default_factory=RegistrationSettings, alias="register")


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read and check a parameter file.

    Raises:
        UserError: the file does not exist or is not YAML, or a parameter is unknown or out of range.
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
        UserError: there is no such parameter, or a value is out of range.
    """
    content = params.model_dump(mode="json")
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
        UserError: a word has no `=`, there is no such parameter, or a value is out of range.

    Examples:
        >>> with_overrides(Params(), ["train.epochs=3", "model.mode=bias"]).train.epochs
        3
    """
    from ruamel.yaml import YAML

    values = {}
    for override in overrides:
        name, equals, value = override.partition("=")
        if not equals:
            raise UserError(f"{override}: expected section.name=value with a parameter of params.yaml.")
        values[name] = YAML(typ="safe", pure=True).load(value)
    return with_values(params, values)
