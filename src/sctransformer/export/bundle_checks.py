"""Check that the files of a bundle match each other; checksums only show that each file is unchanged."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sctransformer._constants import BUNDLE, OBS
from sctransformer.errors import UserError
from sctransformer.files import sha256_file
from sctransformer.wording import some

_AGAIN = "export the bundle again"
_SIZES = ("n_genes", "n_regulators", "n_classes", "embedding")
_TABLES = {
    BUNDLE.vocabulary: ("gene", "is_regulator", "mean"),
    BUNDLE.prior: ("regulator", "target"),
    BUNDLE.labels: ("name", OBS.ontology_term),
}
"""Columns that scoring or a reader of the bundle needs."""
_REGULATOR_COLUMNS = ("regulator", "mean", "std")


def require_consistent(
    folder: Path, config: Mapping[str, Any], tables: Mapping[str, pd.DataFrame], calibration: Mapping[str, Any]
) -> None:
    """Check vocabulary, prior, labels and calibration against the sizes in config.json.

    The graph is checked when a scoring session is created, see `require_ports`.

    Args:
        folder: folder of the bundle, for error messages.
        config, calibration: contents of config.json and calibration.json.
        tables: vocabulary, prior and labels, by file name.

    Raises:
        UserError: two files do not match; the message names the file, what it holds and what was expected.
    """
    for name in _SIZES:
        size = config.get(name)
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise UserError(f"{folder / BUNDLE.config}: {name} is {size!r}, expected a whole number from 1; {_AGAIN}.")
    needed = _TABLES | ({BUNDLE.regulators: _REGULATOR_COLUMNS} if BUNDLE.regulators in tables else {})
    for name, columns in needed.items():
        absent = [column for column in columns if column not in tables[name]]
        if absent:
            raise UserError(f"{folder / name}: has no column {', '.join(map(repr, absent))}; {_AGAIN}.")
    vocabulary, prior = tables[BUNDLE.vocabulary], tables[BUNDLE.prior]
    activities = tables.get(BUNDLE.regulators)
    in_panel = int(vocabulary["is_regulator"].eq(True).sum())
    found = (
        (BUNDLE.vocabulary, len(vocabulary), "genes", "n_genes"),
        (BUNDLE.vocabulary, in_panel, "regulators", "n_regulators")
        if activities is None
        else (BUNDLE.regulators, len(activities), "regulators", "n_regulators"),
        (BUNDLE.labels, len(tables[BUNDLE.labels]), "labels", "n_classes"),
    )
    for name, count, what, size in found:
        if count != config[size]:
            raise UserError(
                f"{folder / name}: holds {count} {what}, but {size} in {BUNDLE.config} is {config[size]}; {_AGAIN}."
            )
    gene, times = Counter(vocabulary["gene"]).most_common(1)[0]
    if times > 1:
        raise UserError(
            f"{folder / BUNDLE.vocabulary}: holds the gene {gene!r} {times} times, expected once; {_AGAIN}."
        )
    known = set(vocabulary["gene"]) | (set() if activities is None else set(activities["regulator"]))
    unknown = sorted({str(name) for name in [*prior["regulator"], *prior["target"]]} - known)
    if unknown:
        raise UserError(
            f"{folder / BUNDLE.prior}: {len(unknown)} of its genes are not in {BUNDLE.vocabulary} "
            f"({some(unknown)}); {_AGAIN}."
        )
    _require_labels(folder / BUNDLE.labels, [str(name) for name in tables[BUNDLE.labels]["name"]])
    threshold = calibration.get("rejection_threshold")
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0.0 <= threshold <= 1.0:
        raise UserError(
            f"{folder / BUNDLE.calibration}: rejection_threshold is {threshold!r}, expected a number from 0 to 1; "
            f"{_AGAIN}."
        )
    if "novelty" in calibration:
        _require_novelty(folder, calibration["novelty"])


def _require_labels(path: Path, names: Sequence[str]) -> None:
    """Each cell type has a name of its own."""
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise UserError(f"{path}: holds the label {name!r} {times} times, expected once; {_AGAIN}.")


def _require_novelty(folder: Path, novelty: Any) -> None:
    rows = novelty.get("thresholds") if isinstance(novelty, Mapping) else None
    numbers = [
        row.get(name) if isinstance(row, Mapping) else None
        for row in (rows if isinstance(rows, list) else [])
        for name in ("measured", "threshold")
    ]
    if not numbers or any(isinstance(one, bool) or not isinstance(one, int | float) for one in numbers):
        raise UserError(
            f"{folder / BUNDLE.calibration}: novelty.thresholds is {str(rows)[:80]}, expected a list of measured and "
            f"threshold, both numbers; {_AGAIN}."
        )


def require_lock(path: Path, lineage: Mapping[str, Any]) -> None:
    """Check the bundle's dvc.lock, if it has one, against the digest in its lineage.

    Raises:
        UserError: the digests differ.
    """
    recorded = lineage.get("dvc_lock_sha256")
    if path.is_file() and (found := sha256_file(path)) != recorded:
        raise UserError(
            f"{path}: its SHA-256 is {found[:12]}..., but dvc_lock_sha256 in {BUNDLE.lineage} is "
            f"{str(recorded)[:12]}...; {_AGAIN}."
        )


def require_ports(
    path: Path,
    config: Mapping[str, Any],
    inputs: Mapping[str, Sequence[Any]],
    outputs: Mapping[str, Sequence[Any]],
    novelty: bool = False,
    activities: bool = False,
) -> None:
    """Check names and shapes of the graph's inputs and outputs against the sizes in config.json.

    Args:
        path: file of the graph, for error messages.
        config: content of config.json.
        inputs, outputs: shape by name; a dynamic size is not an int, and is not checked.
        novelty: whether the graph should compute novelty.
        activities: whether it should compute activities of regulators.

    Raises:
        UserError: a name or a size is not the expected one.
    """
    wanted_in: dict[str, tuple[int | None, ...]] = {"counts": (None, config["n_genes"]), "library_size": (None,)}
    wanted_out: dict[str, tuple[int | None, ...]] = {
        "probabilities": (None, config["n_classes"]),
        "embedding": (None, config["embedding"]),
    }
    if novelty:
        wanted_in["measured"], wanted_out["novelty"] = (config["n_genes"],), (None,)
    if activities:
        wanted_in["measured"], wanted_out["activity"] = (config["n_genes"],), (None, config["n_regulators"])
    for kind, found, wanted in (("inputs", inputs, wanted_in), ("outputs", outputs, wanted_out)):
        if set(found) != set(wanted):
            raise UserError(f"{path}: has the {kind} {_listed(found)}, expected {_listed(wanted)}; {_AGAIN}.")
        for name, shape in wanted.items():
            actual = [size if isinstance(size, int) else None for size in found[name]]
            fits = len(actual) == len(shape) and all(
                one is None or other is None or one == other for one, other in zip(actual, shape, strict=True)
            )
            if not fits:
                raise UserError(
                    f"{path}: {name} has the shape {_shape(actual)}, expected {_shape(shape)} ({BUNDLE.config}); "
                    f"{_AGAIN}."
                )


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(sorted(names)) or "none"


def _shape(sizes: Sequence[int | None]) -> str:
    return " x ".join("cells" if size is None else str(size) for size in sizes) or "scalar"
