"""Files with which schedulers run a job: a systemd service and timer, a crontab line, Kubernetes manifests."""

import json
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
    environment.filters |= {"systemd": _systemd, "cron": _cron, "yaml": json.dumps, "shell": shlex.quote}
    on_cluster = target in ("kubernetes", "kuberay")
    if on_cluster and file.is_absolute():
        raise UserError(f"{file}: give the job file relative to the project's folder, as the cluster will see it.")
    schedule = Schedule.parse(job.schedule)
    content = {
        "job": job,
        "schedule": schedule.crontab(),
        "calendars": schedule.calendars(),
        "file": str(file if on_cluster else file.absolute()),
        "folder": str(Path.cwd()),
        "program": sys.executable,
        "memory": json.dumps(f"{round(job.resources.memory_gib * 1024)}Mi"),
        "ray_version": _RAY,
    }
    return {name: environment.get_template(template).render(content) for name, template in names}


def _systemd(text: str) -> str:
    """Quote one word of a unit file, so that systemd expands nothing in it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if re.search(r"[\s'\"\\;]", text) else escaped


def _cron(text: str) -> str:
    """Escape %, which ends a line in a crontab."""
    return text.replace("%", "\\%")
