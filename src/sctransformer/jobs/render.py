"""Files with which schedulers run a job: a systemd service and timer, a crontab line, Kubernetes manifests."""

import json
import os
import re
import shlex
import sys
from importlib.resources import files
from pathlib import Path
from typing import Literal

import jinja2

from sctransformer.errors import UserError
from sctransformer.jobs.schedule import Schedule
from sctransformer.jobs.spec import Job

Target = Literal["systemd", "cron", "kubernetes", "kuberay"]
TEMPLATES = Path(str(files("sctransformer.jobs") / "templates"))
ENVIRONMENT = ".env"
"""File in the project's folder with environment variables for units and crontabs."""
_CONNECTIONS = ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "AWS_ENDPOINT_URL")
_RAY = "2.60.0"


def render(job: Job, file: Path, target: Target) -> dict[str, str]:
    """Contents of the files for a scheduler, by file name.

    Args:
        file: the job file, as given to `batch run`; for Kubernetes, relative to the project's folder.
        target: the scheduler.

    Raises:
        UserError: the path of the job file is absolute, which has no meaning on a cluster.
    """
    names = {
        "systemd": [(f"sctransformer-{job.name}.{kind}", f"systemd.{kind}.j2") for kind in ("service", "timer")],
        "cron": [(f"{job.name}.cron", "cron.j2")],
        "kubernetes": [(f"{job.name}.yaml", "kubernetes.yaml.j2")],
        "kuberay": [(f"{job.name}-ray.yaml", "kuberay.yaml.j2")],
    }[target]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.StrictUndefined, autoescape=False, trim_blocks=True,
        keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters |= {
        "systemd_path": _systemd_path,
        "systemd_pattern": _systemd_pattern,
        "systemd_word": _systemd_word,
        "cron": _cron,
        "yaml": json.dumps,
        "shell": shlex.quote,
    }
    on_cluster = target in ("kubernetes", "kuberay")
    if on_cluster and file.is_absolute():
        raise UserError(f"{file}: give the job file relative to the project's folder, as the cluster will see it.")
    if not on_cluster:
        _require_one_line(Path.cwd(), file.absolute())
    schedule = Schedule.parse(job.schedule)
    content = {
        "job": job,
        "schedule": schedule.crontab(),
        "calendars": schedule.calendars(),
        "file": str(file if on_cluster else file.absolute()),
        "folder": str(Path.cwd()),
        "program": _program(),
        "memory_mib": job.resources.memory_mib,
        "memory": json.dumps(f"{job.resources.memory_mib}Mi"),
        "ray_version": _RAY,
    }
    return {name: environment.get_template(template).render(content) for name, template in names}


def missing_variables(folder: Path) -> list[str]:
    """Variables of MLflow and Ray that are set in this process, but not in the `.env` file that schedulers read."""
    file = folder / ENVIRONMENT
    lines = file.read_text(errors="replace").splitlines() if file.is_file() else []
    given = {line.partition("=")[0].strip() for line in lines}
    return [name for name in _CONNECTIONS if os.environ.get(name) and name not in given]


def _program() -> list[str]:
    """The words that start this interpreter, which in a unit file may have no quotes or backslashes in its path."""
    if re.search(r"""['"\\]""", sys.executable):
        return ["/bin/sh", "-c", 'exec "$0" "$@"', sys.executable]
    return [sys.executable]


def _require_one_line(*paths: Path) -> None:
    for path in paths:
        if not str(path).isprintable():
            raise UserError(
                f"{str(path)!r}: contains a control character, which no unit file or crontab can hold; rename it."
            )


def _systemd_path(text: str) -> str:
    """A path by itself, as after WorkingDirectory=: quotes and backslashes have no meaning, % starts a specifier.

    A slash protects a space or a backslash at the end. See systemd.unit(5) and systemd.exec(5).
    """
    doubled = text.replace("%", "%%")
    return f"{doubled}/" if doubled.endswith((" ", "\\")) else doubled


def _systemd_pattern(text: str) -> str:
    """A path by itself where systemd also expands wildcards, as after EnvironmentFile=."""
    return _systemd_path(re.sub(r"([\\*?\[])", r"\\\1", text))


def _systemd_word(text: str) -> str:
    """One word of a command that starts with a colon, so that $ has no meaning. See systemd.service(5)."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return escaped if re.fullmatch(r"[\w%@+=:,./-]+", escaped) else f'"{escaped}"'


def _cron(text: str) -> str:
    """Escape %, which ends a line in a crontab."""
    return text.replace("%", "\\%")
