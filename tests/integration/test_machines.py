"""Folders and accounts unlike a developer's: an archive without git in a folder with a space, a user without a name."""

import os
import shutil
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from sctransformer import layout
from sctransformer.files import read_json
from tests.integration.clones import SMALL, prepared_clone, run, set_params

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as from an unpacked archive, in a folder with a space, with its environment inside."""
    folder = prepared_clone(tmp_path_factory.mktemp("machine") / "Prüf ordner", tmp_path_factory)
    shutil.rmtree(folder / ".git")
    set_params(folder, SMALL | {"train": SMALL["train"] | {"pretrain_epochs": 1}})
    environment = folder / ".venv"
    venv.create(environment, symlinks=True)
    packages = environment / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    packages.rmdir()
    packages.symlink_to(sysconfig.get_path("purelib"))
    return folder


TRAIN = """
import ray
from sctransformer.pipeline.experiment import require_project, run_stages
from sctransformer.training.ray_connection import connection

require_project()
run_stages({"train.pretrain_lr": 0.002}, "train")
with connection():
    print("worker:", ray.get(ray.remote(lambda: __import__("sys").executable).remote()))
"""


def test_an_archive_in_a_folder_with_a_space_trains_and_starts_workers(archive: Path) -> None:
    python = str(archive / ".venv" / "bin" / "python")
    done = run(archive, python, "-c", TRAIN, PATH=os.pathsep.join([str(Path(python).parent), os.environ["PATH"]]))
    assert "this folder is not in a git repository" in done.stderr
    assert f"worker: {python}" in done.stdout
    lineage = read_json(archive / layout.LINEAGE)
    assert lineage["params"]["train"]["pretrain_lr"] == 0.002
    git = lineage["git"]
    assert git["commit"] is None
    assert len(git["code_sha256"]) == 64
    assert list(archive.glob("mlartifacts/**/code.zip"))
