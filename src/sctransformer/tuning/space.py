"""What a search may change, as a typed YAML file: parameters, and the values each may take."""

from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sctransformer.errors import UserError
from sctransformer.params import ModelParams, Params, TrainParams, with_values
from sctransformer.typed_yaml import first_problem, read_yaml

SECTIONS: dict[str, type[BaseModel]] = {"model": ModelParams, "train": TrainParams}
"""Those of params.yaml that a search may change: with the others cells or network would not stay the same."""
NOT_SEARCHED = frozenset(
    "train." + name
    for name in (
        "workers",
        "min_workers",
        "cpus_per_worker",
        "gpus",
        "placement",
        "storage",
        "max_restarts",
        "checkpoint_steps",
        "cells",
        "precision",
        "compiled",
        "shared_weights",
        "accumulate",
    )
)
"""They decide on what is computed, not what."""


class Values(BaseModel):
    """What one parameter may be. Exactly one of the fields is given."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    choice: list[Any] | None = Field(default=None, min_length=1)
    """One of these."""
    uniform: tuple[float, float] | None = None
    """Any number between these."""
    log: tuple[float, float] | None = None
    """Any number between these, each order of magnitude as likely as the others."""
    integer: tuple[int, int] | None = None
    """Any whole number from the first to the second."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = self.model_fields_set
        if len(given) != 1:
            raise ValueError(f"expected exactly one of choice, uniform, log, integer, found {sorted(given) or 'none'}")
        low, high = self.extremes[0], self.extremes[-1]
        if self.choice is None and not low < high:
            raise ValueError(f"the first number, {low}, must be less than the second, {high}")
        if self.log is not None and low <= 0:
            raise ValueError(f"log starts at {low}; it must be above 0")
        return self

    @property
    def extremes(self) -> list[Any]:
        """All values of a choice, or both ends of a range."""
        return list(self.choice or self.uniform or self.log or self.integer or [])


class SearchSpace(BaseModel):
    """A search: how long, by what, over what."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    trials: int = Field(default=20, ge=1)
    """Most trials; the first one has the parameters of params.yaml."""
    minutes: float | None = Field(default=None, gt=0.0)
    """No trial starts, and none goes on, after so long; null: no limit."""
    grace_epochs: int = Field(default=2, ge=1)
    """No trial is stopped before so many epochs of classification."""
    reduction: int = Field(default=3, ge=2)
    """Of so many trials at a halving one goes on (ASHA, Li et al., arXiv 1810.05934)."""
    parameters: dict[str, Values] = Field(min_length=1)
    """By dotted name, as in `train.lr`."""


def load_space(path: Path, params: Params) -> SearchSpace:
    """Read a search space and check every value that it allows against params.yaml.

    Raises:
        UserError: the file is absent, no YAML, names unknown parameters, or allows values that no run can have.
    """
    content = read_yaml(path, "expected a search space (see pipelines/tuning/space.yaml)") or {}
    try:
        space = SearchSpace.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: {first_problem(error)}.") from error
    for name, values in space.parameters.items():
        _require_known(path, name)
        for value in values.extremes:
            try:
                with_values(params, {name: value})
            except UserError as error:
                raise UserError(
                    f"{path}: parameters.{name} may be {value!r}: {str(error).split(': ', 1)[-1]}"
                ) from error
    return space


def current(space: SearchSpace, params: Params) -> dict[str, Any]:
    """What params.yaml has for the parameters of a space."""
    content = params.model_dump(mode="json", by_alias=True)
    return {name: content[name.partition(".")[0]][name.partition(".")[2]] for name in space.parameters}


def _require_known(path: Path, name: str) -> None:
    known = [f"{section}.{field}" for section, model in SECTIONS.items() for field in model.model_fields]
    searched = [own for own in known if own not in NOT_SEARCHED]
    if name not in searched:
        raise UserError(
            f"{path}: parameters.{name} is none that can be searched; expected one of {', '.join(searched)}."
        )
