"""The gates of a promotion. Pure: contents of bundles and a policy in, verdicts out. No figure, no passage."""

import dataclasses
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from sctransformer.errors import UserError
from sctransformer.registry.policy import Policy

Value = float | int | str | None

_LINEAGE_FIELDS = (("git", "commit"), ("dvc_lock_sha256",), ("data_sha256",), ("prior_sha256",))
_TEST_F1 = ("test", "macro_f1")
_TEST_CELLS = "test_cells_sha256"


@dataclass(frozen=True)
class Evidence:
    """What gates look at: JSON contents of a bundle."""

    metrics: dict[str, Any] = field(default_factory=dict)
    parity: dict[str, Any] = field(default_factory=dict)
    lineage: dict[str, Any] = field(default_factory=dict)
    damage: str | None = None
    """Why the bundle cannot be trusted; its contents are then empty."""


@dataclass(frozen=True)
class GateResult:
    """What one gate said."""

    gate: str
    value: Value
    """What was found; None: nothing."""
    threshold: Value
    """What was asked for."""
    passed: bool
    reason: str
    overridden: bool = False
    """Closed, and passed over by a person."""


NEVER_OVERRIDDEN = ("bundle_checksums",)
"""A bundle that is not what was registered is not the model that was measured; nothing would load it."""


def override(results: list[GateResult], names: Collection[str]) -> list[GateResult]:
    """Pass over the gates of these names that are closed.

    Raises:
        UserError: there is no such gate, or it cannot be passed over.
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
    """The one gate that also holds for a version that was champion before."""
    return GateResult("bundle_checksums", *_checksums(candidate))


def check_gates(candidate: Evidence, champion: Evidence | None, policy: Policy) -> list[GateResult]:
    """Ask every gate.

    Args:
        candidate: the version to promote.
        champion: the champion of now; None: there is none yet.
        policy: thresholds.

    Returns:
        One result a gate, in the order of the policy. A gate that the policy switches off is passed and says so.
    """
    gates = policy.gates
    checks: dict[str, Callable[[], tuple[Value, Value, bool, str]]] = {
        "bundle_checksums": lambda: _checksums(candidate),
        "lineage_complete": lambda: _lineage_complete(candidate),
        "lineage_clean": lambda: _lineage_clean(candidate),
        "validation": lambda: _validation(candidate),
        "onnx_parity": lambda: _parity(candidate, gates.onnx_parity.maximum),
        "macro_f1": lambda: _at_least(candidate, _TEST_F1, gates.macro_f1.minimum),
        "baseline": lambda: _baseline(candidate, gates.baseline.margin),
        "champion": lambda: _champion(candidate, champion, gates.champion.margin),
        "prior_genes": lambda: _at_least(
            candidate, ("coverage", "genes_with_regulator_share"), gates.prior_genes.minimum
        ),
        "prior_edges": lambda: _at_least(candidate, ("coverage", "edges_kept"), gates.prior_edges.minimum),
    }
    results = []
    for name, check in checks.items():
        if not getattr(gates, name).enabled:
            results.append(GateResult(name, None, None, True, "switched off in the policy"))
        elif candidate.damage is not None and name != "bundle_checksums":
            results.append(GateResult(name, None, None, False, "not read: the bundle is damaged"))
        else:
            results.append(GateResult(name, *check()))
    return results


def closed(results: list[GateResult]) -> list[str]:
    """Names of the gates that did not pass, and that nobody passed over."""
    return [result.gate for result in results if not result.passed and not result.overridden]


def _checksums(candidate: Evidence) -> tuple[Value, Value, bool, str]:
    if candidate.damage is not None:
        return "damaged", "intact", False, candidate.damage
    return "intact", "intact", True, "every file matches its checksum"


def _lineage_complete(candidate: Evidence) -> tuple[Value, Value, bool, str]:
    there = [_text(candidate.lineage, path) is not None for path in _LINEAGE_FIELDS]
    absent = ", ".join(".".join(path) for path, found in zip(_LINEAGE_FIELDS, there, strict=True) if not found)
    return sum(there), len(there), not absent, f"not recorded: {absent}" if absent else "all are recorded"


def _lineage_clean(candidate: Evidence) -> tuple[Value, Value, bool, str]:
    dirty = _at(candidate.lineage, ("git", "dirty"))
    if dirty is False:
        return "clean", "clean", True, "made from the commit as it is"
    if dirty is True:
        return "dirty", "clean", False, "made from files that differ from the commit; commit them and run again"
    return None, "clean", False, "not recorded: git.dirty"


def _validation(candidate: Evidence) -> tuple[Value, Value, bool, str]:
    success = _at(candidate.lineage, ("validation_success",))
    if success is True:
        return "passed", "passed", True, "the cells passed validation"
    if success is False:
        return "failed", "passed", False, "the cells failed validation"
    return None, "passed", False, "not recorded: validation_success"


def _parity(candidate: Evidence, tolerance: float) -> tuple[Value, Value, bool, str]:
    difference = _figure(candidate.parity, ("max_probability_difference",))
    cells, equal = (_figure(candidate.parity, (name,)) for name in ("cells", "labels_equal"))
    if difference is None or cells is None or equal is None or "passed" not in candidate.parity:
        return difference, tolerance, False, "not measured"
    if candidate.parity["passed"] is not True:
        return difference, tolerance, False, "export found that onnxruntime and torch differ"
    if cells < 1 or equal != cells:
        return difference, tolerance, False, f"{equal:.0f} of {cells:.0f} labels agree"
    if difference > tolerance:
        return difference, tolerance, False, "probabilities are too far apart"
    return difference, tolerance, True, f"the labels of {cells:.0f} cells agree"


def _at_least(candidate: Evidence, path: tuple[str, ...], minimum: float) -> tuple[Value, Value, bool, str]:
    value = _figure(candidate.metrics, path)
    if value is None:
        return None, minimum, False, f"not measured: {'.'.join(path)}"
    passed = value >= minimum
    return value, minimum, passed, "high enough" if passed else "too low"


def _baseline(candidate: Evidence, margin: float) -> tuple[Value, Value, bool, str]:
    own, other = (_figure(candidate.metrics, (part, "macro_f1")) for part in ("test", "baseline"))
    if own is None or other is None:
        absent = "test" if own is None else "baseline"
        return own, None, False, f"not measured: {absent}.macro_f1"
    return _not_worse(own, other, margin, "logistic regression")


def _champion(candidate: Evidence, champion: Evidence | None, margin: float) -> tuple[Value, Value, bool, str]:
    own = _figure(candidate.metrics, _TEST_F1)
    if champion is None:
        return own, None, True, "no champion yet"
    if champion.damage is not None:
        return own, None, False, f"the champion cannot be compared: {champion.damage}"
    other = _figure(champion.metrics, _TEST_F1)
    if own is None or other is None:
        return own, None, False, f"not measured: test.macro_f1 of the {'candidate' if own is None else 'champion'}"
    own_cells, other_cells = (_text(side.metrics, (_TEST_CELLS,)) for side in (candidate, champion))
    if own_cells is None or own_cells != other_cells:
        return own, None, False, "the two were not measured on the same test cells"
    return _not_worse(own, other, margin, "the champion")


def _not_worse(own: float, other: float, margin: float, name: str) -> tuple[Value, Value, bool, str]:
    threshold = other - margin
    passed = own >= threshold
    return own, threshold, passed, f"{name} reaches {other:.3f}"


def _at(content: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        if not isinstance(content, dict):
            return None
        content = content.get(key)
    return content


def _figure(content: dict[str, Any], path: tuple[str, ...]) -> float | None:
    """A finite number, or None for anything else: NaN, true and text are no figures."""
    value = _at(content, path)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value


def _text(content: dict[str, Any], path: tuple[str, ...]) -> str | None:
    value = _at(content, path)
    return value if isinstance(value, str) and value else None
