"""Export the calibrated model as a bundle: ONNX graph, weights, vocabulary, prior, labels, lineage, card."""

from typing import Any

import pandas as pd

from sctransformer import layout
from sctransformer._constants import BUNDLE, OBS
from sctransformer.data.catalogue import read_catalogue
from sctransformer.data.cells import read_cells
from sctransformer.data.prepared import labels_of, ontology_of, split_arrays
from sctransformer.evaluation.calibration import probabilities
from sctransformer.evaluation.reference import reference_profile, reference_statistics
from sctransformer.evaluation.scoring import score_cells
from sctransformer.export.bundle import label_table, read_bundle, write_bundle
from sctransformer.export.graph import ScoringGraph, export_onnx
from sctransformer.export.parity import measure_parity, measure_speed
from sctransformer.export.variants import kept_variants
from sctransformer.files import read_json
from sctransformer.params import Params, load_params
from sctransformer.pipeline.artefacts import trained_model
from sctransformer.pipeline.stage import run_stage
from sctransformer.registry.card import card_page, described, render_card
from sctransformer.tracking.store import redact_credentials


def main() -> None:
    """Run the stage."""
    params = load_params()
    cells = read_cells(layout.PREPARED_CELLS)
    training, validation = (split_arrays(cells, split) for split in ("train", "validation"))
    model = trained_model()
    calibration = read_json(layout.CALIBRATION)
    graph = ScoringGraph(model, calibration["temperature"])
    metrics = collected_metrics()
    if model.scales_LH is not None:
        metrics["prior_scales"] = model.scales_LH.tolist()
    lineage = read_json(layout.LINEAGE)
    metrics["control"] = read_json(layout.CONTROL)
    labels = label_table(labels_of(cells), ontology_of(cells))
    prior = pd.read_parquet(layout.EDGES)
    card = render_card(
        layout.CARD_TEMPLATE,
        name=params.registration.name,
        config=model.config.to_dict(),
        labels=labels,
        metrics=metrics,
        calibration=calibration,
        lineage=lineage,
        prior_edges=len(prior),
        training_cells=len(training),
        dataset=of_catalogue(params),
        described=described(cells[(cells.obs[OBS.split] == "train").to_numpy()].obs),
    )
    reference = reference_statistics(training, cells[cells.obs[OBS.split] == "train"])
    confidence_N = probabilities(score_cells(model, validation)[0], calibration["temperature"]).max(axis=1)
    reference["profile"] = reference_profile(
        training,
        score_cells(model, training)[1],
        labels_of(cells),
        confidence_N,
        calibration["rejection_threshold"],
    )
    write_bundle(
        layout.BUNDLE_FOLDER,
        config=model.config.to_dict(),
        vocabulary=pd.read_parquet(layout.PANEL),
        prior=prior,
        labels=labels,
        calibration=calibration,
        reference=reference,
        metrics=metrics,
        lineage=lineage,
        card=card,
        page=card_page(card, params.registration.name),
        dvc_lock=layout.LOCK_OF_TRAINING if lineage["dvc_lock_sha256"] else None,
        weights=layout.WEIGHTS,
        write_graph=lambda path: export_onnx(graph, path, params.export.opset),
        measure_parity=lambda path: {
            **measure_parity(graph, path, validation, params.export.parity_tolerance),
            "speed": measure_speed(path, validation),
        },
        write_variants=lambda folder: kept_variants(
            params.export.variants, folder, BUNDLE.graph, model.config, validation
        ),
    )
    parity = read_bundle(layout.BUNDLE_FOLDER).parity
    print(
        f"{layout.BUNDLE_FOLDER}: onnxruntime and torch agree on {parity['labels_equal']} of {parity['cells']} labels, "
        f"probabilities within {parity['max_probability_difference']:.1e}"
    )
    for kind, said in parity.get("variants", {}).items():
        print(f"{kind}: {describe(said)}")


def of_catalogue(params: Params) -> dict[str, str | None]:
    """What the catalogue says of the cells; nothing where it has no entry for them."""
    entry = read_catalogue().get(params.data.name)
    if entry is None or entry.cells != params.data.cells.as_posix():
        return {}
    said = entry.model_dump(include={"url", "citation", "license", "description", "organism"})
    return said | {"url": redact_credentials(entry.url) if entry.url else None}


def describe(said: dict[str, Any]) -> str:
    """What a variant's parity is, in a phrase."""
    if "error" in said:
        return f"left out, onnxruntime cannot run it ({said['error']})"
    found = f"{said['labels_equal']:.2%} equal labels, probabilities within {said['max_probability_difference']:.1e}"
    return f"{found}{'' if said['passed'] else ', which is too far: left out'}"


def collected_metrics() -> dict[str, object]:
    """Figures of evaluation and coverage as the bundle keeps them."""
    metrics, classes, cells = (read_json(path) for path in (layout.METRICS, layout.CLASSES, layout.TEST_CELLS))
    for part in ("test", "baseline"):
        metrics[part] |= {"per_class": classes[part], "macro_f1_ci": cells["macro_f1_ci"][part]}
    metrics["test"]["by_donor"] = classes["by_donor"]
    return metrics | {"test_cells_sha256": cells["test_cells_sha256"], "coverage": read_json(layout.COVERAGE)}


if __name__ == "__main__":
    run_stage("export", main)
