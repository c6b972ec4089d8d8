"""Each gate alone: what passes it, what fails it, and that a missing value fails it."""

import copy
import dataclasses
import math
from typing import Any

import pytest

from sctransformer.evaluation.paired import compare
from sctransformer.registry.gate_checks import Comparison, Evidence
from sctransformer.registry.gates import GateResult, check_gates, failed
from sctransformer.registry.policy import Policy

METRICS: dict[str, Any] = {
    "test": {
        "macro_f1": 0.9,
        "calibration_error": 0.05,
        "per_class": {
            "B": {"recall": 0.8, "cells": 40},
            "T": {"recall": 0.9, "cells": 50},
            "NK": {"recall": 0.0, "cells": 3},
        },
    },
    "control": {
        "difference": 0.02,
        "macro_f1": 0.88,
        "evidence": [{"name": "hidden genes", "difference": 0.02, "low": 0.01, "high": 0.03}],
    },
    "baseline": {"macro_f1": 0.88},
    "versus_baseline": {"difference": 0.02, "low": -0.01, "high": 0.05},
    "test_cells_sha256": "0" * 64,
    "coverage": {"genes_with_regulator_share": 0.3, "edges_kept": 120},
}
PARITY: dict[str, Any] = {
    "cells": 90, "labels_equal": 90, "max_probability_difference": 1e-7, "tolerance": 1e-5, "passed": True,
    "speed": {"cells_per_second": 1500.0},
}  # fmt: skip
LINEAGE: dict[str, Any] = {
    "git": {"commit": "0" * 40, "dirty": False},
    "dvc_lock_sha256": "1" * 64,
    "data_sha256": "2" * 64,
    "prior_sha256": "3" * 64,
    "validation_success": True,
    "params": {"prior": {"control": "none"}},
    "packages": {"torch": "2.0"},
    "who": "Ada <ada@example.org>",
    "when": "2026-01-01T00:00:00+00:00",
}
CONFIG: dict[str, Any] = {"mode": "mask"}
NOT_A_NUMBER = [None, math.nan, math.inf, "0.9", True, [0.9], {}]


def evidence(**changes: Any) -> Evidence:
    """Evidence that passes every gate, but for the changes: `metrics__test__macro_f1=0.1`; `...` takes a key away."""
    content: dict[str, Any] = copy.deepcopy(
        {"metrics": METRICS, "parity": PARITY, "lineage": LINEAGE, "config": CONFIG}
    )
    content |= {"labels": ("B", "T", "NK"), "megabytes": 1.7}
    for path, value in changes.items():
        *parents, key = path.split("__")
        place: Any = content
        for parent in parents:
            place = place[parent]
        if value is ...:
            del place[key]
        else:
            place[key] = value
    return Evidence(**content)


def comparison(wrong: int = 0) -> Comparison:
    """200 cells of which the champion labels 20 wrong, and the candidate `wrong` more."""
    truth = ["B"] * 100 + ["T"] * 100
    champion = ["T"] * 20 + truth[20:]
    candidate = ["T"] * (20 + wrong) + truth[20 + wrong :]
    return Comparison(compare(truth, candidate, champion, seed=0))


def checked(
    candidate: Evidence,
    champion: Evidence | None = None,
    policy: Policy | None = None,
    compared: Comparison | None = None,
) -> dict[str, GateResult]:
    results = check_gates(candidate, champion, policy or Policy(), compared or comparison())
    return {result.gate: result for result in results}


def test_files_committed_later_without_changes_count_as_clean() -> None:
    git = {"commit": "0" * 40, "dirty": True, "files": [{"path": "data/net.tsv", "state": "new"}]}
    result = checked(dataclasses.replace(evidence(lineage__git=git), committed="ab" * 20))["lineage_clean"]
    assert result.passed
    assert result.reason == "committed later, unchanged, in abababab: data/net.tsv (new)"


def test_a_type_without_test_cells_is_named_and_does_not_fail_the_gate() -> None:
    result = checked(evidence(metrics__test__per_class__pDC={"recall": None, "cells": 0}))["class_recall"]
    assert result.passed
    assert result.reason == "lowest: B; not judged, with fewer than 10 test cells: NK (3), pDC (0)"


def test_good_evidence_passes_every_gate_of_the_policy() -> None:
    results = checked(evidence(), evidence())
    assert list(results) == list(Policy().gates.model_dump())
    assert failed(list(results.values())) == []


@pytest.mark.parametrize(
    ("change", "gate", "reason"),
    [
        ({"metrics__test__macro_f1": 0.49}, "macro_f1", "too low"),
        (
            {"metrics__versus_baseline__high": -0.021},
            "baseline",
            "reaches 0.880; difference +0.020, upper end of 95 % interval -0.021",
        ),
        ({"metrics__coverage__genes_with_regulator_share": 0.04}, "prior_genes", "too low"),
        ({"metrics__coverage__edges_kept": 49}, "prior_edges", "too low"),
        ({"parity__passed": False}, "onnx_parity", "export found"),
        ({"parity__labels_equal": 89}, "onnx_parity", "89 of 90 labels agree"),
        ({"parity__max_probability_difference": 2e-5}, "onnx_parity", "too far apart"),
        ({"parity__cells": 0, "parity__labels_equal": 0}, "onnx_parity", "0 of 0"),
        ({"lineage__git__dirty": True}, "lineage_clean", "commit them and run again"),
        (
            {"lineage__git__dirty": True, "lineage__git__files": [{"path": "data/my net.tsv", "state": "new"}]},
            "lineage_clean",
            r"data/my net.tsv (new); commit them unchanged (`git add 'data/my net.tsv' && git commit",
        ),
        ({"lineage__validation_success": False}, "validation", "failed"),
        ({"metrics__test__calibration_error": 0.11}, "calibration", "too high"),
        (
            {"metrics__test__per_class__B__recall": 0.29},
            "class_recall",
            "lowest: B; not judged, with fewer than 10 test cells: NK (3)",
        ),
        (
            {"metrics__control__evidence": [{"name": "hidden genes", "difference": 0.01, "low": -0.01, "high": 0.03}]},
            "prior_evidence",
            "no better than a random one, compared with rewired networks: hidden genes: +0.0100 (-0.0100 to +0.0300)",
        ),
        ({"metrics__control__difference": -0.06}, "shuffled_network", "worse than with a shuffled network"),
        ({"lineage__params__prior__control": "shuffled"}, "shuffled_network", "trained on a control network itself"),
        ({"parity__speed__cells_per_second": 99.0}, "scoring_speed", "too slow"),
        ({"megabytes": 501.0}, "bundle_size", "too large"),
    ],
)
def test_a_bad_value_fails_its_gate_and_no_other(change: dict[str, Any], gate: str, reason: str) -> None:
    results = checked(evidence(**change))
    assert failed(list(results.values())) == [gate]
    assert reason in results[gate].reason


@pytest.mark.parametrize(
    ("path", "gates"),
    [
        ("metrics__test__macro_f1", {"macro_f1"}),
        ("metrics__versus_baseline", {"baseline"}),
        ("metrics__versus_baseline__high", {"baseline"}),
        ("metrics__test", {"macro_f1", "class_recall", "calibration"}),
        ("metrics__baseline__macro_f1", {"baseline"}),
        ("metrics__test__calibration_error", {"calibration"}),
        ("metrics__test__per_class", {"class_recall"}),
        ("metrics__test__per_class__NK__recall", {"class_recall"}),
        ("metrics__control", {"shuffled_network", "prior_evidence"}),
        ("metrics__control__evidence", {"prior_evidence"}),
        ("metrics__control__difference", {"shuffled_network"}),
        ("parity__speed", {"scoring_speed"}),
        ("metrics__coverage", {"prior_genes", "prior_edges"}),
        ("metrics__coverage__genes_with_regulator_share", {"prior_genes"}),
        ("metrics__coverage__edges_kept", {"prior_edges"}),
        ("parity__passed", {"onnx_parity"}),
        ("parity__cells", {"onnx_parity"}),
        ("parity__labels_equal", {"onnx_parity"}),
        ("parity__max_probability_difference", {"onnx_parity"}),
        ("lineage__git", {"lineage_complete", "lineage_clean"}),
        ("lineage__git__commit", {"lineage_complete"}),
        ("lineage__git__dirty", {"lineage_clean"}),
        ("lineage__dvc_lock_sha256", {"lineage_complete"}),
        ("lineage__data_sha256", {"lineage_complete"}),
        ("lineage__prior_sha256", {"lineage_complete"}),
        ("lineage__params", {"lineage_complete"}),
        ("lineage__packages", {"lineage_complete"}),
        ("lineage__who", {"lineage_complete"}),
        ("lineage__when", {"lineage_complete"}),
        ("lineage__validation_success", {"validation"}),
    ],
)
def test_a_missing_value_fails(path: str, gates: set[str]) -> None:
    for missing in (..., None):
        results = checked(evidence(**{path: missing}), evidence())
        assert set(failed(list(results.values()))) == gates
        assert all(results[gate].value is None or results[gate].reason for gate in gates)


def test_empty_is_not_recorded() -> None:
    result = checked(evidence(lineage__params={}, lineage__packages={}, lineage__who=""))["lineage_complete"]
    assert (result.value, result.threshold, result.passed) == (5, 8, False)
    assert result.reason == "not recorded: params, packages, who"


@pytest.mark.parametrize("value", NOT_A_NUMBER)
def test_a_value_that_is_not_a_finite_number_is_missing(value: Any) -> None:
    results = checked(evidence(metrics__test__macro_f1=value))
    assert failed(list(results.values())) == ["macro_f1"]
    assert results["macro_f1"].value is None


def test_labels_and_size_must_be_known() -> None:
    assert failed(list(checked(evidence(labels=(), megabytes=None)).values())) == ["same_labels", "bundle_size"]


def test_other_labels_than_the_champions() -> None:
    result = checked(evidence(labels=("B", "T", "NKT")), evidence())["same_labels"]
    assert (result.passed, result.reason) == (False, "removed: NK; new: NKT")


def test_rare_classes_alone_are_not_enough() -> None:
    rare = evidence(metrics__test__per_class={"NK": {"recall": 1.0, "cells": 3}})
    assert checked(rare)["class_recall"].reason.startswith("not measured: no cell type has 10 test cells")


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "; with a shuffled network macro-F1 is 0.880, and 0.0% of test cells get another label: the network"),
        (0.2, ", and 20.0% of test cells get another label"),
    ],
)
def test_equal_scores_are_not_equal_labels(share: float, text: str) -> None:
    result = checked(evidence(metrics__control__changed_labels_share=share))["shuffled_network"]
    assert text in result.reason
    assert ("no influence" in result.reason) is (share == 0.0)


@pytest.mark.parametrize("mode", ["regulators", "dense"])
def test_a_mode_without_edges_needs_no_control(mode: str) -> None:
    result = checked(evidence(config__mode=mode, metrics__control={"kind": None}))["shuffled_network"]
    assert (result.passed, result.reason) == (True, f"mode {mode} uses no edges of the network")


def test_the_champion_is_compared_on_the_same_cells() -> None:
    result = checked(evidence(), evidence())["champion"]
    assert (result.passed, result.value, result.threshold) == (True, 1.0, 0.8)
    result = checked(evidence(), evidence(), compared=comparison(wrong=30))["champion"]
    assert not result.passed
    assert "on the same 200 cells, cells resampled" in result.reason
    result = checked(evidence(), evidence(), compared=Comparison())["champion"]
    assert (result.passed, result.reason) == (False, "not compared: no test cells were given")
    result = checked(evidence(), Evidence(damage="model.onnx is missing"))["champion"]
    assert (result.passed, result.reason) == (False, "the champion cannot be compared: model.onnx is missing")
    result = checked(evidence(), None)["champion"]
    assert (result.passed, result.reason) == (True, "no champion yet")


def test_thresholds_themselves_pass() -> None:
    at = evidence(metrics__test__macro_f1=0.5, metrics__versus_baseline__high=-0.02, metrics__coverage__edges_kept=50)
    assert failed(check_gates(at, None, Policy())) == []


def test_a_damaged_bundle_fails_every_gate() -> None:
    results = checked(Evidence(damage="weights.safetensors does not match its checksum"))
    assert not any(result.passed for result in results.values())
    assert results["bundle_checksums"].reason == "weights.safetensors does not match its checksum"


def test_a_gate_that_is_off_says_so() -> None:
    policy = Policy.model_validate({"gates": {"macro_f1": {"minimum": 0.5, "enabled": False}}})
    result = checked(evidence(metrics__test__macro_f1=0.1), policy=policy)["macro_f1"]
    assert (result.passed, result.reason) == (True, "switched off in the policy")


@pytest.mark.parametrize("accepted", [True, False])
def test_a_model_made_without_git_passes_if_the_policy_accepts_that(accepted: bool) -> None:
    policy = Policy.model_validate({"gates": {"lineage_clean": {"without_git": accepted}}})
    results = checked(evidence(lineage__git={"commit": None, "dirty": None, "code_sha256": "4" * 64}), policy=policy)
    assert results["lineage_complete"].passed
    assert results["lineage_clean"].passed is accepted
    assert results["lineage_clean"].value == "no git"
    assert "without git" in results["lineage_clean"].reason
