"""The same training with a shuffled network in the real one's place: what the gate `shuffled_network` asks for."""

from typing import Any

import pandas as pd

from sctransformer import layout
from sctransformer.data.cells import read_cells
from sctransformer.data.prepared import class_names, select_split
from sctransformer.evaluation.paired import NEGLIGIBLE, compare, disagreement
from sctransformer.evaluation.scoring import score_cells
from sctransformer.files import read_json, write_json
from sctransformer.model import ModelConfig, PriorBiasedTransformer
from sctransformer.params import Params, load_params
from sctransformer.pipeline.stage import run_stage
from sctransformer.pipeline.training_task import training_task
from sctransformer.prior.controls import changed_share, shuffled
from sctransformer.prior.network import Network
from sctransformer.training.build import build_model, network_prior
from sctransformer.training.loop import fit


def shuffled_model(config: ModelConfig, seed: int) -> tuple[PriorBiasedTransformer, float]:
    """The model with fresh weights over a shuffled network, and the share of its edges that the real one lacks."""
    panel = pd.read_parquet(layout.PANEL)
    genes = panel["gene"].tolist()
    network = Network(pd.read_parquet(layout.EDGES))
    control = shuffled(network, genes, seed)
    model = build_model(config, network_prior(config, control, genes), seed, panel)
    return model, changed_share(network, control)


def figures_of_control(params: Params, config: ModelConfig) -> dict[str, Any]:
    """Train and measure the control; macro-F1 on the test cells, and the real model's lead over it."""
    task = training_task(params)
    model, changed = shuffled_model(config, params.seed)
    cells = task.load_cells(task.files)
    fit(
        model,
        cells.training,
        cells.validation,
        task.config,
        on_epoch=lambda report, state: None,
        unlabelled=cells.unlabelled,
        execution=task.execution,
    )
    prepared = read_cells(layout.PREPARED_CELLS)
    names, test = class_names(prepared), select_split(prepared, "test")
    logits_NC, _ = score_cells(model, test)
    ours = pd.read_csv(layout.PREDICTIONS, dtype=str, keep_default_na=False)
    control_N = [names[index] for index in logits_NC.argmax(axis=1)]
    ours_N = ours["predicted"].tolist()
    paired = compare(ours["cell_type"].tolist(), ours_N, control_N, params.seed)
    return {
        "kind": "shuffled",
        "changed_edges_share": changed,
        "macro_f1": paired.other,
        "difference": paired.difference,
        "difference_ci": [paired.low, paired.high],
        "changed_labels_share": disagreement(ours_N, control_N),
    }


def main() -> None:
    """Run the stage."""
    params = load_params()
    config = ModelConfig(**read_json(layout.MODEL_CONFIG))
    reason = None
    if not params.control.enabled:
        reason = "switched off by control.enabled"
    elif not config.uses_edges:
        reason = f"mode {config.mode} uses no edges"
    elif params.prior.control != "none":
        reason = f"the model itself is a control: prior.control is {params.prior.control}"
    if reason:
        write_json(layout.CONTROL, {"kind": None, "reason": reason})
        print(f"no control was trained: {reason}")
        return
    figures = figures_of_control(params, config)
    write_json(layout.CONTROL, figures)
    low, high = figures["difference_ci"]
    print(
        f"shuffled network: macro-F1 {figures['macro_f1']:.3f}; the real one is {figures['difference']:+.3f} ahead "
        f"({low:+.3f} to {high:+.3f}), and {figures['changed_labels_share']:.1%} of test cells get another label"
    )
    if figures["changed_labels_share"] < NEGLIGIBLE:
        print("Note: what the layers read from the network decides nothing in this model.")


if __name__ == "__main__":
    run_stage("control", main)
