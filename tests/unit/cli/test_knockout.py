"""`sctransformer simulate`: text and JSON for a regulator, and one sentence for each mistake."""

import json
from pathlib import Path

import pytest

from sctransformer.cli.main import run
from tests.conftest import simulated_cells

OLD_BUNDLE = Path(__file__).parents[2] / "golden" / "bundle-0.1.0"


def called(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        run(["simulate", *map(str, words)])
    captured = capsys.readouterr()
    return int(end.value.code or 0), captured.out, captured.err


@pytest.fixture
def file(tmp_path: Path) -> Path:
    simulated_cells(120, seed=3).write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path / "cells.h5ad"


def test_a_simulation_says_that_it_is_an_association(
    capsys: pytest.CaptureFixture[str], activity_bundle: Path, file: Path, tmp_path: Path
) -> None:
    words = (activity_bundle, file, "--knockout", "GENE1", "--force", "--json", tmp_path / "found.json")
    code, out, err = called(capsys, *words)
    assert code == 0, err
    assert out.startswith(f"GENE1 knocked out in 120 cells of {file}: mean activity from ")
    assert "not a measured effect of a knock-out" in out
    assert "mean (no change) 0; 20 rewired networks" in out
    assert "Warning: GENE1: its evidence against rewired networks was not measured" in err
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["after"] < found["before"]
    assert {"gene", "sign", "change", "log_change"} == set(found["genes"][0])
    code, out, _ = called(capsys, activity_bundle, file, "--activate", "GENE1", "--force")
    assert code == 0
    assert "GENE1 activated in 120 cells" in out


def test_mistakes_are_one_sentence(
    capsys: pytest.CaptureFixture[str], activity_bundle: Path, bundle_folder: Path, file: Path
) -> None:
    for words, expected in (
        ((activity_bundle, file), "needs one of --knockout REGULATOR and --activate REGULATOR"),
        ((activity_bundle, file, "--knockout", "GENE1", "--activate", "GENE2"), "needs one of --knockout"),
        ((activity_bundle, file, "--knockout", "GENE1"), "--force simulates it all the same"),
        ((activity_bundle, file, "--knockout", "gene1"), "has no regulator 'gene1'; did you mean GENE1"),
        ((OLD_BUNDLE, file, "--knockout", "GENE1"), "has no activities of regulators"),
        ((bundle_folder, file, "--knockout", "GENE1"), "has no activities of regulators"),
    ):
        code, out, err = called(capsys, *words)
        assert (code, out) == (1, "")
        assert expected in err
        assert err.count("\n") == 1
