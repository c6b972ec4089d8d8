"""Finding a job file by its path, or by its name in pipelines/jobs."""

from pathlib import Path

from sctransformer.errors import UserError
from sctransformer.layout import JOBS

SUFFIXES = (".yaml", ".yml")


def find_job(name: str) -> Path:
    """The file of a job.

    Args:
        name: a path, or the name of a file in pipelines/jobs without its suffix.

    Raises:
        UserError: the job does not exist; the message lists those that do.
    """
    path = Path(name)
    if path.suffix in SUFFIXES or path.is_file():
        if not path.is_file():
            raise UserError(f"{path}: no such job file.")
        return path
    for suffix in SUFFIXES:
        if (JOBS / f"{name}{suffix}").is_file():
            return JOBS / f"{name}{suffix}"
    existing = [file.stem for file in job_files()]
    raise UserError(f"{name}: no such job (in {JOBS}: {', '.join(existing) or 'none'}).")


def job_files() -> list[Path]:
    """The job files in pipelines/jobs, sorted by name."""
    return sorted(file for file in JOBS.glob("*.y*ml") if file.suffix in SUFFIXES) if JOBS.is_dir() else []
