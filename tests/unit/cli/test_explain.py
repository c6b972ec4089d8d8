"""`sctransformer explain`: tables for a model and for cells, a JSON file, and one sentence for each mistake."""

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple, Protocol

import pytest

import sctransformer as sct
from sctransformer.cli.main import run
from tests.conftest import GENES, LABELS, simulated_cells

OLD_BUNDLE = Path(__file__).parents[2] / "golden" / "bundle-0.1.0"


class Outcome(NamedTuple):
    """What a command leaves behind."""

    code: int
    out: str
    err: str


class Explain(Protocol):
    """Calls the command with these words."""

    def __call__(self, *words: object) -> Outcome:
        """Call the command."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    simulated_cells().write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path / "cells.h5ad"


@pytest.fixture
def explained(capsys: pytest.CaptureFixture[str]) -> Explain:
    def call(*words: object) -> Outcome:
        with pytest.raises(SystemExit) as end:
            run(["explain", *map(str, words)])
        captured = capsys.readouterr()
        return Outcome(int(end.value.code or 0), captured.out, captured.err)

    return call


def test_a_model_is_explained_with_a_row_per_cell_type(activity_bundle: Path, explained: Explain) -> None:
    done = explained(activity_bundle)
    assert done.code == 0, done.err
    model = sct.load_model(activity_bundle).explain()
    for name in LABELS:
        line = next(line for line in done.out.splitlines() if line.split()[:1] == [name])
        assert line.split()[1].rstrip("-") == model.genes[model.genes["cell_type"] == name]["gene"].iloc[0]


def test_a_cell_type_is_explained_in_full_and_written_as_json(
    activity_bundle: Path,
    tmp_path: Path,
    explained: Explain,
) -> None:
    done = explained(activity_bundle, "--cell-type", "beta", "--top", 3, "--json", tmp_path / "beta.json")
    assert done.code == 0, done.err
    assert "beta compared with the other cell types" in done.out
    model = sct.load_model(activity_bundle)
    found, content = model.explain("beta", top=3), json.loads((tmp_path / "beta.json").read_text())
    assert content["identity"] == model.identity
    assert [row["gene"] for row in content["genes"]] == found.genes["gene"].tolist()
    assert set(found.genes["gene"]) <= set(GENES[8:16])
    assert [row["top_targets"] for row in content["regulators"]] == found.regulators["top_targets"].tolist()
    assert all(row["gene"] in done.out for row in content["genes"])


def test_cells_are_explained_as_in_python(
    activity_bundle: Path,
    file: Path,
    tmp_path: Path,
    explained: Explain,
) -> None:
    words = ("--cell", "cell4", "--cell", "cell2", "--top", 2, "--json", tmp_path / "out.json")
    done = explained(activity_bundle, file, *words)
    assert done.code == 0, done.err
    found = sct.load_model(activity_bundle).explain_cells(simulated_cells(), ["cell4", "cell2"], top=2)
    content = json.loads((tmp_path / "out.json").read_text())
    assert [row["cell"] for row in content["summary"]] == ["cell4", "cell2"]
    assert [row["log_odds"] for row in content["summary"]] == pytest.approx(found.summary["log_odds"].tolist())
    assert [row["gene"] for row in content["genes"]] == found.genes["gene"].tolist()
    assert done.out.index("cell4: ") < done.out.index("cell2: ")
    assert "log odds " in done.out


def test_faithfulness_is_shown_and_written(
    activity_bundle: Path,
    file: Path,
    tmp_path: Path,
    explained: Explain,
) -> None:
    done = explained(activity_bundle, file, "--faithfulness", "--json", tmp_path / "out.json")
    assert done.code == 0, done.err
    content = json.loads((tmp_path / "out.json").read_text())
    assert "summary" not in content
    assert content["faithfulness"]["low"] > 0
    assert f"95 % interval {content['faithfulness']['low']:.2f} to" in done.out


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["{bundle}", "--cell", "cell1"], "--cell needs a file"),
        (["{bundle}", "--faithfulness"], "--faithfulness needs a file"),
        (["{old}", "{file}", "--faithfulness"], "not linear in expression"),
        (["{bundle}", "{file}"], "name at least one of its cells with --cell"),
        (["{bundle}", "{file}", "--cell-type", "beta"], "leave out CELLS"),
        (["{bundle}", "--cell-type", "betta"], "has no cell type 'betta'; did you mean beta?"),
        (["{bundle}", "{file}", "--cell", "cel1"], "has no cell 'cel1'; did you mean cell1"),
        (["{bundle}", "nowhere.h5ad", "--cell", "cell1"], "nowhere.h5ad: no such file"),
        (["{old}"], "not linear in expression (model.direction is regulators)"),
        (["{old}", "{file}", "--cell", "cell1"], "not linear in expression (model.direction is regulators)"),
    ],
)
def test_what_cannot_be_explained_is_refused_in_a_sentence(
    words: list[str],
    problem: str,
    activity_bundle: Path,
    file: Path,
    explained: Explain,
) -> None:
    done = explained(*(word.format(bundle=activity_bundle, file=file, old=OLD_BUNDLE) for word in words))
    assert done.code == 1
    assert problem in done.err
    assert done.err.count("\n") == 1
    assert done.out == ""


@pytest.mark.slow
def test_explaining_needs_no_torch(activity_bundle: Path, file: Path) -> None:
    program = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "mlflow", "ray", "dvc"):
            raise ImportError(f"{name} is not installed here")
sys.meta_path.insert(0, Blocker())
from sctransformer.cli.main import run
run(["explain", *sys.argv[1:]])
"""
    words = [sys.executable, "-c", program, str(activity_bundle), str(file), "--cell", "cell1"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "cell1: " in done.stdout
