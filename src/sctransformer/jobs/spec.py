"""A job file, typed: which model labels what, where to, when, on what, and when to raise an alarm."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from sctransformer._constants import GraphForm
from sctransformer.annotation.settings import AnnotationSettings
from sctransformer.errors import UserError
from sctransformer.jobs.schedule import Schedule
from sctransformer.typed_yaml import first_problem, read_yaml

NAME = r"^[a-z0-9]([-a-z0-9]{0,40}[a-z0-9])?$"
"""Of a job: also the name of its unit and its CronJob."""
_NO_CONTROL = re.compile(r"[^\x00-\x1f\x7f]+")

Line = Annotated[str, Field(min_length=1, max_length=1000)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Resources(_Section):
    """What a run may take; schedulers and the cluster are told the same."""

    cpus: int = Field(default=2, ge=1)
    """Threads of a session; a run holds them against the cores of its machine."""
    memory_gib: float = Field(default=4.0, gt=0.0)
    gpus: int = Field(default=0, ge=0)


class Annotation(_Section):
    """How cells are labelled; see `sctransformer annotate --help`."""

    threshold: float | None = Field(default=None, ge=0.0, le=1.0)
    """Cells under this confidence are `unknown`; null: the model's own."""
    min_coverage: float = Field(default=0.8, ge=0.0, le=1.0)
    counts: str | None = None
    """X, raw.X or a layer's name; null: found."""
    library_size_column: str | None = None
    absent_genes: Literal["mean", "zero"] = "mean"
    variant: GraphForm = "float32"
    batch_size: int | None = Field(default=None, ge=1)
    format: Literal["anndata", "parquet", "csv"] = "anndata"
    majority_voting: bool = False


class Drift(_Section):
    """When a batch is taken to differ from the training cells, and when that is an alarm."""

    psi: float = Field(default=0.25, gt=0.0)
    """Largest population stability index of library sizes, confidences or labels; 0.25 is the usual alarm."""
    detection: float = Field(default=0.1, gt=0.0, le=1.0)
    """Largest mean difference of the share of cells that express a gene."""
    rejected: float = Field(default=0.2, gt=0.0, le=1.0)
    """Largest excess of the share of rejected cells over that of the validation cells."""
    embedding: float = Field(default=0.4, gt=0.0)
    """Largest distance of the mean embedding from that of the training cells, in their standard deviations a
    dimension (root mean square)."""
    window: int = Field(default=5, ge=1)
    """Batches looked back on."""
    raised_by: int = Field(default=2, ge=1)
    """So many drifted batches of the window raise the alarm, if the last is one of them; all of one model version."""
    min_cells: int = Field(default=50, ge=1)
    """A smaller batch is not judged: its shares are noise."""
    fail: bool = False
    """Whether a run whose batches raise the alarm, or keep it up, has an exit code of its own; labels are written all
    the same."""

    @field_validator("raised_by")
    @classmethod
    def _can_be_reached(cls, value: int, others: ValidationInfo) -> int:
        window = others.data.get("window", value)
        if value > window:
            raise ValueError(f"{value} of the last {window} batches never drift; expected at most drift.window")
        return value


class Job(_Section):
    """A job file."""

    name: str = Field(pattern=NAME)
    """Of the job; the file's name unless given."""
    model: Line
    """NAME@ALIAS, NAME/VERSION or a bundle's folder. An alias is resolved once a run."""
    input: Line
    """A file, a folder, a pattern or a URL; outputs keep the folders from a pattern's first wildcard on."""
    output: Path
    """Folder in which everything lies that the job writes."""
    schedule: str = "0 3 * * *"
    """As in crontab: minute, hour, day of month, month, day of week; see `Schedule`."""
    experiment: str = Field(default="annotation", min_length=1, max_length=200)
    """Of MLflow; one run in it for each run of the job."""
    report: Path = Path("drift.html")
    """Of drift, in the output folder."""
    validate_cells: bool = Field(default=True, alias="validate")
    """Whether Great Expectations checks each file; what is critical keeps a file from being labelled."""
    image: str = Field(default="sctransformer:latest", pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:@-]*$")
    """For Kubernetes."""
    workers: int = Field(default=2, ge=1)
    """Sessions on a cluster."""
    resources: Resources = Resources()
    annotation: Annotation = Annotation()
    drift: Drift = Drift()

    @field_validator("schedule")
    @classmethod
    def _is_cron(cls, value: str) -> str:
        Schedule.parse(value)
        return value

    @field_validator("model", "input")
    @classmethod
    def _is_one_line(cls, value: str) -> str:
        if not _NO_CONTROL.fullmatch(value):
            raise ValueError("expected one line without control characters")
        return value

    @field_validator("output")
    @classmethod
    def _is_a_folder_of_its_own(cls, value: Path) -> Path:
        if not _NO_CONTROL.fullmatch(str(value)) or ".." in value.parts or value in (Path(), Path("/")):
            raise ValueError("expected a folder of its own, without '..'")
        return value

    @field_validator("report")
    @classmethod
    def _stays_inside(cls, value: Path) -> Path:
        if value.is_absolute() or ".." in value.parts or value.name.startswith(".") or value == Path():
            raise ValueError("expected a path inside the output folder, without '..'")
        return value

    @property
    def settings(self) -> AnnotationSettings:
        """How `annotate` is to label."""
        return AnnotationSettings(
            threshold=self.annotation.threshold,
            min_coverage=self.annotation.min_coverage,
            counts=self.annotation.counts,
            library_size_column=self.annotation.library_size_column,
            absent_genes=self.annotation.absent_genes,
            variant=self.annotation.variant,
            majority_voting=self.annotation.majority_voting,
            batch_cells=self.annotation.batch_size,
            threads=self.resources.cpus,
            format=self.annotation.format,
        )


def load_job(path: Path) -> Job:
    """Read and check a job file.

    Raises:
        UserError: it is absent, no YAML, a field is unknown or out of its range, or a path leaves the output folder.
    """
    content = read_yaml(path, "name a job file, as in pipelines/jobs")
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected fields such as model, input and output, found {type(content).__name__}.")
    try:
        return Job.model_validate({"name": path.stem, **content})
    except ValidationError as error:
        raise UserError(f"{path}: field {first_problem(error)}.") from error
