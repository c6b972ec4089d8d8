"""Gates of a promotion: contents of bundles and a policy in, results out. A value that is missing fails its gate."""

import dataclasses
from collections.abc import Callable, Collection
from dataclasses import dataclass

from sctransformer.errors import UserError
from sctransformer.registry import gate_checks
from sctransformer.registry.gate_checks import Comparison, Evidence, Outcome, Value
from sctransformer.registry.policy import Policy


@dataclass(frozen=True)
class GateResult:
    """The result of one gate."""

    gate: str
    value: Value
    """Value found; None if there is none."""
    threshold: Value
    """Value required."""
    passed: bool
    reason: str
    overridden: bool = False
    """Failed, and overridden by a person."""
    switched_off: bool = False
    """Not checked because the policy disables it; counts as passed."""


NEVER_OVERRIDDEN = ("bundle_checksums",)
"""A bundle that differs from what was registered is not the model that was measured, and nothing would load it."""


def override(results: list[GateResult], names: Collection[str]) -> list[GateResult]:
    """Mark the failed gates with these names as overridden.

    Raises:
        UserError: no gate has this name, or it cannot be overridden.
    """
    gates = [result.gate for result in results]
    for name in names:
        if name not in gates:
            raise UserError(f"there is no gate {name!r} to override (gates: {', '.join(gates)}).")
        if name in NEVER_OVERRIDDEN:
            raise UserError(f"the gate {name!r} cannot be overridden; register the model again.")
    return [
        dataclasses.replace(result, overridden=True) if result.gate in names and not result.passed else result
        for result in results
    ]


def check_bundle(candidate: Evidence) -> GateResult:
    """The one gate that a rollback checks too."""
    return GateResult("bundle_checksums", *gate_checks.checksums(candidate))


def check_gates(
    candidate: Evidence, champion: Evidence | None, policy: Policy, comparison: Comparison | None = None
) -> list[GateResult]:
    """Check every gate.

    Args:
        candidate: the version to promote.
        champion: the current champion; None if there is none yet.
        policy: thresholds.
        comparison: of the two on the same cells; None if there are no such cells.

    Returns:
        One result per gate, in the order of the policy. A gate that the policy disables passes, with that reason.
    """
    gates = policy.gates
    checks: dict[str, Callable[[], Outcome]] = {
        "bundle_checksums": lambda: gate_checks.checksums(candidate),
        "lineage_complete": lambda: gate_checks.lineage_complete(candidate),
        "lineage_clean": lambda: gate_checks.lineage_clean(candidate, gates.lineage_clean.without_git),
        "validation": lambda: gate_checks.validation(candidate),
        "same_labels": lambda: gate_checks.same_labels(candidate, champion),
        "onnx_parity": lambda: gate_checks.parity(candidate, gates.onnx_parity.maximum),
        "macro_f1": lambda: gate_checks.at_least(candidate.metrics, gate_checks.TEST_F1, gates.macro_f1.minimum),
        "class_recall": lambda: gate_checks.class_recall(
            candidate, gates.class_recall.minimum, gates.class_recall.min_cells
        ),
        "calibration": lambda: gate_checks.at_most(
            candidate.metrics, ("test", "calibration_error"), gates.calibration.maximum, "confidence fits accuracy"
        ),
        "baseline": lambda: gate_checks.baseline(candidate, gates.baseline.margin),
        "champion": lambda: gate_checks.champion(candidate, champion, comparison or Comparison(), gates.champion),
        "prior_genes": lambda: gate_checks.prior_genes(candidate, gates.prior_genes.minimum),
        "prior_edges": lambda: gate_checks.at_least(
            candidate.metrics, ("coverage", "edges_kept"), gates.prior_edges.minimum
        ),
        "prior_evidence": lambda: gate_checks.prior_evidence(candidate),
        "shuffled_network": lambda: gate_checks.shuffled(candidate, gates.shuffled_network.margin),
        "scoring_speed": lambda: gate_checks.at_least(
            candidate.parity, ("speed", "cells_per_second"), gates.scoring_speed.minimum, "fast enough", "too slow"
        ),
        "bundle_size": lambda: gate_checks.size(candidate, gates.bundle_size.maximum),
    }
    results = []
    for name, check in checks.items():
        if not getattr(gates, name).enabled:
            results.append(GateResult(name, None, None, True, "switched off in the policy", switched_off=True))
        elif candidate.damage is not None and name != "bundle_checksums":
            results.append(GateResult(name, None, None, False, "not checked: the bundle is damaged"))
        else:
            value, threshold, passed, reason = check()
            results.append(GateResult(name, value, threshold, passed, reason))
    return results


def failed(results: list[GateResult]) -> list[str]:
    """Names of the gates that failed and were not overridden."""
    return [result.gate for result in results if not result.passed and not result.overridden]
