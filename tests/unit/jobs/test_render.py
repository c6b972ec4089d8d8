"""Files for schedulers, in folders whose names have a meaning for systemd, cron or a shell."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sctransformer.errors import UserError
from sctransformer.jobs.render import missing_variables, render
from sctransformer.jobs.spec import Job, load_job

FOLDERS = [
    "plain",
    "with space",
    "Prüf ordner",
    "100% x%n",
    "$HOME ${x}",
    'it\'s "quoted"',
    "back\\slash",
    "end ",
    "a=b;c",
    "[*]?",
]
PYTHON = """#!/bin/sh
{ pwd; printf '%s\\n' "$MLFLOW_TRACKING_URI" "$@"; } > "$RECORD"
"""


@pytest.fixture(params=FOLDERS)
def project(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a job and an interpreter of its own, in a folder with a special name."""
    folder = tmp_path / request.param
    (folder / "pipelines" / "jobs").mkdir(parents=True)
    (folder / "python").write_text(PYTHON)
    (folder / "python").chmod(0o755)
    (folder / ".env").write_text("MLFLOW_TRACKING_URI='http://127.0.0.1:5000/$x'\n")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    return folder


def job() -> Job:
    return Job(name="nightly", model="celltype@champion", input="new", output=Path("annotated"))


def settings(unit: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in unit.splitlines() if "=" in line and not line.startswith("#"))


def test_systemd_accepts_the_unit(project: Path) -> None:
    texts = render(job(), Path("pipelines/jobs/a b.yaml"), "systemd")
    unit = settings(texts["sctransformer-nightly.service"])
    assert unit["WorkingDirectory"].replace("%%", "%").rstrip("/") == str(project)
    assert unit["ExecStart"].startswith(":")
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze")
    for name, text in texts.items():
        (project.parent / name).write_text(text)
    files = [str(project.parent / name) for name in texts]
    checked = subprocess.run(["systemd-analyze", "verify", *files], capture_output=True, text=True, check=False)
    assert "sctransformer-nightly" not in checked.stderr, checked.stderr


def test_the_line_of_a_crontab_runs_the_job_with_the_environment(project: Path) -> None:
    (text,) = render(job(), Path("pipelines/jobs/a b.yaml"), "cron").values()
    (line,) = [line for line in text.splitlines() if not line.startswith("#")]
    command = line.split(" ", 5)[5].replace("\\%", "%")
    environment = {"PATH": os.environ["PATH"], "RECORD": str(project.parent / "record")}
    subprocess.run(["/bin/sh", "-c", command], env=environment, check=True, cwd="/")
    words = ["-m", "sctransformer.cli.main", "batch", "run", str(project / "pipelines/jobs/a b.yaml")]
    recorded = (project.parent / "record").read_text().splitlines()
    assert recorded == [str(project), "http://127.0.0.1:5000/$x", *words]
    assert (project / "nightly.log").exists()


def test_a_folder_that_no_unit_can_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "two\nlines").mkdir()
    monkeypatch.chdir(tmp_path / "two\nlines")
    for target in ("systemd", "cron"):
        with pytest.raises(UserError, match="contains a control character"):
            render(job(), Path("job.yaml"), target)  # type: ignore[arg-type]


def test_variables_that_a_scheduler_does_not_see_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    (tmp_path / ".env").write_text("# RAY_ADDRESS is not here\nMLFLOW_TRACKING_URI=x\n")
    assert missing_variables(tmp_path) == ["RAY_ADDRESS"]


@pytest.mark.parametrize("value", [".inf", ".nan", "1.0e+9"])
def test_a_memory_limit_is_a_number(tmp_path: Path, value: str) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(f"model: a@b\ninput: new\noutput: out\nresources: {{memory_gib: {value}}}\n")
    with pytest.raises(UserError, match=r"field resources\.memory_gib is (inf|nan|1000000000\.0)"):
        load_job(file)
