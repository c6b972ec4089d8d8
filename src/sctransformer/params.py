"""params.yaml, typed. Each component declares its own settings; here they are composed to the sections of the file."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from flatten_dict import flatten
from pydantic import Field, ValidationError

from sctransformer.data.settings import DataSettings, PrepareSettings
from sctransformer.data.validation.limits import TrainingLimits
from sctransformer.errors import UserError
from sctransformer.evaluation.settings import EvaluationSettings
from sctransformer.export.settings import ExportSettings, RegistrationSettings
from sctransformer.model.config import Direction, ModelSettings
from sctransformer.prior.settings import PriorSettings
from sctransformer.settings import Seeded, Settings, like
from sctransformer.training.config import Optimisation, TrainConfig
from sctransformer.training.execution import Execution
from sctransformer.training.label_settings import LabelSettings
from sctransformer.training.workers import Storage, Workers
from sctransformer.typed_yaml import first_problem, nearest, read_fields

PARAMS = Path("params.yaml")
PARAMS_VARIABLE = "SCTRANSFORMER_PARAMS"
"""Environment variable of the stages: file with the parameters of one run, in place of params.yaml."""


_PRETRAIN_EPOCHS = 5


class ModelParams(ModelSettings):
    """The model; the defaults are those of the product, where `ModelSettings` keeps those of its first format."""

    direction: Direction = like(ModelSettings, "direction", default="targets")
    embedding: int = like(ModelSettings, "embedding", default=64, ge=2)


class TrainParams(Optimisation, Execution, Storage, Workers):
    """Optimisation, and how and where it is computed."""

    pretrain_epochs: int | None = Field(default=None, ge=0)  # type: ignore[assignment]
    """Epochs of training on masked expression, on all training cells, labelled or not. If not given: 5 with
    `model.direction` targets, whose labels are fitted in closed form afterwards; 0 with regulators."""
    pretrain_min_steps: int = like(Optimisation, "pretrain_min_steps", default=300, ge=0)
    pretrain_batch_size: int = like(Optimisation, "pretrain_batch_size", default=64, ge=1)
    pretrain_lr: float = like(Optimisation, "pretrain_lr", default=3e-3, gt=0.0)


class ControlParams(Settings):
    """Comparison of the network with shuffled ones, for the gates `prior_evidence` and `shuffled_network`."""

    enabled: bool = True
    """Whether to train the same model again with a shuffled network, from fresh weights and for the same steps, which
    takes about as long as the training itself; if false, the gate fails unless registry/policy.yaml disables it."""
    shuffles: int = Field(default=40, ge=2)
    """Number of rewired networks that the network is compared with; no model is trained for this."""


class Params(Seeded):
    """All parameters of the pipeline."""

    data: DataSettings = Field(default_factory=DataSettings)
    validation: TrainingLimits = Field(default_factory=TrainingLimits, alias="validate")
    prepare: PrepareSettings = Field(default_factory=PrepareSettings)
    prior: PriorSettings = Field(default_factory=PriorSettings)
    model: ModelParams = Field(default_factory=ModelParams)
    train: TrainParams = Field(default_factory=TrainParams)
    labels: LabelSettings = Field(default_factory=LabelSettings)
    evaluate: EvaluationSettings = Field(default_factory=EvaluationSettings)
    control: ControlParams = Field(default_factory=ControlParams)
    export: ExportSettings = Field(default_factory=ExportSettings)
    registration: RegistrationSettings = Field(default_factory=RegistrationSettings, alias="register")

    def train_config(self, seed: int | None = None) -> TrainConfig:
        """What decides the result of training.

        Args:
            seed: in place of the parameter `seed`.
        """
        epochs = self.train.pretrain_epochs
        if epochs is None:
            epochs = _PRETRAIN_EPOCHS if self.model.by_edge else 0
        seed = self.seed if seed is None else seed
        train = self.train.replace(pretrain_epochs=epochs)
        return train.part(TrainConfig, seed=seed, prior_strength=self.prior.strength)

    def inputs(self) -> tuple[Path, ...]:
        """The files that a run with these parameters reads."""
        table = self.prepare.split_table
        return (self.data.cells, self.data.gene_map, self.prior.network, *([] if table is None else [table]))


def load_params(path: Path | None = None) -> Params:
    """Read and check a parameter file.

    Args:
        path: the file; by default the one that `PARAMS_VARIABLE` names, else params.yaml.

    Raises:
        UserError: the file does not exist or is not YAML, or a parameter is unknown or out of range.
    """
    path = path or Path(os.environ.get(PARAMS_VARIABLE) or PARAMS)
    content = read_fields(path, "run from the project's folder")
    try:
        return Params.from_file(content)
    except ValidationError as error:
        raise UserError(f"{path}: parameter {first_problem(error, Params)}.") from error


def with_values(params: Params, values: Mapping[str, Any]) -> Params:
    """Copy parameters with some of them replaced.

    Args:
        params: to start from.
        values: by dotted name, such as `train.lr` or `seed`; of several values for one parameter the last counts.

    Raises:
        UserError: there is no such parameter, or a value is out of range.

    Examples:
        >>> with_values(Params(), {"train.lr": 0.5, "prior.confidence.low": 0.1}).prior.confidence["low"]
        0.1
    """
    content = params.model_dump(mode="json")
    for name, value in values.items():
        *sections, field = name.split(".")
        place = content
        for section in sections:
            place = place.get(section) if isinstance(place, dict) else None  # type: ignore[assignment]
        if not isinstance(place, dict) or field not in place:
            known = [*content, *flatten(content, "dot")]
            raise UserError(f"{name}: is not a parameter of params.yaml{nearest(name, known)}.")
        if isinstance(place[field], dict) and not isinstance(value, dict):
            raise UserError(f"{name}: is a section of params.yaml; set one of {', '.join(place[field])}.")
        place[field] = value
    try:
        return Params.from_file(content)
    except ValidationError as error:
        raise UserError(f"{first_problem(error, Params)}.") from error


def parse_overrides(words: Iterable[str]) -> dict[str, Any]:
    """Values by dotted name from `name=value` words, values as in YAML.

    Raises:
        UserError: a word has no `=`, or its value is not YAML.

    Examples:
        >>> parse_overrides(["train.epochs=3", "model.mode=bias", "data.donor_column=null"])
        {'train.epochs': 3, 'model.mode': 'bias', 'data.donor_column': None}
    """
    from ruamel.yaml import YAML, YAMLError

    values: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        name = name.strip()
        if not equals or not name:
            raise UserError(f"{word}: expected name=value with a parameter of params.yaml, such as prior.strength=10.")
        try:
            values.pop(name, None)  # the later of two takes the later place
            values[name] = YAML(typ="safe", pure=True).load(value)
        except (YAMLError, ValueError, RecursionError) as error:
            raise UserError(f"{word}: the value {value!r} is not valid YAML; put text in quotes.") from error
    return values


def with_overrides(params: Params, overrides: Iterable[str]) -> Params:
    """Copy parameters with some of them replaced by `name=value` words; see `parse_overrides`.

    Raises:
        UserError: a word is not an override, there is no such parameter, or a value is out of range.

    Examples:
        >>> with_overrides(Params(), ["train.epochs=3", "model.mode=bias"]).train.epochs
        3
    """
    return with_values(params, parse_overrides(overrides))
