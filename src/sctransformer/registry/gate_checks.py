"""The check behind each gate: contents of bundles in, value, threshold, whether it passed, and the reason out."""

import math
from dataclasses import dataclass, field
from typing import Any

from sctransformer.evaluation.paired import NEGLIGIBLE, PairedComparison
from sctransformer.registry.lineage import commit_command, uncommitted_files
from sctransformer.registry.policy import NoWorse
from sctransformer.wording import some

Value = float | int | str | None
Outcome = tuple[Value, Value, bool, str]
"""Value found, threshold, whether the gate passed, and why."""

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
_CODE_DIGEST = ("git", "code_sha256")
"""Identifies the code of a project that is not in a git repository."""
_WITHOUT_EDGES = ("regulators", "dense")
"""Modes that use no edges of the network."""
MOST_FILES = 10
"""Number of files named in a reason."""
TEST_F1 = ("test", "macro_f1")


@dataclass(frozen=True)
class Evidence:
    """Contents of a bundle that the gates check."""

    metrics: dict[str, Any] = field(default_factory=dict)
    parity: dict[str, Any] = field(default_factory=dict)
    lineage: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    """Cell types that the model predicts."""
    megabytes: float | None = None
    """Size of all files."""
    committed: str | None = None
    """The later commit that holds what the model was made from, where that was not committed at the training."""
    damage: str | None = None
    """Why the bundle cannot be trusted; its contents are then empty."""


@dataclass(frozen=True)
class Comparison:
    """Candidate and champion, scored again on the same cells."""

    paired: PairedComparison | None = None
    refusal: str = "not compared: no test cells were given"
    """Why there is no comparison."""


def checksums(candidate: Evidence) -> Outcome:
    """Every file of the bundle matches its checksum."""
    if candidate.damage is not None:
        return "damaged", "intact", False, candidate.damage
    return "intact", "intact", True, "every file matches its checksum"


def lineage_complete(candidate: Evidence) -> Outcome:
    """Every field of the lineage is recorded."""
    found = [value_at(candidate.lineage, path) for path in _LINEAGE_FIELDS]
    if found[0] is None:
        found[0] = value_at(candidate.lineage, _CODE_DIGEST)
    recorded = [isinstance(value, str | dict) and bool(value) for value in found]
    absent = ", ".join(".".join(path) for path, known in zip(_LINEAGE_FIELDS, recorded, strict=True) if not known)
    return sum(recorded), len(recorded), not absent, f"not recorded: {absent}" if absent else "all are recorded"


def lineage_clean(candidate: Evidence, without_git: bool = False) -> Outcome:
    """Code and inputs did not differ from the commit, or were committed later, unchanged.

    Without a git repository, the policy decides.
    """
    if value_at(candidate.lineage, _CODE_DIGEST) is not None:
        if without_git:
            return (
                "no git",
                "clean",
                True,
                "made without git; the code is kept with the run",
            )
        return "no git", "clean", False, "made without git; train in a git repository, or set without_git in the policy"
    dirty = value_at(candidate.lineage, ("git", "dirty"))
    if dirty is False:
        return "clean", "clean", True, "made from the commit without changes"
    if dirty is True:
        files = uncommitted_files(candidate.lineage["git"])
        names = some([str(file) for file in files], MOST_FILES)
        if candidate.committed is not None:
            return "clean", "clean", True, f"committed later, unchanged, in {candidate.committed[:8]}: {names}"
        if not files:
            return "dirty", "clean", False, "made from files that differ from the commit; commit them and run again"
        command = commit_command(file.path for file in files)
        return (
            "dirty",
            "clean",
            False,
            f"not committed when the model was made: {names}; commit them unchanged (`{command}`) and promote again, "
            "or restore them and train again",
        )
    return None, "clean", False, "not recorded: git.dirty"


def validation(candidate: Evidence) -> Outcome:
    """The cells passed validation."""
    success = value_at(candidate.lineage, ("validation_success",))
    if success is True:
        return "passed", "passed", True, "the cells passed validation"
    if success is False:
        return "failed", "passed", False, "the cells failed validation"
    return None, "passed", False, "not recorded: validation_success"


def parity(candidate: Evidence, tolerance: float) -> Outcome:
    """Onnxruntime predicts the same labels as torch, and nearly the same probabilities."""
    difference = _number(candidate.parity, ("max_probability_difference",))
    cells, equal = (_number(candidate.parity, (name,)) for name in ("cells", "labels_equal"))
    if difference is None or cells is None or equal is None or "passed" not in candidate.parity:
        return difference, tolerance, False, "not measured"
    if candidate.parity["passed"] is not True:
        return difference, tolerance, False, "export found that onnxruntime and torch differ"
    if cells < 1 or equal != cells:
        return difference, tolerance, False, f"{equal:.0f} of {cells:.0f} labels agree"
    if difference > tolerance:
        return difference, tolerance, False, "probabilities are too far apart"
    return difference, tolerance, True, f"the labels of {cells:.0f} cells agree"


def at_least(
    content: dict[str, Any], path: tuple[str, ...], minimum: float, good: str = "high enough", bad: str = "too low"
) -> Outcome:
    """A number is at least the minimum."""
    value = _number(content, path)
    if value is None:
        return None, minimum, False, f"not measured: {'.'.join(path)}"
    return value, minimum, value >= minimum, good if value >= minimum else bad


def at_most(content: dict[str, Any], path: tuple[str, ...], maximum: float, good: str) -> Outcome:
    """A number is at most the maximum."""
    value = _number(content, path)
    if value is None:
        return None, maximum, False, f"not measured: {'.'.join(path)}"
    return value, maximum, value <= maximum, good if value <= maximum else "too high"


def prior_genes(candidate: Evidence, minimum: float) -> Outcome:
    """Network and panel have enough genes in common, see `prior.coverage.coverage`.

    Earlier bundles lack `used_share`.
    """
    has_both = _number(candidate.metrics, ("coverage", "used_share")) is not None
    return at_least(
        candidate.metrics, ("coverage", "used_share" if has_both else "genes_with_regulator_share"), minimum
    )


def same_labels(candidate: Evidence, champion: Evidence | None) -> Outcome:
    """Candidate and champion predict the same cell types."""
    own = len(candidate.labels)
    if not own:
        return None, None, False, "not recorded: labels"
    if champion is None:
        return own, None, True, "no champion yet"
    if champion.damage is not None:
        return own, None, False, f"the champion cannot be compared: {champion.damage}"
    gone = ", ".join(sorted(set(champion.labels) - set(candidate.labels)))
    new = ", ".join(sorted(set(candidate.labels) - set(champion.labels)))
    changes = [f"{what}: {names}" for what, names in (("removed", gone), ("new", new)) if names]
    return own, len(champion.labels), not changes, "; ".join(changes) or "same cell types as the champion"


def class_recall(candidate: Evidence, minimum: float, min_cells: int) -> Outcome:
    """Recall of every cell type with enough test cells."""
    per_class = value_at(candidate.metrics, ("test", "per_class"))
    checked: list[tuple[float, str]] = []
    not_judged: list[str] = []
    for name, scores in per_class.items() if isinstance(per_class, dict) else ():
        recall, cells = (_number(scores, (key,)) for key in ("recall", "cells"))
        if cells is None or (recall is None and cells > 0):
            return None, minimum, False, f"not measured: recall of {name}"
        if recall is None or cells < min_cells:
            not_judged.append(f"{name} ({cells:.0f})")
        else:
            checked.append((recall, name))
    if not checked:
        return (
            None,
            minimum,
            False,
            f"not measured: no cell type has {min_cells} test cells; lower class_recall.min_cells in the policy",
        )
    lowest, name = min(checked)
    note = f"; not judged, with fewer than {min_cells} test cells: {', '.join(not_judged)}" if not_judged else ""
    return lowest, minimum, lowest >= minimum, f"lowest: {name}{note}"


def prior_evidence(candidate: Evidence) -> Outcome:
    """Each measurement of the network is above those of rewired networks, by a 95 % interval that excludes 0."""
    if (mode := _text(candidate.config, ("mode",))) in _WITHOUT_EDGES:
        return None, 0.0, True, f"mode {mode} uses no edges of the network"
    measurements = value_at(candidate.metrics, ("control", "evidence"))
    if not isinstance(measurements, list) or not measurements:
        return None, 0.0, False, "not measured: control.evidence"
    lowest, reasons = math.inf, []
    for one in measurements:
        low, difference, high = (_number(one, (name,)) for name in ("low", "difference", "high"))
        if low is None or difference is None or high is None:
            return None, 0.0, False, "not measured: control.evidence"
        lowest = min(lowest, low)
        reasons.append(f"{value_at(one, ('name',))}: {difference:+.4f} ({low:+.4f} to {high:+.4f})")
    compared = f"compared with rewired networks: {'; '.join(reasons)}"
    return lowest, 0.0, lowest > 0, compared if lowest > 0 else f"no better than a random one, {compared}"


def shuffled(candidate: Evidence, margin: float) -> Outcome:
    """The model is no worse than the same training with a shuffled network."""
    own = _text(candidate.lineage, ("params", "prior", "control"))
    if own is not None and own != "none":
        return own, "none", False, "the model was trained on a control network itself"
    mode = _text(candidate.config, ("mode",))
    if mode in _WITHOUT_EDGES:
        return None, -margin, True, f"mode {mode} uses no edges of the network"
    difference = _number(candidate.metrics, ("control", "difference"))
    if difference is None:
        return None, -margin, False, "not measured: control.difference"
    other = _number(candidate.metrics, ("control", "macro_f1"))
    note = "" if other is None else f"; with a shuffled network macro-F1 is {other:.3f}"
    changed = _number(candidate.metrics, ("control", "changed_labels_share"))
    if changed is not None:
        note += f", and {changed:.1%} of test cells get another label"
        note += ": the network has no influence on the labels" if changed < NEGLIGIBLE else ""
    passed = difference >= -margin
    return difference, -margin, passed, (f"{'no ' if passed else ''}worse than with a shuffled network") + note


def size(candidate: Evidence, maximum: float) -> Outcome:
    """The bundle is small enough."""
    megabytes = candidate.megabytes
    if megabytes is None:
        return None, maximum, False, "not measured: the size of the bundle"
    return megabytes, maximum, megabytes <= maximum, "megabytes" if megabytes <= maximum else "megabytes: too large"


def baseline(candidate: Evidence, margin: float) -> Outcome:
    """The candidate is not shown to be worse than logistic regression by more than the margin.

    It fails if the whole 95 % interval of the difference is below the margin.
    """
    other = _number(candidate.metrics, ("baseline", "macro_f1"))
    difference, high = (_number(candidate.metrics, ("versus_baseline", name)) for name in ("difference", "high"))
    if other is None or difference is None or high is None:
        return None, -margin, False, "not measured: versus_baseline, baseline.macro_f1"
    reason = (
        f"logistic regression reaches {other:.3f}; difference {difference:+.3f}, upper end of 95 % interval {high:+.3f}"
    )
    return high, -margin, high >= -margin, reason


def champion(candidate: Evidence, champion: Evidence | None, comparison: Comparison, gate: NoWorse) -> Outcome:
    """The candidate is at most the margin below the champion in enough bootstrap resamples."""
    if champion is None:
        return None, gate.probability, True, "no champion yet"
    if champion.damage is not None:
        return None, gate.probability, False, f"the champion cannot be compared: {champion.damage}"
    paired = comparison.paired
    if paired is None:
        return None, gate.probability, False, comparison.refusal
    share = paired.share_not_below(gate.margin)
    reason = (
        f"macro-F1 {paired.one:.3f}, the champion {paired.other:.3f}: {paired.difference:+.3f} ({paired.low:+.3f} to "
        f"{paired.high:+.3f}) on the same {paired.cells} cells, {paired.unit} resampled; at most {gate.margin:g} "
        "below the champion in this fraction of resamples"
    )
    return share, gate.probability, share >= gate.probability, reason


def value_at(content: Any, path: tuple[str, ...]) -> Any:
    """The value under nested keys; None if a key is missing."""
    for key in path:
        if not isinstance(content, dict):
            return None
        content = content.get(key)
    return content


def _number(content: dict[str, Any], path: tuple[str, ...]) -> float | None:
    """A finite number; None for anything else, such as NaN, true or text."""
    value = value_at(content, path)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value


def _text(content: dict[str, Any], path: tuple[str, ...]) -> str | None:
    value = value_at(content, path)
    return value if isinstance(value, str) and value else None
