"""Calibrate on validation cells, measure on test cells beside logistic regression, draw pictures."""

import pandas as pd
from anndata import AnnData

from sctransformer._constants import OBS
from sctransformer.data.cells import CellFile, read_cells
from sctransformer.data.h5ad_writer import growing_cells
from sctransformer.data.prepared import labels_of, split_arrays
from sctransformer.evaluation import calibration, figures
from sctransformer.evaluation.baselines import logistic_regression
from sctransformer.evaluation.donors import by_donor, with_recall_intervals
from sctransformer.evaluation.metrics import classification_metrics
from sctransformer.evaluation.paired import compare
from sctransformer.evaluation.scoring import score_cells
from sctransformer.files import atomic_write, read_json, sha256_json, write_json
from sctransformer.params import load_params
from sctransformer.pipeline import layout
from sctransformer.pipeline.artefacts import trained_model
from sctransformer.pipeline.stage import run_stage
from sctransformer.tracking import outbox


def donors_of(cells: AnnData) -> list[str] | None:
    """Donor of each test cell; None where donors are not known."""
    if OBS.donor not in cells.obs:
        return None
    return cells.obs.loc[(cells.obs[OBS.split] == "test").to_numpy(), OBS.donor].astype(str).tolist()


def write_test_cells(names: list[str]) -> None:
    """The test cells over all genes of the file, so that models with other panels can be compared on them."""
    with CellFile(layout.CELLS) as file, growing_cells(layout.TEST_CELLS_FILE, file.genes.tolist()) as target:
        is_test_N = file.obs.index.isin(names)
        for start, chunk in file.chunks():
            target.append(chunk[is_test_N[start : start + chunk.shape[0]]])
        target.finish(file.obs[is_test_N])


def main() -> None:
    """Run the stage."""
    params = load_params()
    cells = read_cells(layout.PREPARED_CELLS)
    names = labels_of(cells)
    training, validation, test = (split_arrays(cells, split) for split in ("train", "validation", "test"))
    model = trained_model()

    logits_NC, _ = score_cells(model, validation)
    temperature = calibration.fit_temperature(logits_NC, validation.labels_N)
    accepted_error, withheld = params.evaluate.rejection_error, params.evaluate.withheld_share
    judged_NC = calibration.probabilities(logits_NC, temperature)
    threshold = calibration.rejection_threshold(judged_NC, validation.labels_N, accepted_error, withheld)
    curves = {"validation cells": calibration.risk_coverage(judged_NC, validation.labels_N)}
    write_json(
        layout.CALIBRATION,
        {
            "temperature": temperature,
            "rejection_threshold": threshold,
            "rejection_error": accepted_error,
            "withheld_share": withheld,
            "rejected_share": float((judged_NC.max(axis=1) < threshold).mean()),
            "risk_coverage": curves["validation cells"],
        },
    )

    logits_NC, embedding_NE = score_cells(model, test)
    probabilities_NC = calibration.probabilities(logits_NC, temperature)
    predicted_N = probabilities_NC.argmax(axis=1)
    ours = classification_metrics(test.labels_N, predicted_N, names, params.seed)
    baseline_N, chosen = logistic_regression(training, test, params.evaluate.baseline_folds, params.seed)
    theirs = classification_metrics(test.labels_N, baseline_N, names, params.seed)
    ours["calibration_error"] = calibration.expected_calibration_error(probabilities_NC, test.labels_N)
    ours["rejected_share"] = float((probabilities_NC.max(axis=1) < threshold).mean())

    test_cells = cells.obs_names[(cells.obs["split"] == "test").to_numpy()]
    truth = [names[label] for label in test.labels_N]
    per_class = with_recall_intervals(ours.pop("per_class"))
    donors = donors_of(cells)
    write_json(
        layout.CLASSES,
        {
            "test": per_class,
            "baseline": theirs.pop("per_class"),
            "by_donor": {} if donors is None else by_donor(test.labels_N, predicted_N, donors),
        },
    )
    write_test_cells(test_cells.tolist())
    low_high = {"test": ours.pop("macro_f1_ci"), "baseline": theirs.pop("macro_f1_ci")}
    write_json(
        layout.TEST_CELLS,
        {
            "test_cells_sha256": sha256_json([list(pair) for pair in zip(test_cells, truth, strict=True)]),
            "macro_f1_ci": low_high,
        },
    )
    said, baseline_said = ([names[label] for label in labels_N] for labels_N in (predicted_N, baseline_N))
    paired = compare(truth, said, baseline_said, params.seed, donors)
    versus = {"difference": paired.difference, "low": paired.low, "high": paired.high, "drawn_again": paired.unit}
    write_json(layout.METRICS, {"test": ours, "baseline": theirs | chosen, "versus_baseline": versus})
    with atomic_write(layout.PREDICTIONS) as temporary:
        table = pd.DataFrame({"cell": test_cells, "cell_type": truth, "predicted": said})
        table.to_csv(temporary, index=False)
    curves["test cells"] = calibration.risk_coverage(probabilities_NC, test.labels_N)
    figures.risk_coverage(curves, threshold, layout.RISK_COVERAGE_PICTURE)
    figures.confusion_matrix(test.labels_N, predicted_N, names, layout.CONFUSION_PICTURE)
    figures.embedding_umap(embedding_NE, truth, params.seed, layout.UMAP_PICTURE)

    run_id = read_json(layout.LINEAGE)["run_id"]
    outbox.log_metrics(run_id, {f"test_{name}": value for name, value in ours.items()})
    outbox.log_metrics(run_id, {f"baseline_{name}": theirs[name] for name in ("accuracy", "macro_f1")})
    for path in (layout.CONFUSION_PICTURE, layout.UMAP_PICTURE, layout.RISK_COVERAGE_PICTURE, layout.CLASSES):
        outbox.log_artifact(run_id, path)
    if ours["predicted_classes"] < len(names):
        print(f"Warning: only {ours['predicted_classes']} of {len(names)} cell types are ever predicted on test cells.")
    for label, figure in (("model", ours), ("logistic regression", theirs)):
        print(
            f"{label}: macro-F1 {figure['macro_f1']:.3f}, accuracy {figure['accuracy']:.3f} on {len(test)} test cells"
        )


if __name__ == "__main__":
    run_stage("evaluate", main)
