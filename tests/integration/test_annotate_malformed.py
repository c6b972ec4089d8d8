"""Malformed files: one sentence, a non-zero exit code, an unchanged input and no output."""

from pathlib import Path

import pytest

from sctransformer.annotation.journal import digest_of
from tests.integration.conftest import Call
from tests.malformed import MALFORMED

NAMES = list(MALFORMED)


@pytest.mark.parametrize("name", NAMES)
def test_a_malformed_file_is_refused_in_one_sentence(
    name: str, call: Call, bundle_folder: Path, tmp_path: Path
) -> None:
    make, words = MALFORMED[name]
    (tmp_path / "in").mkdir()
    source = make(tmp_path / "in")
    before = digest_of(source)
    outcome = call("annotate", "-i", source, "-m", bundle_folder, "-o", tmp_path / "out")
    assert outcome.code == 1, outcome
    assert outcome.err.startswith(f"Error: {source}"), outcome.err
    assert outcome.err.count("\n") == 1, outcome.err
    assert words in outcome.err
    assert digest_of(source) == before
    assert not (tmp_path / "in" / "sprung").exists()
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
