"""What existing schedulers need to run a job: a systemd service and timer, a crontab line, Kubernetes manifests."""

import json
import re
import shlex
import sys
from importlib.resources import files
from pathlib import Path
from typing import Literal, get_args

import jinja2

from sctransformer.errors import UserError
from sctransformer.jobs.spec import Job

Target = Literal["systemd", "cron", "kubernetes", "kuberay"]
TARGETS: tuple[str, ...] = get_args(Target)
TEMPLATES = Path(str(files("sctransformer.jobs") / "templates"))
_DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_RAY = "2.60.0"


def render(job: Job, file: Path, target: Target) -> dict[str, str]:
    """Files for a scheduler, by name.

    Args:
        file: of the job, as `batch run` is to be given it; on Kubernetes it is relative to the project's folder.
        target: which scheduler.

    Raises:
        UserError: the target cannot express the job's schedule.
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
    content = {
        "job": job,
        "file": str(file if on_cluster else file.absolute()),
        "folder": str(Path.cwd()),
        "program": sys.executable,
        "memory": json.dumps(f"{round(job.resources.memory_gib * 1024)}Mi"),
        "ray_version": _RAY,
    }
    if target == "systemd":
        content["calendar"] = calendar(job.schedule)
    return {name: environment.get_template(template).render(content) for name, template in names}


def calendar(schedule: str) -> str:
    """A crontab schedule as systemd's OnCalendar.

    Raises:
        UserError: it names both days of the month and of the week, which crontab joins by "or" and systemd by "and".
    """
    minute, hour, day, month, weekday = schedule.split()
    if day != "*" and weekday != "*":
        raise UserError(f"schedule {schedule!r}: systemd cannot join days of month and week; use one of them.")
    days = "" if weekday == "*" else re.sub(r"\d", lambda found: _DAYS[int(found[0])], weekday).replace("-", "..") + " "
    date = f"*-{_field(month, 1)}-{_field(day, 1)}"
    return f"{days}{date} {_field(hour, 0)}:{_field(minute, 0)}:00"


def _field(text: str, first: int) -> str:
    """`*/5` becomes `0/5`; ranges are written with two dots."""
    return ",".join(re.sub(r"^\*/", f"{first}/", part).replace("-", "..") for part in text.split(","))


def _systemd(text: str) -> str:
    """One word of a unit file: quoted, with nothing that systemd would expand."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if re.search(r"[\s'\"\\;]", text) else escaped


def _cron(text: str) -> str:
    """Crontab takes % for the end of a line."""
    return text.replace("%", "\\%")
