"""Differences between two models: metrics, cell types, data, network, parameters. Pure: bundles in, rows out."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from flatten_dict import flatten

from sctransformer.export.bundle import Bundle
from sctransformer.registry.evidence import evidence_of
from sctransformer.registry.gate_checks import value_at

_METRICS = (
    ("macro-F1", ("test", "macro_f1")),
    ("accuracy", ("test", "accuracy")),
    ("calibration error", ("test", "calibration_error")),
    ("fraction unknown", ("test", "rejected_share")),
    ("logistic regression, macro-F1", ("baseline", "macro_f1")),
    ("shuffled network, macro-F1", ("control", "macro_f1")),
    ("genes with a regulator", ("coverage", "genes_with_regulator_share")),
    ("edges", ("coverage", "edges_kept")),
)
_LINEAGE = (
    ("commit", ("git", "commit")),
    ("cells, sha256", ("data_sha256",)),
    ("network, sha256", ("prior_sha256",)),
    ("dvc.lock, sha256", ("dvc_lock_sha256",)),
    ("made by", ("who",)),
    ("made", ("when",)),
)


class Row(NamedTuple):
    """One line of a comparison."""

    what: str
    one: Any
    other: Any


def differences(one: Bundle, other: Bundle) -> list[Row]:
    """Metrics of both models, then everything else that differs."""
    rows = [Row(what, value_at(one.metrics, path), value_at(other.metrics, path)) for what, path in _METRICS]
    first, second = evidence_of(one), evidence_of(other)
    speeds = [value_at(side.parity, ("speed", "cells_per_second")) for side in (first, second)]
    rows += [Row("cells per second", *speeds), Row("megabytes", first.megabytes, second.megabytes)]
    rows += list(_of_classes(one, other))
    tested = [bundle.metrics.get("test_cells_sha256") for bundle in (one, other)]
    if tested[0] != tested[1]:
        rows.append(Row("test cells, sha256", *tested))
    for what, path in _LINEAGE:
        pair = value_at(one.lineage, path), value_at(other.lineage, path)
        if pair[0] != pair[1]:
            rows.append(Row(what, *pair))
    for section in ("params", "packages"):
        flat = [flatten(bundle.lineage.get(section) or {}, "dot") for bundle in (one, other)]
        for name in sorted(flat[0].keys() | flat[1].keys()):
            if flat[0].get(name) != flat[1].get(name):
                rows.append(Row(name, flat[0].get(name), flat[1].get(name)))
    return rows


def _of_classes(one: Bundle, other: Bundle) -> Iterator[Row]:
    sides = [bundle.metrics.get("test", {}).get("per_class") or {} for bundle in (one, other)]
    given = [set(bundle.labels["name"]) for bundle in (one, other)]
    for name in sorted(given[0] | given[1]):
        values = [
            value_at(side, (name, "f1")) if name in labels else "not given"
            for side, labels in zip(sides, given, strict=True)
        ]
        if values != [None, None]:
            yield Row(f"F1, {name}", *values)
