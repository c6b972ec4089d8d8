"""Search spaces: a typed YAML file of parameters and the values that each may take."""

from importlib.resources import files
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from sctransformer.errors import UserError
from sctransformer.model.config import ModelSettings
from sctransformer.params import Params
from sctransformer.settings import Settings
from sctransformer.training.config import Optimisation
from sctransformer.training.label_settings import LabelSettings
from sctransformer.typed_yaml import first_problem, read_fields

DEFAULT_SPACE = Path(str(files("sctransformer.tuning") / "default_space.yaml"))
"""The search space that is used when no file is given."""
SEARCHED: dict[str, type[Settings]] = {"model": ModelSettings, "train": Optimisation, "labels": LabelSettings}
"""Settings that can be searched, by their section of params.yaml. The other sections would change the cells or the
network; the other settings of `train` change how training is computed, not its result."""


class Values(Settings):
    """The values that one parameter may take. Exactly one field is given."""

    choice: list[Any] | None = Field(default=None, min_length=1)
    """One of these values."""
    uniform: tuple[float, float] | None = None
    """Any number in this range, uniformly."""
    log: tuple[float, float] | None = None
    """Any number in this range, log-uniformly."""
    integer: tuple[int, int] | None = None
    """Any integer in this range, both ends included."""

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


class SearchSpace(Settings):
    """A search: its parameters, its budget and its early stopping."""

    trials: int = Field(default=20, ge=1)
    """Maximum number of trials; the first one uses the parameters of params.yaml."""
    minutes: float | None = Field(default=None, gt=0.0)
    """Time limit of the search; running trials are stopped then. null: no limit."""
    grace_epochs: int = Field(default=2, ge=1)
    """Epochs of classification before a trial may be stopped early."""
    reduction: int = Field(default=3, ge=2)
    """Reduction factor of ASHA: one in this many trials passes each rung (Li et al. 2018, arXiv 1810.05934)."""
    parameters: dict[str, Values] = Field(min_length=1)
    """Values of each parameter, by dotted name, for example `train.lr`."""


def load_space(path: Path, params: Params) -> SearchSpace:
    """Read a search space and check every value that it allows.

    Args:
        path: YAML file.
        params: the parameters that are not searched.

    Raises:
        UserError: the file cannot be read, names an unknown parameter, or allows a value that is out of range.
    """
    content = read_fields(path, f"expected a search space (for example {DEFAULT_SPACE})")
    try:
        space = SearchSpace.from_file(content)
    except ValidationError as error:
        raise UserError(f"{path}: {first_problem(error, SearchSpace)}.") from error
    for name, values in space.parameters.items():
        _require_searchable(path, name)
        section, _, field = name.partition(".")
        for value in values.extremes:
            try:
                SEARCHED[section].require_valid(field, value)
            except ValidationError as error:
                raise UserError(f"{path}: parameters.{name} may be {value!r}: {error.errors()[0]['msg']}.") from error
    return space


def current_values(space: SearchSpace, params: Params) -> dict[str, Any]:
    """The current values of the parameters of a search space."""
    content = params.model_dump(mode="json")
    return {name: content[name.partition(".")[0]][name.partition(".")[2]] for name in space.parameters}


def _require_searchable(path: Path, name: str) -> None:
    searchable = [f"{section}.{field}" for section, settings in SEARCHED.items() for field in settings.names()]
    if name not in searchable:
        raise UserError(f"{path}: parameters.{name} cannot be searched; expected one of {', '.join(searchable)}.")
