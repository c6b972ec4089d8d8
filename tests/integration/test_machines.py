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
    set_params(folder, SMALL | {"train": {"pretrain_epochs": 1, "pretrain_min_steps": 0, "workers": 1}})
    environment = folder / ".venv"
    venv.create(environment, symlinks=True)
    packages = environment / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    packages.rmdir()
    packages.symlink_to(sysconfig.get_path("purelib"))
    return folder


def test_an_archive_in_a_folder_with_a_space_trains(archive: Path) -> None:
    paths = os.pathsep.join([str(archive / ".venv" / "bin"), os.environ["PATH"]])
    code = (
        "import sctransformer.pipeline.experiment as e; e.require_project(); "
        "e.run_stages({'train.pretrain_lr': 0.002}, 'train')"
    )
    done = run(archive, str(archive / ".venv" / "bin" / "python"), "-c", code, PATH=paths)
    assert "this folder is not in a git repository" in done.stderr
    lineage = read_json(archive / layout.LINEAGE)
    assert lineage["params"]["train"]["pretrain_lr"] == 0.002
    git = lineage["git"]
    assert git["commit"] is None
    assert len(git["code_sha256"]) == 64
    assert list(archive.glob("mlartifacts/**/code.zip"))
