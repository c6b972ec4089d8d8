"""Promotion in a real store: which version becomes champion, and what the ledger records."""

from pathlib import Path

import pytest
from anndata import read_h5ad
from mlflow import MlflowClient

from sctransformer._constants import BUNDLE, OBS
from sctransformer.annotation.model import Model
from sctransformer.annotation.pipeline import annotate_file
from sctransformer.annotation.settings import AnnotationSettings
from sctransformer.errors import UserError
from sctransformer.export.bundle import read_bundle
from sctransformer.export.graph_metadata import record_order
from sctransformer.registry import history, ledger, promotion
from sctransformer.registry.models import resolve
from sctransformer.registry.policy import Policy
from sctransformer.registry.registration import register_bundle
from sctransformer.registry.rescoring import predict_labels
from tests.conftest import GENES, labelled_test_cells, simulated_cells
from tests.integration.test_registry_models import changed, sum_again

SLOW = pytest.mark.slow
POLICY = Policy.model_validate({"gates": {"prior_edges": {"minimum": 10}}})  # the fixture's network has 20 edges


CELLS = Path("test_cells.h5ad")


@pytest.fixture(autouse=True)
def test_cells(project: Path) -> None:
    labelled_test_cells().write_h5ad(project / CELLS)


@pytest.fixture
def two_versions(store: MlflowClient, project: Path, bundle_folder: Path) -> None:
    register_bundle(bundle_folder, "celltype")
    other = changed(bundle_folder, project / "other", calibration={"rejection_threshold": 0.7})
    register_bundle(other, "celltype")


def aliases(store: MlflowClient) -> dict[str, int]:
    return {alias: int(version) for alias, version in store.get_registered_model("celltype").aliases.items()}


def test_the_life_of_a_champion(two_versions: None, store: MlflowClient) -> None:
    with pytest.raises(UserError, match=r"has no champion yet.*--first"):
        promotion.promote("celltype/1", policy=POLICY, cells=CELLS)
    assert aliases(store) == {"candidate": 2}
    assert history.decisions_about("celltype") == []

    first = promotion.promote(
        "celltype/1", policy=POLICY, cells=CELLS, first=True, reason='it\'s the "first" one | 100 %'
    )
    assert (first.verdict, first.from_version, first.recorded) == ("promoted", None, True)
    assert aliases(store) == {"candidate": 2, "champion": 1}

    again = promotion.promote("celltype/1", policy=POLICY, cells=CELLS, first=True)
    assert (again.from_version, again.recorded) == (1, False)

    second = promotion.promote("celltype/2", policy=POLICY, cells=CELLS, reason="better threshold")
    assert second.from_version == 1
    assert aliases(store) == {"candidate": 2, "champion": 2, "previous": 1}
    assert resolve("celltype@champion").version == 2

    newest, oldest = history.decisions_about("celltype")
    assert (newest, oldest) == (second, first)


def test_a_dry_run_changes_nothing(two_versions: None, store: MlflowClient) -> None:
    decision = promotion.promote("celltype/1", policy=POLICY, cells=CELLS, dry_run=True)
    assert (decision.verdict, decision.recorded) == ("promoted", False)
    assert promotion.promote("celltype/1", policy=Policy(), dry_run=True).verdict == "refused"
    assert aliases(store) == {"candidate": 2}
    assert history.decisions_about("celltype") == []
    assert store.get_experiment_by_name("promotions") is None


@pytest.mark.parametrize(
    ("contents", "gate"),
    [
        ({"lineage": {"git": {"commit": "0" * 40, "dirty": True}}}, "lineage_clean"),
        pytest.param({"metrics": {"baseline": {}}}, "baseline", marks=SLOW),
        pytest.param({"metrics": {"test_cells_sha256": "f" * 64}}, "champion", marks=SLOW),
        pytest.param({"metrics": {"control": {}}}, "shuffled_network", marks=SLOW),
        pytest.param({"parity": {"speed": {}}}, "scoring_speed", marks=SLOW),
    ],
)
def test_a_failed_gate_is_a_recorded_refusal(
    store: MlflowClient, project: Path, bundle_folder: Path, contents: dict[str, dict[str, object]], gate: str
) -> None:
    register_bundle(bundle_folder, "celltype")
    promotion.promote("celltype/1", policy=POLICY, cells=CELLS, first=True)
    worse = changed(bundle_folder, project / "worse", calibration={"rejection_threshold": 0.7}, **contents)
    register_bundle(worse, "celltype")

    decision = promotion.promote("celltype/2", policy=POLICY, cells=CELLS, reason="hope")
    assert decision.verdict == "refused"
    assert gate in {result.gate for result in decision.gates if not result.passed}
    assert aliases(store) == {"candidate": 2, "champion": 1}
    recorded = history.decisions_about("celltype")[0]
    assert recorded == decision
    assert (recorded.verdict, recorded.from_version, recorded.to_version) == ("refused", 1, 2)


def test_a_damaged_bundle_is_refused(two_versions: None, store: MlflowClient) -> None:
    promotion.promote("celltype/1", policy=POLICY, cells=CELLS, first=True)
    graph = resolve("celltype/2").folder / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"\0")
    decision = promotion.promote("celltype/2", policy=POLICY, cells=CELLS)
    assert decision.verdict == "refused"
    assert "model.onnx: does not match its checksum" in decision.gates[0].reason
    assert aliases(store)["champion"] == 1


def test_a_promotion_that_breaks_off_is_undone_and_on_record(
    two_versions: None, store: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(MlflowClient, "set_registered_model_alias", break_off)
        with pytest.raises(KeyboardInterrupt):
            promotion.promote("celltype/1", policy=POLICY, cells=CELLS, first=True)
    assert aliases(store) == {"candidate": 2}
    (entry,) = history.decisions_about("celltype")
    assert (entry.verdict, entry.outcome) == ("promoted", "undone")
    promotion.promote("celltype/1", policy=POLICY, cells=CELLS, first=True)
    assert aliases(store)["champion"] == 1


def test_a_deleted_entry_stays_in_the_history(two_versions: None, store: MlflowClient) -> None:
    promotion.promote("celltype/1", policy=POLICY, cells=CELLS, first=True)
    experiment = store.get_experiment_by_name("promotions")
    (run,) = store.search_runs([experiment.experiment_id])
    store.delete_run(run.info.run_id)
    assert len(history.decisions_about("celltype")) == 1


@pytest.mark.slow
def test_many_decisions_come_in_pages(two_versions: None, store: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in (1, 2, 1):
        promotion.promote(f"celltype/{version}", policy=POLICY, cells=CELLS, first=True)
    monkeypatch.setattr(ledger, "_PAGE", 2)
    assert [decision.to_version for decision in history.decisions_about("celltype")] == [1, 2, 1]


def test_unknown_models_and_stores(two_versions: None, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"has no version 9 \(versions: 1, 2\)"):
        promotion.promote("celltype/9", policy=POLICY, cells=CELLS)
    with pytest.raises(UserError, match=r"has no model 'nothing' \(models: celltype\)"):
        promotion.promote("nothing/1", policy=POLICY, cells=CELLS)
    with pytest.raises(UserError, match=r"has no model 'nothing' \(models: celltype\)"):
        history.decisions_about("nothing")
    empty = project / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    with pytest.raises(UserError, match="no registry at"):
        history.decisions_about("celltype")
    assert list(empty.iterdir()) == []


def test_cells_are_scored_again_as_they_are_served(project: Path, bundle_folder: Path) -> None:
    """Also where the file lacks genes of the panel, as a candidate's test cells may lack some of the champion's."""
    bundle = read_bundle(bundle_folder)
    cells = simulated_cells(60, seed=5)
    cells.X = cells.X.minimum(2)  # hard to tell, so that the genes that are absent matter
    cells = cells[:, GENES[4:]].copy()
    cells.write_h5ad(project / "few.h5ad")
    settings = AnnotationSettings(threshold=0.0)
    served = read_h5ad(annotate_file(Model(bundle, "m", "1"), project / "few.h5ad", project / "out", settings).output)
    assert predict_labels(bundle, project / "few.h5ad") == served.obs[OBS.predicted_labels].tolist()


@pytest.mark.slow
def test_a_candidate_that_labels_worse_is_refused_by_scoring_both_again(
    store: MlflowClient, project: Path, bundle_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its recorded macro-F1 is 0.9, but that does not decide."""
    from sctransformer.cli.compare import compare

    register_bundle(bundle_folder, "celltype")
    promotion.promote("celltype/1", policy=POLICY, first=True)
    worse = changed(bundle_folder, project / "worse")
    labels = (worse / "labels.tsv").read_text().splitlines()
    (worse / "labels.tsv").write_text("\n".join([labels[0], labels[2], labels[1], labels[3]]) + "\n")
    names = [labels[index].split("\t")[0] for index in (2, 1, 3)]
    record_order([worse / BUNDLE.graph], read_bundle(bundle_folder).genes, names)
    sum_again(worse)
    register_bundle(worse, "celltype")
    decision = promotion.promote("celltype/2", policy=POLICY, cells=CELLS)
    (gate,) = [gate for gate in decision.gates if not gate.passed]
    assert (gate.gate, gate.value) == ("champion", 0.0)
    assert "on the same 60 cells, cells resampled" in gate.reason
    without = promotion.promote("celltype/2", policy=POLICY, dry_run=True)
    assert [gate.reason for gate in without.gates if not gate.passed] == ["not compared: no test cells were given"]
    compare("celltype/2", "celltype/champion", cells=CELLS)
    shown = capsys.readouterr().out
    assert "macro-F1" in shown
    assert "On the same 60 cells of test_cells.h5ad" in shown
    with pytest.raises(UserError, match=r"nowhere\.h5ad: no such file"):
        promotion.promote("celltype/2", policy=POLICY, cells=Path("nowhere.h5ad"))
