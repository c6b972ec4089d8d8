"""A bundle is read only when every file is what was written."""

import shutil
from pathlib import Path

import pytest

from sctransformer._constants import BUNDLE
from sctransformer.errors import UserError
from sctransformer.export.bundle import read_bundle


def test_a_bundle_reads_back(bundle_folder: Path) -> None:
    bundle = read_bundle(bundle_folder)
    assert bundle.parity["passed"]
    assert len(bundle.genes) == bundle.config["n_genes"]
    assert bundle.labels["name"].tolist() == ["alpha", "beta", "gamma"]


@pytest.mark.parametrize("name", [name for name in BUNDLE if name != BUNDLE.checksums])
def test_a_changed_file_is_refused_by_name(bundle_folder: Path, tmp_path: Path, name: str) -> None:
    copy = shutil.copytree(bundle_folder, tmp_path / "bundle")
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name}: does not match its checksum"):
        read_bundle(copy)


@pytest.mark.parametrize("name", [name for name in BUNDLE if name != BUNDLE.checksums])
def test_a_missing_file_is_refused_by_name(bundle_folder: Path, tmp_path: Path, name: str) -> None:
    copy = shutil.copytree(bundle_folder, tmp_path / "bundle")
    (copy / name).unlink()
    with pytest.raises(UserError, match=f"{name}: is missing"):
        read_bundle(copy)


def test_an_extra_file_is_refused(bundle_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(bundle_folder, tmp_path / "bundle")
    (copy / "extra.bin").write_bytes(b"x")
    with pytest.raises(UserError, match=r"extra\.bin: is not listed"):
        read_bundle(copy)
