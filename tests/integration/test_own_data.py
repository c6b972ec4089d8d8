"""From cells and a network of one's own to a promoted model, in a clone of the project; no mocks."""

from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.integration.clones import LENIENT, WITHOUT_CONTROL, clone, run
from tests.integration.conftest import Call

pytestmark = pytest.mark.slow


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A clone in which nothing has run."""
    return clone(tmp_path)


def test_own_data_from_a_clone_to_a_promoted_model(
    fresh: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    """The README's workflow: cells, a network and a job file of one's own, committed after the training.

    What the model was made from must be committed, the job file need not be, and the model is not trained twice.
    """
    monkeypatch.chdir(fresh)
    monkeypatch.setenv("PYTHONPATH", str(fresh / "src"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    network = pd.read_csv("src/sctransformer/prior/immune_network.tsv", sep="\t", comment="#")
    regulators = sorted(set(network["regulator"]))[:15]
    targets = sorted(set(network.loc[network["regulator"].isin(regulators), "target"]) - set(regulators))[:60]
    outside = tmp_path_factory.mktemp("outside")
    (outside / "symbols.txt").write_text("\n".join([*regulators, *targets]))
    cells = outside / "mine.h5ad"

    def command(*words: object, code: int = 0) -> str:
        outcome = call(*words)
        assert outcome.code == code, outcome
        return outcome.out

    simulate = ("data", "simulate", "--cells", 200, "--types", 3, "--regulators", 15, "-o", cells)
    command(*simulate, "--gene-symbols", outside / "symbols.txt")
    command("data", "add", "mine", cells, "--label-column", "cell_type", "--donor-column", "donor_id")
    source = "immune=src/sctransformer/prior/immune_network.tsv"
    command("prior", "build", "-i", source, "-o", "data/networks/mine.tsv")
    job = Path("pipelines/jobs/mine.yaml")
    job.write_text("model: mine@champion\ninput: data/new_cells.h5ad\noutput: annotated/mine\n")
    gates = LENIENT | {"prior_edges": {"minimum": 1}, "prior_genes": {"minimum": 0.0}}
    Path("policy.yaml").write_text(yaml.safe_dump({"gates": gates}))
    before = Path("params.yaml").read_bytes()

    train = ("train", "-S", "data=mine", "-S", "prior=mine", "-S", "train.pretrain_epochs=1", *WITHOUT_CONTROL)
    printed = command(*train)
    assert "not committed: data/networks/mine.tsv (new), data/raw/mine.h5ad.dvc (new)." in printed
    assert "git add data/networks/mine.tsv data/raw/mine.h5ad.dvc && git commit" in printed
    assert "Trained by run" in printed
    assert Path("params.yaml").read_bytes() == before
    command("register", "--name", "mine")
    promote = ("promote", "mine/1", "--first", "--policy", "policy.yaml", "--reason", "the first")
    assert "failed: lineage_clean." in command(*promote, code=1)

    git = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org")
    run(fresh, "git", "add", "data/networks/mine.tsv", "data/raw/mine.h5ad.dvc")
    run(fresh, *git, "commit", "--quiet", "-m", "mine")
    assert "mine/1 is the champion" in command(*promote)
    assert str(job) in run(fresh, "git", "status", "--short").stdout
    assert "Nothing was trained" in command(*train)
    assert "mine/1: was already registered" in command("register", "--name", "mine")
