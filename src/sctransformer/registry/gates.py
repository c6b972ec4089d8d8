"""The gates of a promotion. Pure: contents of bundles and a policy in, verdicts out. No figure, no passage."""

import dataclasses
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from sctransformer.errors import UserError
from sctransformer.evaluation.paired import NEGLIGIBLE, PairedComparison
from sctransformer.registry.policy import NoWorse, Policy

Value = float | int | str | None

_LINEAGE_FIELDS = (
    ("git", "commit"),
    ("dvc_lock_sha256",),
    ("data_sha256",),
    ("prior_sha256",),
    ("params",),
    ("packages",),
    ("who",),
    ("when",),
)
_TEST_F1 = ("test", "macro_f1")


@dataclass(frozen=True)
class Evidence:
    """What gates look at: JSON contents of a bundle."""

    metrics: dict[str, Any] = field(default_factory=dict)
    parity: dict[str, Any] = field(default_factory=dict)
    lineage: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    """Cell types that it gives."""
    megabytes: float | None = None
    """Of all files."""
    damage: str | None = None
    """Why the bundle cannot be trusted; its contents are then empty."""


@dataclass(frozen=True)
class Comparison:
    """Candidate and champion, scored again on the same cells."""

    paired: PairedComparison | None = None
    refusal: str = "not compared: no test cells were given"
    """Why there is no figure."""


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
    switched_off: bool = False
    """Not asked, because the policy says so; passed."""


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


def check_gates(
    candidate: Evidence, champion: Evidence | None, policy: Policy, comparison: Comparison | None = None
) -> list[GateResult]:
    """Ask every gate.

    Args:
        candidate: the version to promote.
        champion: the champion of now; None: there is none yet.
        policy: thresholds.
        comparison: of the two on the same cells; None: there are no such cells.

    Returns:
        One result a gate, in the order of the policy. A gate that the policy switches off is passed and says so.
    """
    gates = policy.gates
    coverage = ("coverage", "genes_with_regulator_share")
    checks: dict[str, Callable[[], tuple[Value, Value, bool, str]]] = {
        "bundle_checksums": lambda: _checksums(candidate),
        "lineage_complete": lambda: _lineage_complete(candidate),
        "lineage_clean": lambda: _lineage_clean(candidate),
        "validation": lambda: _validation(candidate),
        "same_labels": lambda: _same_labels(candidate, champion),
        "onnx_parity": lambda: _parity(candidate, gates.onnx_parity.maximum),
        "macro_f1": lambda: _at_least(candidate.metrics, _TEST_F1, gates.macro_f1.minimum),
        "class_recall": lambda: _class_recall(candidate, gates.class_recall.minimum, gates.class_recall.min_cells),
        "calibration": lambda: _at_most(
            candidate.metrics, ("test", "calibration_error"), gates.calibration.maximum, "confidence fits accuracy"
        ),
        "baseline": lambda: _baseline(candidate, gates.baseline.margin),
        "champion": lambda: _champion(candidate, champion, comparison or Comparison(), gates.champion),
        "prior_genes": lambda: _at_least(candidate.metrics, coverage, gates.prior_genes.minimum),
        "prior_edges": lambda: _at_least(candidate.metrics, ("coverage", "edges_kept"), gates.prior_edges.minimum),
        "shuffled_network": lambda: _shuffled(candidate, gates.shuffled_network.margin),
        "scoring_speed": lambda: _at_least(
            candidate.parity, ("speed", "cells_per_second"), gates.scoring_speed.minimum, "fast enough", "too slow"
        ),
        "bundle_size": lambda: _size(candidate, gates.bundle_size.maximum),
    }
    results = []
    for name, check in checks.items():
        if not getattr(gates, name).enabled:
            results.append(GateResult(name, None, None, True, "switched off in the policy", switched_off=True))
        elif candidate.damage is not None and name != "bundle_checksums":
            results.append(GateResult(name, None, None, False, "not read: the bundle is damaged"))
        else:
            value, threshold, passed, reason = check()
            results.append(GateResult(name, value, threshold, passed, reason))
    return results


def closed(results: list[GateResult]) -> list[str]:
    """Names of the gates that did not pass, and that nobody passed over."""
    return [result.gate for result in results if not result.passed and not result.overridden]


def _checksums(candidate: Evidence) -> tuple[Value, Value, bool, str]:
    if candidate.damage is not None:
        return "damaged", "intact", False, candidate.damage
    return "intact", "intact", True, "every file matches its checksum"


def _lineage_complete(candidate: Evidence) -> tuple[Value, Value, bool, str]:
    found = [value_at(candidate.lineage, path) for path in _LINEAGE_FIELDS]
    there = [isinstance(value, str | dict) and bool(value) for value in found]
    absent = ", ".join(".".join(path) for path, known in zip(_LINEAGE_FIELDS, there, strict=True) if not known)
    return sum(there), len(there), not absent, f"not recorded: {absent}" if absent else "all are recorded"


def _lineage_clean(candidate: Evidence) -> tuple[Value, Value, bool, str]:
    dirty = value_at(candidate.lineage, ("git", "dirty"))
    if dirty is False:
        return "clean", "clean", True, "made from the commit as it is"
    if dirty is True:
        return "dirty", "clean", False, "made from files that differ from the commit; commit them and run again"
    return None, "clean", False, "not recorded: git.dirty"


def _validation(candidate: Evidence) -> tuple[Value, Value, bool, str]:
    success = value_at(candidate.lineage, ("validation_success",))
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


def _at_least(
    content: dict[str, Any], path: tuple[str, ...], minimum: float, good: str = "high enough", bad: str = "too low"
) -> tuple[Value, Value, bool, str]:
    value = _figure(content, path)
    if value is None:
        return None, minimum, False, f"not measured: {'.'.join(path)}"
    return value, minimum, value >= minimum, good if value >= minimum else bad


def _at_most(
    content: dict[str, Any], path: tuple[str, ...], maximum: float, good: str
) -> tuple[Value, Value, bool, str]:
    value = _figure(content, path)
    if value is None:
        return None, maximum, False, f"not measured: {'.'.join(path)}"
    return value, maximum, value <= maximum, good if value <= maximum else "too high"


def _same_labels(candidate: Evidence, champion: Evidence | None) -> tuple[Value, Value, bool, str]:
    own = len(candidate.labels)
    if not own:
        return None, None, False, "not recorded: labels"
    if champion is None:
        return own, None, True, "no champion yet"
    if champion.damage is not None:
        return own, None, False, f"the champion cannot be compared: {champion.damage}"
    gone = ", ".join(sorted(set(champion.labels) - set(candidate.labels)))
    new = ", ".join(sorted(set(candidate.labels) - set(champion.labels)))
    told = [f"{what}: {names}" for what, names in (("no longer given", gone), ("new", new)) if names]
    return own, len(champion.labels), not told, "; ".join(told) or "the champion's cell types"


def _class_recall(candidate: Evidence, minimum: float, min_cells: int) -> tuple[Value, Value, bool, str]:
    per_class = value_at(candidate.metrics, ("test", "per_class"))
    judged: list[tuple[float, str]] = []
    for name, figures in per_class.items() if isinstance(per_class, dict) else ():
        recall, cells = (_figure(figures, (key,)) for key in ("recall", "cells"))
        if recall is None or cells is None:
            return None, minimum, False, f"not measured: recall of {name}"
        if cells >= min_cells:
            judged.append((recall, name))
    if not judged:
        return None, minimum, False, f"not measured: no cell type has {min_cells} test cells"
    lowest, name = min(judged)
    left_out = len(per_class) - len(judged)
    note = f"; {left_out} with fewer than {min_cells} test cells are not judged" if left_out else ""
    return lowest, minimum, lowest >= minimum, f"lowest: {name}{note}"


def _shuffled(candidate: Evidence, margin: float) -> tuple[Value, Value, bool, str]:
    own = _text(candidate.lineage, ("params", "prior", "control"))
    if own is not None and own != "none":
        return own, "none", False, "the model was trained on a control network itself"
    mode = _text(candidate.config, ("mode",))
    if mode in ("regulators", "dense"):
        return None, -margin, True, f"mode {mode} uses no edges of the network"
    difference = _figure(candidate.metrics, ("control", "difference"))
    if difference is None:
        return None, -margin, False, "not measured: control.difference"
    other = _figure(candidate.metrics, ("control", "macro_f1"))
    told = "" if other is None else f"; with a shuffled network macro-F1 is {other:.3f}"
    changed = _figure(candidate.metrics, ("control", "changed_labels_share"))
    if changed is not None:
        told += f", and {changed:.1%} of test cells get another label"
        told += ": what the layers read decides nothing" if changed < NEGLIGIBLE else ""
    passed = difference >= -margin
    return difference, -margin, passed, ("no worse than its shuffle" if passed else "worse than its shuffle") + told


def _size(candidate: Evidence, maximum: float) -> tuple[Value, Value, bool, str]:
    size = candidate.megabytes
    if size is None:
        return None, maximum, False, "not measured: the size of the bundle"
    return size, maximum, size <= maximum, "megabytes" if size <= maximum else "megabytes: too large"


def _baseline(candidate: Evidence, margin: float) -> tuple[Value, Value, bool, str]:
    """Closed when the candidate is shown to be worse: its whole interval lies more than the margin under."""
    other = _figure(candidate.metrics, ("baseline", "macro_f1"))
    difference, high = (_figure(candidate.metrics, ("versus_baseline", name)) for name in ("difference", "high"))
    if other is None or difference is None or high is None:
        return None, -margin, False, "not measured: versus_baseline, baseline.macro_f1"
    told = f"logistic regression reaches {other:.3f}; {difference:+.3f}, at best {high:+.3f} in 95 % of draws"
    return high, -margin, high >= -margin, told


def _champion(
    candidate: Evidence, champion: Evidence | None, comparison: Comparison, gate: NoWorse
) -> tuple[Value, Value, bool, str]:
    """The share of bootstrap draws in which the candidate is no more than the margin under the champion."""
    if champion is None:
        return None, gate.probability, True, "no champion yet"
    if champion.damage is not None:
        return None, gate.probability, False, f"the champion cannot be compared: {champion.damage}"
    paired = comparison.paired
    if paired is None:
        return None, gate.probability, False, comparison.refusal
    share = paired.share_not_below(gate.margin)
    told = (
        f"macro-F1 {paired.one:.3f}, the champion {paired.other:.3f}: {paired.difference:+.3f} ({paired.low:+.3f} to "
        f"{paired.high:+.3f}) on the same {paired.cells} cells, {paired.unit} drawn again; at most {gate.margin:g} "
        "under it in this share of draws"
    )
    return share, gate.probability, share >= gate.probability, told


def value_at(content: Any, path: tuple[str, ...]) -> Any:
    """What lies under nested keys; None where one of them is not there."""
    for key in path:
        if not isinstance(content, dict):
            return None
        content = content.get(key)
    return content


def _figure(content: dict[str, Any], path: tuple[str, ...]) -> float | None:
    """A finite number, or None for anything else: NaN, true and text are no figures."""
    value = value_at(content, path)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value


def _text(content: dict[str, Any], path: tuple[str, ...]) -> str | None:
    value = value_at(content, path)
    return value if isinstance(value, str) and value else None
