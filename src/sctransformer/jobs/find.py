"""Finding a job file: by its path, or by its name in pipelines/jobs."""

from pathlib import Path

from sctransformer.errors import UserError

FOLDER = Path("pipelines/jobs")
SUFFIXES = (".yaml", ".yml")


def find_job(name: str) -> Path:
    """The file of a job.

    Args:
        name: a path, or the name of a file in pipelines/jobs without its ending.

    Raises:
        UserError: there is none; the sentence names those that there are.
    """
    path = Path(name)
    if path.suffix in SUFFIXES or path.is_file():
        if not path.is_file():
            raise UserError(f"{path}: no such job file.")
        return path
    for suffix in SUFFIXES:
        if (FOLDER / f"{name}{suffix}").is_file():
            return FOLDER / f"{name}{suffix}"
    there = sorted(file.stem for file in FOLDER.glob("*.y*ml")) if FOLDER.is_dir() else []
    raise UserError(f"{name}: no such job (in {FOLDER}: {', '.join(there) or 'none'}).")
