"""Export the calibrated model as a bundle: ONNX graph, weights, vocabulary, prior, labels, lineage, card."""

import functools
from typing import Any

import pandas as pd
from anndata import AnnData
from safetensors.torch import save_file

from sctransformer import layout
from sctransformer._constants import BUNDLE, OBS, SPLITS
from sctransformer.data.arrays import CellArrays
from sctransformer.data.catalogue import read_catalogue
from sctransformer.data.cells import read_cells
from sctransformer.data.prepared import (
    class_names,
    donor_names,
    fits_in_memory,
    labelled_cells,
    ontology_ids,
    read_class_names,
    read_donors,
    select_split,
)
from sctransformer.evaluation.calibration import probabilities
from sctransformer.evaluation.novelty import Novelty, load_novelty, novelty_of
from sctransformer.evaluation.reference import reference_profile, reference_statistics
from sctransformer.evaluation.regulators import regulator_table, top_regulators, type_statistics
from sctransformer.evaluation.scoring import score_cells
from sctransformer.export.bundle import BundleContents, label_table, read_bundle, write_bundle
from sctransformer.export.graph import OnnxExport, ScoringGraph, export_onnx
from sctransformer.export.parity import measure_parity, measure_speed
from sctransformer.export.variants import make_variants
from sctransformer.files import read_json
from sctransformer.model import ActivityTransformer, Model
from sctransformer.params import Params, load_params
from sctransformer.pipeline.refit import Refit, refit_labels
from sctransformer.pipeline.stage import run_stage
from sctransformer.progress import cells_bar
from sctransformer.registry.card import card_page, described, render_card
from sctransformer.reports.card_plots import card_plots
from sctransformer.tracking.location import redact_credentials
from sctransformer.training.build import load_trained_model


def main() -> None:
    """Run the stage."""
    params = load_params()
    evaluated = load_trained_model(layout.MODEL_CONFIG, layout.BIAS, layout.WEIGHTS)
    refit = None
    if params.export.refit and isinstance(evaluated, ActivityTransformer):
        refit = refit_on_all_cells(params, evaluated)
    write_bundle(layout.BUNDLE_FOLDER, bundle_contents(params, read_cells(layout.PREPARED_CELLS), evaluated, refit))
    print_parity(read_bundle(layout.BUNDLE_FOLDER).parity)


def refit_on_all_cells(params: Params, evaluated: ActivityTransformer) -> Refit:
    """Fit the labels of the evaluated model again on all labelled cells of the prepared file."""
    path, summary = layout.PREPARED_CELLS, read_json(layout.PANEL_SUMMARY)
    cells = labelled_cells(path, fits_in_memory(sum(summary["cells"].values()), summary["genes"]))
    with cells_bar("Fitting labels on all labelled cells") as on_progress:
        refit = refit_labels(evaluated, cells, read_class_names(path), params, read_donors(path, SPLITS), on_progress)
    print(
        f"labels fitted again on all {refit.summary['cells']} labelled cells; in cross-validation over them: macro-F1 "
        f"{refit.summary['macro_f1']:.3f}, accuracy {refit.summary['accuracy']:.3f}"
    )
    return refit


def bundle_contents(params: Params, cells: AnnData, evaluated: Model, refit: Refit | None = None) -> BundleContents:
    """Collect the contents of the bundle from the model and from the files of the stages before.

    Args:
        params: all parameters.
        cells: the prepared cells.
        evaluated: the trained model, of which the metrics are.
        refit: the model that is exported in its place, with labels of all labelled cells.
    """
    model = evaluated if refit is None else refit.model
    training, validation = (select_split(cells, split) for split in ("train", "validation"))
    training_cells = cells[(cells.obs[OBS.split] == "train").to_numpy()]
    calibration, lineage = read_json(layout.CALIBRATION), read_json(layout.LINEAGE)
    evaluated_temperature = calibration["temperature"]
    validation_NC = probabilities(score_cells(evaluated, validation)[0], evaluated_temperature)
    confidence_N = validation_NC.max(axis=1)
    labels, prior = label_table(class_names(cells), ontology_ids(cells.obs)), pd.read_parquet(layout.EDGES)
    metrics, config = collect_metrics(evaluated), model.config.to_dict()
    regulators = None
    if isinstance(model, ActivityTransformer):
        names = labels["name"].tolist()
        by_type = type_statistics(model, training, names, donor_names(training_cells.obs))
        regulators = regulator_table(model, training).join(by_type)
        evidence = pd.read_csv(layout.REGULATOR_EVIDENCE, index_col="regulator")["evidence"]
        if len(evidence):
            regulators["evidence"] = regulators["regulator"].map(evidence)
        metrics |= regulator_metrics(model, regulators, training, names)
    if refit is not None:
        calibration |= refit.calibration
        metrics |= {"labels": refit.labels, "refit": refit.summary}
        splits_N = cells.obs[OBS.split].astype(str)
        confidence_N = refit.confidence_N[(splits_N[splits_N.isin(SPLITS)] == "validation").to_numpy()]
    card = render_card(
        layout.CARD_TEMPLATE,
        name=params.registration.name,
        config=config,
        labels=labels,
        metrics=metrics,
        calibration=calibration,
        lineage=lineage,
        prior_edges=len(prior),
        training_cells=len(training),
        dataset=catalogue_entry(params),
        described=described(training_cells.obs),
    )
    novelty = load_novelty(layout.NOVELTY)
    is_novel_N = novelty_of(novelty, validation, validation_NC) > Novelty(novelty, calibration["novelty"]).threshold
    graph = ScoringGraph(model, calibration["temperature"], novelty)
    exported = OnnxExport(graph, params.export.opset)
    return BundleContents(
        config=config,
        vocabulary=pd.read_parquet(layout.PANEL),
        prior=prior,
        labels=labels,
        calibration=calibration,
        reference={
            **reference_statistics(training, training_cells),
            "profile": reference_profile(
                training,
                score_cells(model, training)[1],
                labels["name"].tolist(),
                confidence_N,
                calibration["rejection_threshold"],
                is_novel_N,
                donor_names(training_cells.obs),
            ),
        },
        metrics=metrics,
        lineage=lineage,
        card=card,
        page=card_page(card, params.registration.name, card_plots(labels["name"].tolist(), regulators)),
        dvc_lock=layout.TRAINING_LOCK if lineage["dvc_lock_sha256"] else None,
        write_weights=lambda path: save_file(model.state_dict(), path),
        write_graph=exported.write,
        write_edges_graph=functools.partial(exported.write, along_edges=True) if regulators is not None else None,
        write_evaluated_graph=(
            None
            if refit is None
            else functools.partial(
                export_onnx,
                ScoringGraph(evaluated, evaluated_temperature, novelty),
                opset=params.export.opset,
                along_edges=True,
            )
        ),
        regulators=regulators,
        measure_parity=lambda path: {
            **measure_parity(graph, path, validation, params.export.parity_tolerance),
            "speed": measure_speed(path, validation),
        },
        write_variants=lambda folder: make_variants(
            () if model.config.by_edge else params.export.variants, folder, BUNDLE.graph, model.config, validation
        ),
    )


def collect_metrics(model: Model) -> dict[str, Any]:
    """The metrics of evaluation, control and network coverage, as the bundle stores them."""
    metrics, classes, test_cells = (read_json(path) for path in (layout.METRICS, layout.CLASSES, layout.TEST_CELLS))
    for part in ("test", "baseline"):
        metrics[part] |= {"per_class": classes[part], "macro_f1_ci": test_cells["macro_f1_ci"][part]}
    metrics["test"]["by_donor"] = classes["by_donor"]
    if model.scales_LH is not None:
        metrics["prior_scales"] = model.scales_LH.tolist()
    return metrics | {
        "test_cells_sha256": test_cells["test_cells_sha256"],
        "coverage": read_json(layout.COVERAGE),
        "control": read_json(layout.CONTROL),
    }


def regulator_metrics(
    model: ActivityTransformer, regulators: pd.DataFrame, training: CellArrays, names: list[str]
) -> dict[str, Any]:
    """How well regulators kept their meaning, which are active in which type, and how the labels were chosen."""
    agreement = regulators["agreement"].dropna()
    summary = {"agreement": float(agreement.median()), "lowest": float(agreement.min())} if len(agreement) else {}
    return {
        "regulators": summary,
        "regulators_by_type": top_regulators(model, training, names, regulators.get("evidence")),
        "labels": read_json(layout.LABEL_REPORT),
    }


def catalogue_entry(params: Params) -> dict[str, str | None]:
    """Source and licence of the cells according to the catalogue; empty if they are not in it."""
    entry = read_catalogue().get(params.data.name)
    if entry is None or entry.cells != params.data.cells.as_posix():
        return {}
    fields = entry.model_dump(include={"url", "citation", "license", "description", "organism"})
    return fields | {"url": redact_credentials(entry.url) if entry.url else None}


def print_parity(parity: dict[str, Any]) -> None:
    """Print how well the graph and its variants agree with torch."""
    print(
        f"{layout.BUNDLE_FOLDER}: onnxruntime and torch agree on {parity['labels_equal']} of {parity['cells']} labels, "
        f"probabilities within {parity['max_probability_difference']:.1e}"
    )
    if along_edges := parity.get("edges"):
        print(
            f"graph along the edges: the same labels in {along_edges['labels_equal']} of {along_edges['cells']} cells, "
            f"activities within {along_edges['max_activity_difference']:.1e}; "
            f"{along_edges['speed']['cells_per_second']:,.0f} cells/s, with the attention operator "
            f"{parity['speed']['cells_per_second']:,.0f}"
        )
    for kind, result in parity.get("variants", {}).items():
        print(f"{kind}: {describe_variant(result)}")


def describe_variant(result: dict[str, Any]) -> str:
    """Summarise the parity of a variant in a phrase."""
    if "error" in result:
        return f"left out, onnxruntime cannot run it ({result['error']})"
    difference = f"probabilities within {result['max_probability_difference']:.1e}"
    outcome = "" if result["passed"] else "; left out, because this exceeds its tolerance"
    return f"{result['labels_equal']:.2%} equal labels, {difference}{outcome}"


if __name__ == "__main__":
    run_stage("export", main)
