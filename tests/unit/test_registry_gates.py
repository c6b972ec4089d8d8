"""Each gate alone: what opens it, what closes it, and that silence closes it."""

import copy
import math
from typing import Any

import pytest

from sctransformer.registry.gates import Evidence, GateResult, check_gates, closed
from sctransformer.registry.policy import Policy

METRICS: dict[str, Any] = {
    "test": {"macro_f1": 0.9},
    "baseline": {"macro_f1": 0.88},
    "test_cells_sha256": "0" * 64,
    "coverage": {"genes_with_regulator_share": 0.3, "edges_kept": 120},
}
PARITY: dict[str, Any] = {
    "cells": 90, "labels_equal": 90, "max_probability_difference": 1e-7, "tolerance": 1e-5, "passed": True,
}  # fmt: skip
LINEAGE: dict[str, Any] = {
    "git": {"commit": "0" * 40, "dirty": False},
    "dvc_lock_sha256": "1" * 64,
    "data_sha256": "2" * 64,
    "prior_sha256": "3" * 64,
    "validation_success": True,
}
NOT_A_FIGURE = [None, math.nan, math.inf, "0.9", True, [0.9], {}]


def evidence(**changes: Any) -> Evidence:
    """Evidence that passes every gate, but for the changes: `metrics__test__macro_f1=0.1`; `...` takes a key away."""
    content = copy.deepcopy({"metrics": METRICS, "parity": PARITY, "lineage": LINEAGE})
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


def asked(candidate: Evidence, champion: Evidence | None = None, policy: Policy | None = None) -> dict[str, GateResult]:
    return {result.gate: result for result in check_gates(candidate, champion, policy or Policy())}


def test_good_evidence_passes_every_gate_of_the_policy() -> None:
    results = asked(evidence(), evidence())
    assert list(results) == list(Policy().gates.model_dump())
    assert closed(list(results.values())) == []


@pytest.mark.parametrize(
    ("change", "gate", "reason"),
    [
        ({"metrics__test__macro_f1": 0.49, "metrics__baseline__macro_f1": 0.4}, "macro_f1", "too low"),
        ({"metrics__baseline__macro_f1": 0.93}, "baseline", "logistic regression reaches 0.930"),
        ({"metrics__coverage__genes_with_regulator_share": 0.04}, "prior_genes", "too low"),
        ({"metrics__coverage__edges_kept": 49}, "prior_edges", "too low"),
        ({"parity__passed": False}, "onnx_parity", "export found"),
        ({"parity__labels_equal": 89}, "onnx_parity", "89 of 90 labels agree"),
        ({"parity__max_probability_difference": 2e-5}, "onnx_parity", "too far apart"),
        ({"parity__cells": 0, "parity__labels_equal": 0}, "onnx_parity", "0 of 0"),
        ({"lineage__git__dirty": True}, "lineage_clean", "commit them and run again"),
        ({"lineage__validation_success": False}, "validation", "failed"),
    ],
)
def test_a_bad_figure_closes_its_gate_and_no_other(change: dict[str, Any], gate: str, reason: str) -> None:
    results = asked(evidence(**change))
    assert closed(list(results.values())) == [gate]
    assert reason in results[gate].reason


@pytest.mark.parametrize(
    ("path", "gates"),
    [
        ("metrics__test__macro_f1", {"macro_f1", "baseline", "champion"}),
        ("metrics__test", {"macro_f1", "baseline", "champion"}),
        ("metrics__baseline__macro_f1", {"baseline"}),
        ("metrics__test_cells_sha256", {"champion"}),
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
        ("lineage__validation_success", {"validation"}),
    ],
)
def test_silence_closes(path: str, gates: set[str]) -> None:
    for missing in (..., None):
        results = asked(evidence(**{path: missing}), evidence())
        assert set(closed(list(results.values()))) == gates
        assert all(results[gate].value is None or results[gate].reason for gate in gates)


@pytest.mark.parametrize("value", NOT_A_FIGURE)
def test_what_is_no_number_is_no_figure(value: Any) -> None:
    results = asked(evidence(metrics__test__macro_f1=value))
    assert {"macro_f1", "baseline"} <= set(closed(list(results.values())))
    assert results["macro_f1"].value is None


def test_the_champion_is_compared_on_the_same_cells() -> None:
    better = evidence(metrics__test__macro_f1=0.93)
    result = asked(evidence(), better)["champion"]
    assert (result.passed, result.value, result.threshold) == (False, 0.9, pytest.approx(0.91))
    assert asked(evidence(), evidence(metrics__test__macro_f1=0.91))["champion"].passed
    elsewhere = evidence(metrics__test_cells_sha256="f" * 64, metrics__test__macro_f1=0.1)
    result = asked(evidence(), elsewhere)["champion"]
    assert (result.passed, result.reason) == (False, "the two were not measured on the same test cells")
    result = asked(evidence(), Evidence(damage="model.onnx is missing"))["champion"]
    assert (result.passed, result.reason) == (False, "the champion cannot be compared: model.onnx is missing")
    result = asked(evidence(), None)["champion"]
    assert (result.passed, result.reason) == (True, "no champion yet")


def test_thresholds_themselves_pass() -> None:
    at = evidence(metrics__test__macro_f1=0.5, metrics__baseline__macro_f1=0.5, metrics__coverage__edges_kept=50)
    assert closed(check_gates(at, None, Policy())) == []


def test_a_damaged_bundle_closes_everything() -> None:
    results = asked(Evidence(damage="weights.safetensors does not match its checksum"))
    assert not any(result.passed for result in results.values())
    assert results["bundle_checksums"].reason == "weights.safetensors does not match its checksum"


def test_a_gate_that_is_off_says_so() -> None:
    policy = Policy.model_validate({"gates": {"macro_f1": {"minimum": 0.5, "enabled": False}}})
    result = asked(evidence(metrics__test__macro_f1=0.1), policy=policy)["macro_f1"]
    assert (result.passed, result.reason) == (True, "switched off in the policy")
