"""Evaluate the trained model: calibration, metrics, predictions and plots."""

from collections.abc import Sequence

from sctransformer import layout
from sctransformer.data.cells import CellFile, read_cells
from sctransformer.data.count_search import X
from sctransformer.data.h5ad_writer import open_h5ad_writer
from sctransformer.evaluation import plots
from sctransformer.evaluation.evaluate import Evaluation, evaluate
from sctransformer.evaluation.novelty import save_novelty
from sctransformer.files import atomic_write, read_json, sha256_file, write_json
from sctransformer.params import load_params
from sctransformer.pipeline.stage import run_stage
from sctransformer.tracking import outbox
from sctransformer.training.build import load_trained_model


def main() -> None:
    """Run the stage."""
    params = load_params()
    model = load_trained_model(layout.MODEL_CONFIG, layout.BIAS, layout.WEIGHTS)
    evaluation = evaluate(model, read_cells(layout.PREPARED_CELLS), params.evaluate, params.seed)
    write_results(evaluation)
    write_test_cells(evaluation.predictions["cell"].tolist())
    write_plots(evaluation, params.seed)
    log_results(evaluation, read_json(layout.LINEAGE)["run_id"])
    print_results(evaluation)


def write_results(evaluation: Evaluation) -> None:
    """Write the metrics and the predictions."""
    save_novelty(evaluation.novelty, layout.NOVELTY)
    digest = {"score_sha256": sha256_file(layout.NOVELTY)}
    write_json(layout.CALIBRATION, {**evaluation.calibration, "novelty": evaluation.calibration["novelty"] | digest})
    write_json(layout.CLASSES, evaluation.classes)
    write_json(layout.TEST_CELLS, evaluation.test_cells)
    write_json(layout.METRICS, evaluation.metrics)
    with atomic_write(layout.PREDICTIONS) as temporary:
        evaluation.predictions.to_csv(temporary, index=False)


def write_test_cells(names: Sequence[str]) -> None:
    """Write the test cells with all genes of the file, so that models with other panels can be compared on them."""
    with CellFile(layout.CELLS, X) as file, open_h5ad_writer(layout.TEST_CELLS_FILE, file.genes.tolist()) as target:
        is_test_N = file.obs.index.isin(names)
        for start, chunk in file.chunks():
            target.append(chunk[is_test_N[start : start + chunk.shape[0]]])
        target.finish(file.obs[is_test_N])


def write_plots(evaluation: Evaluation, seed: int) -> None:
    """Plot the risk-coverage curves, the confusion matrix and the embedding of the test cells."""
    threshold = evaluation.calibration["rejection_threshold"]
    plots.plot_risk_coverage(evaluation.risk_coverage, threshold, layout.RISK_COVERAGE_PLOT)
    plots.plot_confusion_matrix(
        evaluation.labels_N, evaluation.predicted_N, evaluation.class_names, layout.CONFUSION_PLOT
    )
    labels = evaluation.predictions["cell_type"].tolist()
    plots.plot_embedding(evaluation.embedding_NE, labels, seed, layout.EMBEDDING_PLOT)


def log_results(evaluation: Evaluation, run_id: str) -> None:
    """Log metrics and plots to the training run."""
    test, baseline = evaluation.metrics["test"], evaluation.metrics["baseline"]
    outbox.log_metrics(run_id, {f"test_{name}": value for name, value in test.items()})
    outbox.log_metrics(run_id, {f"baseline_{name}": baseline[name] for name in ("accuracy", "macro_f1")})
    for path in (layout.CONFUSION_PLOT, layout.EMBEDDING_PLOT, layout.RISK_COVERAGE_PLOT, layout.CLASSES):
        outbox.log_artifact(run_id, path)


def print_results(evaluation: Evaluation) -> None:
    """Print the metrics of the model and of the baseline."""
    test, n_classes = evaluation.metrics["test"], len(evaluation.class_names)
    if test["predicted_classes"] < n_classes:
        print(f"Warning: the model predicts only {test['predicted_classes']} of {n_classes} cell types on test cells.")
    for label, metrics in (("model", test), ("logistic regression", evaluation.metrics["baseline"])):
        print(
            f"{label}: macro-F1 {metrics['macro_f1']:.3f}, accuracy {metrics['accuracy']:.3f} on {test['cells']} test "
            "cells"
        )


if __name__ == "__main__":
    run_stage("evaluate", main)
