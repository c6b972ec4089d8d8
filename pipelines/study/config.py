"""The YAML file of a study, typed: dataset, network, arms, search, baselines, fractions and seeds."""

from pathlib import Path
from typing import Any, Literal

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field, ValidationError, field_validator, model_validator

from sctransformer.data.settings import CellColumns, DataSettings, PrepareSettings
from sctransformer.errors import UserError
from sctransformer.params import Params, with_values
from sctransformer.prior.merging import Merge
from sctransformer.settings import Settings, like
from sctransformer.typed_yaml import first_problem, read_yaml

Baseline = Literal["logistic_regression", "celltypist"]
Overrides = dict[str, Any]
"""`section.name` of params.yaml -> value; a study may set the parameters of model and train, and prior.control."""

_ARM_SECTIONS = ("model", "train")
_ARM_NAMES = ("prior.control",)


class DatasetSection(CellColumns):
    """The labelled cells and their splits."""

    cells: Path = like(DataSettings, "cells")
    split_table: Path
    """Split of each cell, with columns `test` or `test_s{seed}`, and `labelled_{percent}_s{seed}`; see
    `sctransformer.data.split_table`."""
    library_size_column: str | None = like(CellColumns, "library_size_column", default=None)
    unlabelled: Path | None = None
    """A second file of cells without labels, for pretraining and principal components."""
    shared_donors: bool = like(PrepareSettings, "shared_donors", default=False)


class NetworkFile(Settings):
    """One network, as `sctransformer prior build` reads it."""

    file: Path
    format: str = "auto"
    levels: tuple[str, ...] = ()
    """Confidence levels of DoRothEA to keep; empty: all."""
    weight: float = Field(default=1.0, gt=0.0, le=1.0)
    """Factor of its confidences when networks are merged."""


class NetworkSection(Settings):
    """The prior: one network, or several merged."""

    files: dict[str, NetworkFile] = Field(min_length=1)
    merge: Merge = "union"
    min_votes: int | None = None


_ONE_WAY = {
    "model.direction": "regulators",
    "model.embedding": 128,
    "train.pretrain_batch_size": 32,
    "train.pretrain_lr": 3e-4,
    "train.pretrain_min_steps": 0,
}
"""The study compares modes of layers in which genes attend to regulators, with the defaults of its first results."""


class StudyConfig(Settings):
    """A study."""

    name: str = Field(pattern=r"^[\w.-]+$")
    dataset: DatasetSection
    network: NetworkSection
    gene_budget: int = Field(default=1024, ge=2)
    """Largest number of genes in the panel."""
    percents: tuple[float, ...] = Field(min_length=1)
    """Percentages of the training cells that are labelled."""
    seeds: tuple[int, ...] | dict[float, tuple[int, ...]] = (0, 1, 2)
    """Seeds, or seeds for each percentage."""
    shared: Overrides = Field(default={})
    """Parameters of every arm."""
    arms: dict[str, Overrides] = Field(default={})
    """Name -> parameters of this arm, on top of `shared`."""
    search: tuple[Overrides, ...] = ({},)
    """Points that are tried for every arm, on top of `shared`; an arm cannot set the same parameters."""
    search_repeats: int | dict[float, int] = 3
    """Number of inner splits per point, or that number for each percentage."""
    validation_share: float = Field(default=0.25, gt=0.0, lt=1.0)
    """Fraction of the labelled cells of each type that an inner split holds out, at least one cell."""
    baselines: tuple[Baseline, ...] = ("logistic_regression", "celltypist")
    inner_folds: int = Field(default=5, ge=2)
    """Folds with which logistic regression chooses its penalty; fewer if a type has fewer labelled cells."""
    references: tuple[str, ...] = ("dense", "regulators", "shuffled", "random", "logistic_regression", "celltypist")
    """Arms and baselines that the others are compared with; names that the study does not have are ignored."""

    @field_validator("percents")
    @classmethod
    def _percent_in_range(cls, percents: tuple[float, ...]) -> tuple[float, ...]:
        for percent in percents:
            if not 0 < percent <= 100:
                raise ValueError(f"{percent} is not a percentage above 0 and up to 100")
        if len(set(percents)) < len(percents):
            raise ValueError("a percentage is listed twice")
        return percents

    @model_validator(mode="after")
    def _whole(self) -> "StudyConfig":
        for what, chosen in (("seeds", self.seeds), ("search_repeats", self.search_repeats)):
            missing = set(self.percents) - set(chosen) if isinstance(chosen, dict) else set()
            if missing:
                raise ValueError(f"{what} has no entry for {min(missing):g} percent")
        if not self.arms and not self.baselines:
            raise ValueError("there are neither arms nor baselines")
        if both := set(self.arms) & set(self.baselines):
            raise ValueError(f"an arm cannot have the name of a baseline, {min(both)}")
        if not self.search:
            raise ValueError("search has no point; leave it out to use the parameters of the arms")
        for arm, own in self.arms.items():
            for point in self.search:
                if both := set(own) & set(point):
                    raise ValueError(f"arm {arm} and search both set {min(both)}; set it in one of them")
        return self

    def seeds_of(self, percent: float) -> tuple[int, ...]:
        """Seeds of a percentage."""
        return self.seeds[percent] if isinstance(self.seeds, dict) else self.seeds

    def repeats_of(self, percent: float) -> int:
        """Number of inner splits per point of the search."""
        return self.search_repeats[percent] if isinstance(self.search_repeats, dict) else self.search_repeats

    def params_of(self, arm: str, point: int) -> Params:
        """Parameters of an arm at a point of the search; others have their defaults."""
        return with_arm_values(with_values(Params(), _ONE_WAY), {**self.shared, **self.search[point], **self.arms[arm]})


def load_study(path: Path) -> StudyConfig:
    """Read and check the file of a study; `${oc.env:NAME}` is replaced by the environment variable NAME.

    Raises:
        UserError: the file cannot be read, a variable is not set, or a field is unknown or out of range.
    """
    content = with_variables(read_yaml(path, "name the YAML file of a study") or {}, path)
    try:
        study = StudyConfig.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: {first_problem(error)}.") from error
    for arm in study.arms:
        for point in range(len(study.search)):
            try:
                params = study.params_of(arm, point)
            except UserError as error:
                raise UserError(f"{path}: arm {arm}, point {point} of the search: {error}") from error
            if getattr(params.train, "patience", 0):
                raise UserError(
                    f"{path}: arm {arm} sets train.patience, but a study has no validation cells; set train.epochs."
                )
    return study


def with_arm_values(params: Params, values: Overrides) -> Params:
    """Copy parameters with those replaced that an arm may set.

    Raises:
        UserError: there is no such parameter, a study cannot set it, or its value is out of range.
    """
    changed = with_values(params, values)
    for name in values:
        if name.partition(".")[0] not in _ARM_SECTIONS and name not in _ARM_NAMES:
            raise UserError(
                f"{name}: cannot be set in a study, only {', '.join(_ARM_SECTIONS)} and {', '.join(_ARM_NAMES)}."
            )
    return changed


def with_variables(content: Any, path: Path) -> Any:
    """The content of a YAML file with `${oc.env:NAME}` replaced by the environment variable NAME.

    Raises:
        UserError: a variable is not set.
    """
    try:
        return OmegaConf.to_container(OmegaConf.create(content), resolve=True)
    except OmegaConfBaseException as error:
        problem = str(error).splitlines()[0].rpartition("interpolation: ")[2]
        raise UserError(f"{path}: {problem}; set it, or correct the file.") from error
