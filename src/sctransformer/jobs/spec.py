"""Job files, typed: which model labels which files, where the results go, when it runs, and when drift is an alarm."""

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator

from sctransformer.annotation.settings import AnnotationSettings, ClusterSettings, LabellingSettings
from sctransformer.errors import UserError
from sctransformer.jobs.schedule import Schedule
from sctransformer.monitor.settings import AlarmRule, Limits
from sctransformer.settings import Settings
from sctransformer.typed_yaml import first_problem, read_fields

NAME = r"^[a-z0-9]([-a-z0-9]{0,40}[a-z0-9])?$"
"""Names of jobs; they are also the names of systemd units and CronJobs."""
_NO_CONTROL = re.compile(r"[^\x00-\x1f\x7f]+")

Line = Annotated[str, Field(min_length=1, max_length=1000)]


class Resources(Settings):
    """What a run may use; schedulers and clusters get the same values."""

    cpus: int = Field(default=2, ge=1)
    """CPUs, and threads of each scoring session; a run refuses a machine with fewer cores."""
    memory_gib: float = Field(default=4.0, gt=0.0, le=100_000.0)
    """Memory limit in GiB."""
    gpus: int = Field(default=0, ge=0)
    """GPUs of each scoring session."""

    @property
    def memory_mib(self) -> int:
        """Memory limit in MiB, at least one."""
        return max(1, round(self.memory_gib * 1024))


class Drift(AlarmRule, Limits):
    """When a batch counts as drifted, and when drifted batches are an alarm."""

    fail: bool = False
    """Whether a run ends with exit code 4 if its batches raise or continue the alarm; the labels are written in any
    case."""


class Job(ClusterSettings):
    """A job file."""

    name: str = Field(pattern=NAME)
    """Name of the job; by default the name of the file."""
    model: Line
    """NAME@ALIAS, NAME/VERSION or a bundle's folder. An alias is resolved once per run."""
    input: Line
    """A file, a folder, a pattern or a URL; outputs keep the folders from the pattern's first wildcard on."""
    output: Path
    """Folder for everything that the job writes."""
    schedule: str = "0 3 * * *"
    """When the job runs, as in crontab: minute, hour, day of month, month, day of week; see `Schedule`."""
    experiment: str = Field(default="annotation", min_length=1, max_length=200)
    """MLflow experiment; each run of the job is a run in it."""
    report: Path = Path("drift.html")
    """Drift report, relative to the output folder."""
    validate_cells: bool = Field(default=True, validation_alias="validate", serialization_alias="validate")
    """Whether to check each file with the expectations on batches; after a critical failure it is not labelled."""
    image: str = Field(default="sctransformer:latest", pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:@-]*$")
    """Container image for Kubernetes."""
    resources: Resources = Field(default_factory=Resources)
    annotation: LabellingSettings = Field(default_factory=LabellingSettings)
    drift: Drift = Field(default_factory=Drift)

    @field_validator("schedule")
    @classmethod
    def _is_cron(cls, value: str) -> str:
        Schedule.parse(value)
        return value

    @field_validator("model", "input", "experiment")
    @classmethod
    def _is_one_line(cls, value: str) -> str:
        if not _NO_CONTROL.fullmatch(value):
            raise ValueError("expected one line without control characters")
        return value

    @field_validator("output", "report", mode="before")
    @classmethod
    def _is_a_path(cls, value: Any) -> Any:
        if str(value) and not _NO_CONTROL.fullmatch(str(value)):
            raise ValueError(f"is {str(value)!r}; expected one line without control characters")
        if "://" in str(value):
            raise ValueError(f"is {str(value)!r}, a URL; expected a folder or file of this machine")
        if str(value).startswith("~"):
            raise ValueError(f"is {str(value)!r}; ~ is not expanded here: write the whole path")
        return value

    @field_validator("output")
    @classmethod
    def _is_own_folder(cls, value: Path) -> Path:
        if ".." in value.parts or not value.name:
            raise ValueError(f"is {str(value)!r}; expected a folder of its own, without '..'")
        return value

    @field_validator("report")
    @classmethod
    def _stays_inside(cls, value: Path) -> Path:
        if value.is_absolute() or any(part.startswith(".") for part in value.parts) or value == Path():
            raise ValueError(
                f"is {str(value)!r}; expected a path inside the output folder, without '..' and hidden folders"
            )
        return value

    @property
    def settings(self) -> AnnotationSettings:
        """How the job's files are annotated."""
        return self.annotation.part(AnnotationSettings, threads=self.resources.cpus)


def load_job(path: Path) -> Job:
    """Read and check a job file.

    Raises:
        UserError: the file is missing or is not YAML, a field is unknown or out of range, or a path leaves the output
            folder.
    """
    content = read_fields(path, "a job file has fields such as model, input and output, as in pipelines/jobs")
    try:
        return Job.from_file({"name": path.stem, **content})
    except ValidationError as error:
        raise UserError(f"{path}: field {first_problem(error, Job)}.") from error
