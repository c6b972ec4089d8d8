"""Decisions that are overridden, rolled back, interrupted or taken at once: one champion, and a ledger that is true."""

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from sctransformer.errors import UserError
from sctransformer.files import sha256_file
from sctransformer.registry import doctor, history, ledger, lock, promotion, rollbacks
from sctransformer.registry.ledger import Decision
from sctransformer.registry.models import resolve
from sctransformer.registry.names import LOCK_TAG
from sctransformer.registry.policy import Policy
from sctransformer.registry.registration import register_bundle
from sctransformer.tracking.location import DATABASE
from sctransformer.tracking.relocation import ARTIFACTS, relocate
from sctransformer.tracking.store import connect
from tests.children import ended, forked
from tests.conftest import labelled_test_cells
from tests.integration.processes import die_before
from tests.integration.test_registry_models import changed

pytestmark = pytest.mark.slow

POLICY = Policy.model_validate({"gates": {"prior_edges": {"minimum": 10}}})  # the fixture's network has 20 edges
CELLS = Path("test_cells.h5ad")
STRICT = Policy.model_validate({"gates": {"prior_edges": {"minimum": 1000}}})


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, _empty_database: Path, bundle_folder: Path) -> Path:
    """A folder with a store and artifacts of four versions that differ in their threshold; tests here copy it."""
    folder = tmp_path_factory.mktemp("four")
    shutil.copyfile(_empty_database, folder / DATABASE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        register_bundle(bundle_folder, "celltype")
        for number in (2, 3, 4):
            other = changed(
                bundle_folder, folder / f"b{number}", calibration={"rejection_threshold": 0.5 + number / 100}
            )
            register_bundle(other, "celltype")
    return folder


@pytest.fixture
def versions(project: Path, template: Path) -> MlflowClient:
    """A store of its own with the four versions."""
    shutil.copyfile(template / DATABASE, project / DATABASE)
    shutil.copytree(template / ARTIFACTS, project / ARTIFACTS)
    relocate(project / DATABASE)
    labelled_test_cells().write_h5ad(project / CELLS)
    return connect(must_exist=True)


def aliases(store: MlflowClient) -> dict[str, int]:
    found = store.get_registered_model("celltype").aliases
    return {alias: int(version) for alias, version in found.items() if alias != "candidate"}


def promoted(*numbers: int) -> None:
    for version in numbers:
        assert promotion.promote(f"celltype/{version}", policy=POLICY, cells=CELLS, first=True).verdict == "promoted"


def problems() -> list[str]:
    return [finding.sentence for finding in doctor.examine_registry() if finding.state == "problem"]


def test_an_override_needs_a_reason_and_stays_visible(versions: MlflowClient) -> None:
    promote = promotion.promote
    with pytest.raises(UserError, match="an override needs a reason"):
        promote("celltype/1", policy=STRICT, first=True, overrides=["prior_edges"])
    with pytest.raises(UserError, match="there is no gate 'edges' to override"):
        promote("celltype/1", policy=STRICT, first=True, overrides=["edges"], reason="x")
    with pytest.raises(UserError, match="'bundle_checksums' cannot be overridden"):
        promote("celltype/1", policy=STRICT, first=True, overrides=["bundle_checksums"], reason="x")
    assert history.decisions_about("celltype") == []
    decision = promote("celltype/1", policy=STRICT, first=True, overrides=["prior_edges"], reason="small panel")
    assert [gate.gate for gate in decision.overridden] == ["prior_edges"]
    (recorded,) = history.decisions_about("celltype")
    assert recorded == decision
    version = versions.get_model_version("celltype", "1")
    assert version.tags["overridden_gates"] == "prior_edges"
    assert "small panel" in version.tags["decision"]
    assert version.description.startswith("## Decision")
    assert "Gate `prior_edges` failed and was overridden" in version.description
    assert version.description.endswith("# celltype\n")
    # the next time, all gates pass and nothing is overridden
    promoted(2, 1)
    version = versions.get_model_version("celltype", "1")
    assert version.tags["overridden_gates"] == ""
    assert version.description.count("## Decision") == 1
    assert "overridden" not in version.description


def test_what_was_passed_over_stays_visible_after_a_rollback(versions: MlflowClient) -> None:
    promoted(1)
    promotion.promote("celltype/2", policy=STRICT, cells=CELLS, overrides=["prior_edges"], reason="small panel")
    promoted(3)
    rollbacks.rollback("celltype", reason="worse on donor 4")
    version = versions.get_model_version("celltype", "2")
    assert version.tags["overridden_gates"] == "prior_edges"
    assert "worse on donor 4" in version.tags["decision"]
    assert "Gate `prior_edges` failed and was overridden" in version.description


def test_a_lax_policy_leaves_a_trace(versions: MlflowClient, project: Path) -> None:
    lax = project / "lax.yaml"
    lax.write_text("gates: {macro_f1: {minimum: 0.5, enabled: false}, prior_edges: {minimum: 9, enabled: false}}\n")
    promotion.promote("celltype/1", policy=lax, first=True)
    (entry,) = history.decisions_about("celltype")
    assert [gate.gate for gate in entry.switched_off] == ["macro_f1", "prior_edges"]
    assert (entry.policy, entry.policy_sha256) == (str(lax), sha256_file(lax))
    assert history.decisions_on("celltype/1")[0].endswith(" (switched off: macro_f1, prior_edges)")
    description = versions.get_model_version("celltype", "1").description
    assert f"**Not checked, because the policy `{lax}` disables them**: `macro_f1`, `prior_edges`" in description


def test_a_passed_gate_needs_no_override(versions: MlflowClient) -> None:
    decision = promotion.promote(
        "celltype/1", policy=POLICY, cells=CELLS, first=True, overrides=["prior_edges"], reason="x"
    )
    assert decision.overridden == []


def test_rollbacks_go_back_step_by_step(versions: MlflowClient) -> None:
    promoted(1, 2, 3)
    with pytest.raises(UserError, match="a rollback needs a reason"):
        rollbacks.rollback("celltype", reason=" ")
    decision = rollbacks.rollback("celltype", reason="worse on donor 4")
    assert (decision.verdict, decision.from_version, decision.to_version) == ("rolled back", 3, 2)
    assert aliases(versions) == {"champion": 2, "previous": 1}
    assert resolve("celltype@champion").version == 2
    rollbacks.rollback("celltype", reason="still")
    assert aliases(versions) == {"champion": 1}
    with pytest.raises(UserError, match="has no champion before this one"):
        rollbacks.rollback("celltype", reason="further")
    assert [one.verdict for one in history.decisions_about("celltype")] == [
        "rolled back",
        "rolled back",
        *["promoted"] * 3,
    ]
    promoted(4)
    assert aliases(versions) == {"champion": 4, "previous": 1}
    assert problems() == []


def test_a_rollback_to_a_named_version(versions: MlflowClient) -> None:
    promoted(1, 2, 3)
    with pytest.raises(UserError, match=r"celltype/4 was never champion \(earlier champions: 1, 2\)"):
        rollbacks.rollback("celltype", reason="x", to=4)
    with pytest.raises(UserError, match="celltype/3 is already the champion"):
        rollbacks.rollback("celltype", reason="x", to=3)
    with pytest.raises(UserError, match="has no version 9"):
        rollbacks.rollback("celltype", reason="x", to=9)
    rollbacks.rollback("celltype", reason="x", to=1)
    assert aliases(versions) == {"champion": 1}
    assert [one.number for one in history.decisions_about("celltype")] == [4, 3, 2, 1]


def test_a_rollback_to_a_damaged_bundle_moves_nothing(versions: MlflowClient) -> None:
    promoted(1, 2)
    graph = resolve("celltype/1").folder / "model.onnx"
    intact = graph.read_bytes()
    try:
        graph.write_bytes(intact[:-1] + b"\0")
        with pytest.raises(UserError, match=r"celltype/1 is refused: .*model\.onnx: does not match.*") as caught:
            rollbacks.rollback("celltype", reason="x")
        assert str(caught.value).endswith("the bundle is damaged or was changed; choose another with --to.")
        assert any("does not match its checksum" in sentence for sentence in problems())
    finally:
        graph.write_bytes(intact)
    assert aliases(versions) == {"champion": 2, "previous": 1}
    refused = history.decisions_about("celltype")[0]
    assert (refused.verdict, refused.from_version, refused.to_version, refused.reason) == ("refused", 2, 1, "x")
    assert problems() == []


def test_a_model_that_is_made_again_has_passed_no_gates(
    versions: MlflowClient, project: Path, bundle_folder: Path
) -> None:
    promoted(1, 2)
    versions.delete_registered_model("celltype")
    for number, folder in ((1, project / "new"), (2, project / "newer")):
        other = changed(bundle_folder, folder, calibration={"rejection_threshold": 0.8 + number / 100})
        assert register_bundle(other, "celltype").version == number
    assert problems() == []
    assert history.decisions_on("celltype/1") == []
    for to in (None, 1):
        with pytest.raises(UserError, match=r"has no champion before this one|celltype/1 was never champion"):
            rollbacks.rollback("celltype", reason="back", to=to)
    with pytest.raises(UserError, match=r"has no champion yet.*--first"):
        promotion.promote("celltype/1", policy=POLICY, cells=CELLS)
    assert aliases(versions) == {}
    promoted(1, 2)
    assert rollbacks.rollback("celltype", reason="worse").to_version == 1
    assert [one.number for one in history.decisions_about("celltype")] == [5, 4, 3, 2, 1]
    assert len(history.decisions_on("celltype/1")) == 2
    assert problems() == []


def test_what_a_command_left_open_about_an_earlier_model_is_undone(
    versions: MlflowClient, project: Path, bundle_folder: Path
) -> None:
    assert killed(project, 3, lambda: promotion.promote("celltype/1", policy=POLICY, first=True))
    assert history.decisions_about("celltype")[0].outcome == "open"
    versions.delete_registered_model("celltype")
    register_bundle(changed(bundle_folder, project / "new", calibration={"rejection_threshold": 0.8}), "celltype")
    versions.set_registered_model_alias("celltype", "champion", "1")
    doctor.examine_registry("celltype", repair=True)
    (left,) = history.decisions_about("celltype")
    assert (left.outcome, left.note) == ("undone", "its command died, and the model was deleted and created again")
    assert "decision" not in versions.get_model_version("celltype", "1").tags


def test_an_entry_without_a_digest_counts_from_the_making_of_the_version(versions: MlflowClient) -> None:
    """As earlier releases wrote them."""
    promoted(1, 2)
    for run in versions.search_runs([versions.get_experiment_by_name("promotions").experiment_id]):
        versions.set_tag(run.info.run_id, "bundle_digest", "")
    assert problems() == []
    assert rollbacks.rollback("celltype", reason="worse").to_version == 1
    for run in versions.search_runs([versions.get_experiment_by_name("promotions").experiment_id]):
        versions.set_tag(run.info.run_id, "bundle_digest", "")
        versions.set_tag(run.info.run_id, "when", "2020-01-01T00:00:00+00:00")
    assert history.decisions_on("celltype/1") == []


def test_runs_that_are_no_decisions_are_passed_over_and_named(versions: MlflowClient) -> None:
    promoted(1, 2)
    ledger_id = versions.get_experiment_by_name("promotions").experiment_id
    stray = versions.create_run(ledger_id, tags={"model": "celltype"}).info.run_id
    newest, oldest = history.decisions_about("celltype")
    versions.set_tag(newest.entry, "gate.macro_f1", "{broken")
    versions.set_tag(newest.entry, "gate.validation", '{"gate": 1}')
    versions.set_tag(oldest.entry, "verdict", "perhaps")
    (left,) = history.decisions_about("celltype")
    assert left.unreadable == ("gate.macro_f1", "gate.validation")
    assert [gate.gate for gate in left.gates] == [
        gate.gate for gate in newest.gates if gate.gate not in ("macro_f1", "validation")
    ]
    for expected in (
        f"run {stray} of the experiment 'promotions' is not a readable decision (it has no tag 'verdict')",
        f"run {oldest.entry} of the experiment 'promotions' is not a readable decision (its verdict is 'perhaps')",
        f"decision 2 (run {newest.entry}): gate.macro_f1, gate.validation cannot be read",
    ):
        assert any(sentence.startswith(expected) for sentence in problems())
    assert promotion.promote("celltype/3", policy=POLICY, cells=CELLS).number == 3
    versions.set_tag(oldest.entry, "verdict", "promoted")
    versions.delete_run(stray)
    assert len(problems()) == 1


def test_a_deleted_version_behind_the_alias(versions: MlflowClient) -> None:
    promoted(1, 2)
    versions.delete_model_version("celltype", "2")
    assert aliases(versions) == {"previous": 1}
    (sentence,) = problems()
    assert sentence.startswith("has no champion: celltype/2 was deleted")
    with pytest.raises(UserError, match=r"celltype/2 was deleted .*sctransformer rollback celltype"):
        promotion.promote("celltype/3", policy=POLICY, cells=CELLS)
    decision = rollbacks.rollback("celltype", reason="2 was deleted by mistake")
    assert (decision.from_version, decision.to_version) == (None, 1)
    assert aliases(versions) == {"champion": 1}
    assert problems() == []


def test_an_alias_moved_by_hand_is_found(versions: MlflowClient) -> None:
    promoted(1)
    versions.set_registered_model_alias("celltype", "champion", "3")
    (sentence,) = problems()
    assert "champion is celltype/3, but the ledger records celltype/1" in sentence
    assert "`sctransformer promote celltype/3`, or go back with `sctransformer rollback celltype --to 1" in sentence
    refused = promotion.promote("celltype/3", policy=STRICT, cells=CELLS)
    assert (refused.verdict, refused.from_version, refused.recorded) == ("refused", 1, True)
    decision = promotion.promote("celltype/3", policy=POLICY, cells=CELLS)
    assert (decision.verdict, decision.from_version, decision.recorded) == ("promoted", 1, True)
    assert "the champion" in next(gate.reason for gate in decision.gates if gate.gate == "champion")
    assert aliases(versions) == {"champion": 3, "previous": 1}
    assert problems() == []
    versions.set_registered_model_alias("celltype", "champion", "4")
    assert rollbacks.rollback("celltype", reason="4 passed no gates").to_version == 3
    assert aliases(versions) == {"champion": 3, "previous": 1}
    assert problems() == []


def test_a_first_champion_by_hand_passes_the_gates_too(versions: MlflowClient) -> None:
    versions.set_registered_model_alias("celltype", "champion", "1")
    versions.set_registered_model_alias("celltype", "previous", "2")
    (sentence,) = problems()
    assert "check the gates with `sctransformer promote celltype/1 --first`." in sentence
    with pytest.raises(UserError, match="has no champion before this one"):
        rollbacks.rollback("celltype", reason="x")
    with pytest.raises(UserError, match=r"celltype/2 was never champion \(earlier champions: none\)"):
        rollbacks.rollback("celltype", reason="x", to=2)
    with pytest.raises(UserError, match=r"celltype/1 is champion only by an alias .* give --first"):
        promotion.promote("celltype/1", policy=POLICY, cells=CELLS)
    promoted(1)
    assert problems() == []


def test_a_dry_run_of_the_champion_asks_its_gates(versions: MlflowClient) -> None:
    promoted(1)
    for policy, verdict in ((POLICY, "promoted"), (STRICT, "refused")):
        decision = promotion.promote("celltype/1", policy=policy, cells=CELLS, dry_run=True)
        assert (decision.verdict, decision.from_version, decision.recorded) == (verdict, 1, False)
        assert decision.gates
    assert len(history.decisions_about("celltype")) == 1


def test_a_decision_that_is_gone_from_the_ledger_is_missed(
    versions: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    promoted(1, 2, 3)
    complete = ledger.decisions
    monkeypatch.setattr(
        ledger, "decisions", lambda client, name: [one for one in complete(client, name) if one.number != 2]
    )
    assert problems() == ["decisions 2 are missing from the ledger; restore them from a backup."]


def killed(project: Path, call: int, work: Callable[[], Decision]) -> bool:
    """Whether a command was killed before its `call`-th change of the store; False if it made fewer and succeeded."""

    def dying() -> None:
        die_before(call)
        work()

    code = ended(forked(dying, project))
    assert code in (0, -9), [path.read_text() for path in project.glob("error-*")]
    return code == -9


def promote_2() -> Decision:
    return promotion.promote("celltype/2", policy=POLICY, cells=CELLS, reason="better")


def roll_back() -> Decision:
    return rollbacks.rollback("celltype", reason="worse")


@pytest.mark.parametrize(
    ("before", "work", "after"),
    [
        ({"champion": 1, "previous": 3}, promote_2, {"champion": 2, "previous": 1}),
        ({"champion": 1, "previous": 3}, roll_back, {"champion": 3}),
    ],
)
def test_a_kill_between_any_two_steps(
    versions: MlflowClient,
    project: Path,
    before: object,
    work: Callable[[], Decision],
    after: object,
) -> None:
    """Whatever the step: everything or nothing was done, `doctor` reports it, and the next command works."""
    promoted(3, 1)
    for call in itertools.count(1):
        assert aliases(versions) == before
        if not killed(project, call, work):
            break
        if call > 1:  # before the first there is nothing to find; later a dead lock, at least
            assert problems()
            findings = doctor.examine_registry("celltype", repair=True)
            assert any(finding.state == "repaired" for finding in findings)
        assert problems() == []
        newest = history.decisions_about("celltype")[0]
        assert newest.outcome in ("done", "undone")
        assert not versions.get_registered_model("celltype").tags
        if aliases(versions) == after:
            assert newest.outcome == "done"
            if work is promote_2:
                rollbacks.rollback("celltype", reason="again")
                versions.set_registered_model_alias("celltype", "previous", "3")
            else:
                promoted(1)
        else:
            assert aliases(versions) == before
    assert call > 6
    assert aliases(versions) == after
    assert problems() == []


def test_the_next_promotion_settles_what_was_left(versions: MlflowClient, project: Path) -> None:
    promoted(1)
    assert killed(project, 4, promote_2)  # lock, entry, previous; then killed
    assert history.decisions_about("celltype")[0].outcome == "open"
    decision = promotion.promote("celltype/3", policy=POLICY, cells=CELLS)
    assert (decision.from_version, decision.number) == (1, 3)
    assert aliases(versions) == {"champion": 3, "previous": 1}
    assert [one.outcome for one in history.decisions_about("celltype")] == ["done", "undone", "done"]


def test_two_promotions_at_once_leave_one_champion(versions: MlflowClient, project: Path) -> None:
    """Four times: each decision in the ledger begins where the one before it ended."""
    promoted(1)
    for _ in range(4):
        champion = aliases(versions)["champion"]
        rivals = [version for version in (1, 2, 3, 4) if version != champion][:2]
        children = [
            forked(lambda version=rival: promotion.promote(f"celltype/{version}", policy=POLICY, cells=CELLS), project)  # type: ignore[misc]
            for rival in rivals
        ]
        codes = [ended(child) for child in children]
        assert codes == [0, 0], [path.read_text() for path in project.glob("error-*")]
        now = aliases(versions)
        assert now["champion"] in rivals
        assert now["previous"] in rivals
    newest_first = history.decisions_about("celltype")
    assert len(newest_first) == 9
    assert [one.number for one in newest_first] == list(range(9, 0, -1))
    for later, earlier in itertools.pairwise(newest_first):
        assert later.from_version == earlier.to_version
    assert problems() == []


def test_a_lock_of_another_machine_is_waited_for_and_outlives_its_lease(
    versions: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = '{"who": "Eva", "host": "far", "when": "2026-01-01", "pid": 1, "started": 0.0, "process_table": "other"}'
    versions.set_registered_model_tag("celltype", f"{LOCK_TAG}abc", content)
    assert any("Eva on far (process 1, 2026-01-01) holds the lock" in sentence for sentence in problems())
    monkeypatch.setattr(lock, "PATIENCE_SECONDS", 0.2)
    with pytest.raises(UserError, match=r"Eva on far .* is deciding about it and has not finished"):
        promoted(1)
    assert history.decisions_about("celltype") == []
    monkeypatch.setattr(lock, "LEASE_SECONDS", 0.0)
    promoted(1)
    assert not versions.get_registered_model("celltype").tags


def test_a_command_that_lost_its_lock_stops(versions: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def stolen(client: MlflowClient, decision: Decision) -> Decision:
        for tag in client.get_registered_model("celltype").tags:
            client.delete_registered_model_tag("celltype", tag)
        return record(client, decision)

    record = ledger.record
    monkeypatch.setattr(ledger, "record", stolen)
    with pytest.raises(UserError, match="another command took over"):
        promoted(1)
    assert aliases(versions) == {}
