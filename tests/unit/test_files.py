"""Files are whole or absent."""

import os
from pathlib import Path

import pytest

from sctransformer import files
from sctransformer.errors import OutputError, UserError
from sctransformer.files import atomic_write, read_json, sha256_file, sha256_json, write_json


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_replaces_a_folder(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    for content in ("one", "two"):
        with atomic_write(target) as folder:
            folder.mkdir()
            (folder / content).write_text(content)
    assert [path.name for path in target.iterdir()] == ["two"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file: cannot be written"), atomic_write(tmp_path / "file" / "x"):
        pass


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "cells.h5ad")
    with pytest.raises(UserError, match=r"cells\.h5ad: is not a regular file"):
        sha256_file(tmp_path / "cells.h5ad")


def test_json_is_written_in_one_form(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": [1.5, None]})
    assert (tmp_path / "a.json").read_text().startswith('{\n  "a"')
    assert read_json(tmp_path / "a.json") == {"a": [1.5, None], "b": 1}
    assert sha256_json({"a": 1, "b": 2}) == sha256_json({"b": 2, "a": 1})


def test_numbers_that_json_does_not_know_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_broken_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": ')
    with pytest.raises(UserError, match=r"a\.json: is not valid JSON \(line 1"):
        read_json(tmp_path / "a.json")
    with pytest.raises(UserError, match="no such file"):
        read_json(tmp_path / "b.json")


def test_a_folder_that_was_deleted_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(OutputError, match="cannot be found"):
        files.inside(Path("out"), Path("s1"))
