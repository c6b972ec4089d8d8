"""The report of a training: its test cells, its regulators and its results, as far as the files exist."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from sctransformer import layout
from sctransformer._constants import BUNDLE, OBS
from sctransformer.annotation.fields import label_columns, regulator_columns
from sctransformer.annotation.labelling import Labeller
from sctransformer.annotation.limits import limits_for
from sctransformer.annotation.reading import check_cells, open_cells
from sctransformer.annotation.regulators import regulators_for
from sctransformer.annotation.session import ScoringSession
from sctransformer.annotation.settings import GraphSettings
from sctransformer.annotation.stream import label_all
from sctransformer.errors import UserError
from sctransformer.evaluation.calibration import risk_coverage
from sctransformer.export.bundle import Bundle, read_bundle
from sctransformer.files import read_json
from sctransformer.reports.columns import shown_cells
from sctransformer.reports.content import MOST_CELLS, Report, Results, ShownCells
from sctransformer.reports.positions import positions_of, sampled_rows
from sctransformer.reports.regulons import regulators_of

OUTPUTS = layout.TRAINING.parent
_CURVES = "risk_coverage"


def is_outputs(folder: Path) -> bool:
    """Whether a folder holds the outputs of a pipeline that has evaluated a model."""
    return (
        in_outputs(folder, layout.METRICS).is_file()
        and (in_outputs(folder, layout.BUNDLE_FOLDER) / BUNDLE.checksums).is_file()
    )


def in_outputs(folder: Path, path: Path) -> Path:
    """A path of the layout in another folder of outputs."""
    return folder / path.relative_to(OUTPUTS)


def report_of_outputs(folder: Path, name: str | None = None) -> Report:
    """Collect the report of a folder of outputs, in which a model was trained, evaluated and exported.

    Args:
        folder: written by the pipeline.
        name: of the registered version, for the title.

    Raises:
        UserError: a file is missing or damaged.
    """
    bundle = read_bundle(in_outputs(folder, layout.BUNDLE_FOLDER))
    calibration = read_json(in_outputs(folder, layout.CALIBRATION))
    predictions, curves, cells, notes = None, {}, None, list[str]()
    if calibration.get(_CURVES):
        curves["validation cells"] = calibration[_CURVES]
    path = in_outputs(folder, layout.PREDICTIONS)
    if path.is_file():
        predictions = pd.read_csv(path, dtype=str, keep_default_na=False)
    test_cells = in_outputs(folder, layout.TEST_CELLS_FILE)
    if test_cells.is_file():
        cells, curves["test cells"] = _test_cells(bundle, test_cells, calibration)
    else:
        notes.append(f"There is no map of cells: {test_cells} does not exist; `dvc pull evaluate` fetches it.")
    control = _optional(in_outputs(folder, layout.CONTROL))
    results = Results(
        metrics=read_json(in_outputs(folder, layout.METRICS)),
        classes=_optional(in_outputs(folder, layout.CLASSES)),
        intervals=_optional(in_outputs(folder, layout.TEST_CELLS)).get("macro_f1_ci") or {},
        predictions=predictions,
        risk_coverage=curves,
        rejection_threshold=calibration.get("rejection_threshold"),
        control=control,
        sources={
            "metrics": f"{in_outputs(folder, layout.METRICS)}, {layout.CLASSES.name}, {layout.TEST_CELLS.name}",
            "confusion": str(path),
            "risk": f"{in_outputs(folder, layout.CALIBRATION)} (validation cells), {test_cells} (test cells)",
            "control": str(in_outputs(folder, layout.CONTROL)),
        },
    )
    return _report(bundle, name or _registered(folder, bundle), cells, results, notes)


def report_of_bundle(bundle: Bundle, name: str) -> Report:
    """Collect the report of a model alone: its metrics and regulators. A bundle holds no cells.

    Args:
        bundle: the model.
        name: for the title.
    """
    metrics = bundle.metrics
    file = str(bundle.folder / BUNDLE.metrics)
    per_class = {part: (metrics.get(part) or {}).get("per_class") or {} for part in ("test", "baseline")}
    intervals = {part: (metrics.get(part) or {}).get("macro_f1_ci") for part in ("test", "baseline")}
    curve = bundle.calibration.get(_CURVES)
    cells = str(bundle.calibration.get("cells") or "validation")
    results = Results(
        metrics=metrics,
        classes=per_class,
        intervals={part: value for part, value in intervals.items() if value},
        predictions=None,
        risk_coverage={f"{cells} cells" if cells == "validation" else cells: curve} if curve else {},
        rejection_threshold=bundle.calibration.get("rejection_threshold"),
        control=metrics.get("control") or {},
        sources={
            "metrics": file,
            "risk": str(bundle.folder / BUNDLE.calibration),
            "control": file,
        },
    )
    notes = [
        "There is no map of cells and no confusion matrix: a model keeps no cells. `sctransformer report outputs` "
        "shows the test cells of the last training, `sctransformer report FILE` the cells of an annotated file."
    ]
    return _report(bundle, name, None, results, notes)


def _report(bundle: Bundle, name: str, cells: ShownCells | None, results: Results, notes: list[str]) -> Report:
    regulators = regulators_of(bundle)
    if regulators is None:
        notes.append(
            "The model has no activities of regulators, because its genes attend to regulators; train one with "
            "model.direction targets to see them here."
        )
    return Report(name, list(_facts(bundle)), cells, regulators, results, notes)


def _registered(folder: Path, bundle: Bundle) -> str:
    """The version that the bundle was registered as; its training run if it was not."""
    content = _optional(in_outputs(folder, layout.REGISTRATION))
    if content.get("identity") == bundle.identity and content.get("name"):
        return f"{content['name']}/{content.get('version')}"
    run_id = bundle.lineage.get("run_id")
    return f"training run {str(run_id)[:8]}" if run_id else str(folder)


def _facts(bundle: Bundle) -> list[tuple[str, str]]:
    lineage, config = bundle.lineage, bundle.config
    params = lineage.get("params") or {}
    commit = (lineage.get("git") or {}).get("commit")
    found = [
        ("cell types", f"{len(bundle.labels):,}"),
        ("genes", f"{config['n_genes']:,}"),
        ("regulators", f"{len(bundle.regulators):,}" if bundle.regulators is not None else ""),
        ("edges", f"{len(bundle.prior):,}"),
        ("data", str((params.get("data") or {}).get("name") or "")),
        ("network", str((params.get("prior") or {}).get("network") or "")),
        ("training run", str(lineage.get("run_id") or "")),
        ("commit", str(commit or "")[:12]),
        ("made", f"{str(lineage.get('when') or '')[:16]} by {lineage.get('who') or 'a person not recorded'}"),
        ("identity", bundle.identity[:12]),
    ]
    return [(title, value) for title, value in found if value]


def _test_cells(
    bundle: Bundle, path: Path, calibration: Mapping[str, Any]
) -> tuple[ShownCells, list[dict[str, float]]]:
    """The test cells, labelled by the evaluated model, and its risk-coverage curve on them.

    The exported model may have seen the test cells: its labels may be fitted on all labelled cells.
    """
    with open_cells(path, bundle.vocabulary) as file:
        read = check_cells(file, bundle.vocabulary)
        session = ScoringSession(bundle, evaluated=True)
        regulators = regulators_for(bundle, read, GraphSettings(regulators="all"))
        labeller = Labeller(session, bundle.vocabulary, read.match, regulators=regulators)
        labels = label_all(read, labeller, session.batch_cells(None))
        obs = file.obs.copy()
    limits = limits_for(calibration, 1.0)
    calls = labels.calls(limits)
    columns = label_columns(calls, bundle.labels) | regulator_columns(regulators, labels.top_N3(calls.label_N))
    obs = obs.drop(columns=[name for name in columns if name in obs]).assign(**columns)
    if OBS.cell_type not in obs:
        raise UserError(f"{path}: obs has no column {OBS.cell_type!r}; evaluate the model again.")
    rows_N = sampled_rows(len(obs), MOST_CELLS)
    record = {"threshold": limits.confidence, "novelty_threshold": limits.novelty}
    positions = positions_of(labels.embedding_NE[rows_N], "the cell embedding")
    true_N = bundle.labels["name"].tolist()
    truth = pd.Categorical(obs[OBS.cell_type].astype(str), categories=true_N).codes
    activity_NR = labels.activity_NR[rows_N] if labels.activity_NR.shape[1] else None
    source = f"{path}, scored with {bundle.evaluated_graph_path}"
    cells = shown_cells(obs, rows_N, record, positions, activity_NR, source)
    return cells, risk_coverage(labels.probabilities_NC, truth)


def _optional(path: Path) -> dict[str, Any]:
    content = read_json(path) if path.is_file() else {}
    return content if isinstance(content, dict) else {}
