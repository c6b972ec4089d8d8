"""Paths of Ray on this machine."""

from pathlib import Path

import pytest

from sctransformer.errors import UserError
from sctransformer.training.ray_connection import short_folder


def test_ray_chooses_its_folder_if_the_path_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    for folder in (None, "/scratch"):
        if folder is None:
            monkeypatch.delenv("TMPDIR", raising=False)
        else:
            monkeypatch.setenv("TMPDIR", folder)
        assert short_folder() is None


def test_a_long_tmpdir_is_replaced_for_ray(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", "/" + "ü" * 25)  # two bytes each
    assert short_folder() == "/tmp/ray"
    assert "RAY_TMPDIR sets another folder" in capsys.readouterr().err
    monkeypatch.setenv("RAY_TMPDIR", "/short")
    assert short_folder() is None


def test_a_long_ray_tmpdir_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("long" * 20)))
    with pytest.raises(UserError, match=r"RAY_TMPDIR=.* at most 10[37] are allowed\); set RAY_TMPDIR to a shorter one"):
        short_folder()
