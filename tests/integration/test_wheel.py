"""The wheel is complete: it carries the code and the data files that the pipeline needs, without a checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

pytest.importorskip("hatchling", reason="the build backend is not installed")

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "sctransformer"


def stage_modules() -> list[str]:
    """Modules that dvc.yaml runs."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    return [stage["cmd"].split("python -m ")[1].split()[0] for stage in stages.values()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (file,) = folder.glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


def test_the_wheel_has_every_file_of_the_package(wheel: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", str(PACKAGE)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    sources = {Path(name).relative_to("src").as_posix() for name in filter(None, listed.stdout.split("\0"))}
    sources = {name for name in sources if (ROOT / "src" / name).is_file()}
    packed = {path.relative_to(wheel).as_posix() for path in (wheel / "sctransformer").rglob("*") if path.is_file()}
    assert packed == sources
    suffixes = {Path(name).suffix for name in packed}
    assert {".j2", ".tsv", ".json", ".py"} <= suffixes
    assert "sctransformer/py.typed" in packed


def test_the_wheel_has_every_stage_of_the_pipeline_and_nothing_beside_the_package(wheel: Path) -> None:
    modules = stage_modules()
    assert len(modules) > 5
    for module in modules:
        assert (wheel / Path(*module.split("."))).with_suffix(".py").is_file(), module
    assert {path.name for path in wheel.iterdir() if not path.name.endswith(".dist-info")} == {"sctransformer"}


@pytest.mark.slow
def test_stages_are_imported_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    modules = [*stage_modules(), "sctransformer.pipeline.demo", "sctransformer.pipeline.tune", "sctransformer.cli.main"]
    code = f"import sctransformer, {', '.join(modules)}; print(sctransformer.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(wheel)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(wheel)
