"""The short lineage: whether the code was that of the commit comes in plain words."""

from typing import Any

import pytest

from sctransformer.cli.lineage import _summary

COMMIT = "a" * 40
FILE = {"path": "src/x.py", "state": "modified", "blob": None, "md5": None}


@pytest.mark.parametrize(
    ("git", "words"),
    [
        ({"commit": COMMIT, "dirty": False}, "commit aaaaaaaaaaaa, clean"),
        ({"commit": COMMIT, "dirty": True, "files": [FILE]}, "commit aaaaaaaaaaaa, NOT clean: src/x.py (modified)"),
        ({"commit": COMMIT, "dirty": True}, "commit aaaaaaaaaaaa, NOT clean: files differed from the commit"),
        (
            {"commit": None, "problem": "git is not installed", "code_sha256": "b" * 64},
            "no commit (git is not installed); digest of the code bbbbbbbbbbbb",
        ),
        ({}, "no commit (not recorded)"),
    ],
)
def test_the_state_of_the_code(git: dict[str, Any], words: str) -> None:
    assert dict(_summary("bundle", {"git": git}))["code"] == words


def test_cells_and_network_are_named() -> None:
    params = {"data": {"name": "mine", "cells": "data/mine.h5ad"}, "prior": {"network": "net.tsv"}}
    lines = dict(_summary("bundle", {"params": params, "data_sha256": "c" * 64, "prior_sha256": None}))
    assert lines["cells"] == "mine, data/mine.h5ad, sha256 cccccccccccc"
    assert lines["network"] == "net.tsv, digest not recorded"
