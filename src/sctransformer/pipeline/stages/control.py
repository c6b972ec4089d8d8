"""Compare the network with shuffled ones: what it explains of the cells, and the same model trained with one.

For the gates `prior_evidence` and `shuffled_network`.
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from sctransformer import layout
from sctransformer._constants import OBS
from sctransformer.data.cells import read_cells
from sctransformer.data.expression import CountedCells
from sctransformer.data.prepared import class_names, read_class_names, read_donors, select_split
from sctransformer.evaluation.paired import NEGLIGIBLE, compare, disagreement
from sctransformer.evaluation.prior_score import Scorecard, expressed_genes, score_network
from sctransformer.evaluation.scoring import score_cells
from sctransformer.files import atomic_write, read_json, write_json
from sctransformer.model import ActivityTransformer, Model, ModelConfig
from sctransformer.params import Params, load_params
from sctransformer.pipeline.stage import run_stage
from sctransformer.pipeline.training_task import training_task
from sctransformer.prior.controls import changed_share
from sctransformer.prior.network import Network
from sctransformer.training.build import build_model, control_of, network_prior
from sctransformer.training.closed_form import fit_closed_form
from sctransformer.training.trainer import Trainer


def shuffled_model(config: ModelConfig, seed: int) -> tuple[Model, float]:
    """A model with fresh weights and a shuffled network, and the share of edges that are not in the real network."""
    panel = pd.read_parquet(layout.PANEL)
    genes = panel["gene"].tolist()
    network = Network(pd.read_parquet(layout.EDGES))
    control = control_of("shuffled", network, genes, config.n_regulators, config, seed)
    model = build_model(config, network_prior(config, control, genes, config.n_regulators), seed, panel)
    return model, changed_share(network, control)


class Control(NamedTuple):
    """A model trained with a shuffled network."""

    model: Model
    changed_edges_share: float
    """Share of its edges that are not in the real network."""
    hidden_genes_r2: float | None
    """Explained variance of hidden genes in validation cells; None without training on hidden genes."""


def train_control(params: Params, config: ModelConfig) -> Control:
    """Train a model with a shuffled network, exactly as the real model was trained."""
    task = training_task(params)
    model, changed = shuffled_model(config, params.seed)
    cells = task.load_cells(task.files)
    checkpoint = Trainer(model, cells, task.config, task.execution).fit()
    if isinstance(model, ActivityTransformer):
        names, donors = read_class_names(layout.PREPARED_CELLS), read_donors(layout.PREPARED_CELLS)
        fit_closed_form(model, cells, names, params.labels, params.seed, donors)
    return Control(model, changed, best_r2(pd.DataFrame(checkpoint.history)))


def best_r2(history: pd.DataFrame) -> float | None:
    """Explained variance of hidden genes in the epoch with the smallest error; None without training on them."""
    rows = history[history["phase"] == "pretraining"]
    return None if rows.empty else float(rows.sort_values("val_loss").iloc[0]["val_r2"])


def compare_with_control(control: Model, cells: AnnData, predictions: pd.DataFrame, seed: int) -> dict[str, Any]:
    """Compare the real model with the control on the test cells.

    Args:
        control: the trained control.
        cells: prepared cells.
        predictions: predictions of the real model, one row per test cell.
        seed: seed of the bootstrap.

    Returns:
        macro_f1 of the control; difference (real model minus control) with its 95 % interval; changed_labels_share,
        the share of test cells that the two models label differently.
    """
    names, test = class_names(cells), select_split(cells, "test")
    logits_NC, _ = score_cells(control, test)
    by_control = [names[index] for index in logits_NC.argmax(axis=1)]
    by_model = predictions["predicted"].tolist()
    paired = compare(predictions["cell_type"].tolist(), by_model, by_control, seed)
    return {
        "macro_f1": paired.other,
        "difference": paired.difference,
        "difference_ci": [paired.low, paired.high],
        "changed_labels_share": disagreement(by_model, by_control),
    }


EVIDENCE_CELLS = 2000
"""Largest number of training cells on which the network is scored."""


def prior_evidence(cells: AnnData, network: Network, params: Params) -> Scorecard:
    """What the network explains of the training cells, beside rewired networks; no labels are used.

    Args:
        cells: prepared cells.
        network: edges to genes of the panel.
        params: number of rewired networks, and seed.
    """
    own = cells[(cells.obs[OBS.split] == "train").to_numpy()]
    rows = np.random.default_rng(params.seed).permutation(own.n_obs)[:EVIDENCE_CELLS]
    own = own[np.sort(rows)]
    counted = CountedCells(
        sparse.csr_matrix(own.X), own.obs[OBS.library_size].to_numpy(dtype=np.float64), own.var_names.tolist(), own.obs
    )
    expression, inside = expressed_genes(counted, network, 1)
    return score_network(inside, expression, shuffles=params.control.shuffles, seed=params.seed)


def write_evidence(evidence: dict[str, float]) -> None:
    """Write the evidence of each regulator; an empty table if it was not measured."""
    table = pd.DataFrame({"regulator": list(evidence), "evidence": list(evidence.values())})
    with atomic_write(layout.REGULATOR_EVIDENCE) as temporary:
        table.to_csv(temporary, index=False)


def describe_measurement(one: dict[str, Any]) -> str:
    """A measurement of the network in a line."""
    return (
        f"{one['name']}: {one['network']:.4f} with the network, {one['shuffled_mean']:.4f} with rewired networks, "
        f"difference {one['difference']:+.4f} ({one['low']:+.4f} to {one['high']:+.4f}), {one['detail']}"
    )


def reason_without_network(params: Params, config: ModelConfig) -> str | None:
    """Why there is no network to compare; None if there is one."""
    if not config.uses_edges:
        return f"mode {config.mode} uses no edges"
    if params.prior.control != "none":
        return f"the model itself is a control: prior.control is {params.prior.control}"
    return None


def reason_to_skip(params: Params, config: ModelConfig) -> str | None:
    """Why no control is trained; None if one is."""
    return reason_without_network(params, config) if params.control.enabled else "control.enabled is false"


def main() -> None:
    """Run the stage."""
    params = load_params()
    config, cells = ModelConfig(**read_json(layout.MODEL_CONFIG)), read_cells(layout.PREPARED_CELLS)
    evidence: dict[str, Any] = {}
    regulators: dict[str, float] = {}
    if reason_without_network(params, config) is None:
        card = prior_evidence(cells, Network(pd.read_parquet(layout.EDGES)), params)
        evidence["evidence"], regulators = [one.summary() for one in card.measurements], card.evidence
        for one in evidence["evidence"]:
            print(describe_measurement(one))
    write_evidence(regulators)
    if reason := reason_to_skip(params, config):
        write_json(layout.CONTROL, {"kind": None, "reason": reason, **evidence})
        print(f"no control was trained: {reason}")
        return
    print("Training the same model with a shuffled network (control.enabled: false leaves this out).", flush=True)
    control = train_control(params, config)
    predictions = pd.read_csv(layout.PREDICTIONS, dtype=str, keep_default_na=False)
    comparison = compare_with_control(control.model, cells, predictions, params.seed)
    hidden_genes = {"network": best_r2(pd.read_csv(layout.HISTORY)), "shuffled": control.hidden_genes_r2}
    write_json(
        layout.CONTROL,
        {
            "kind": "shuffled",
            "changed_edges_share": control.changed_edges_share,
            **comparison,
            **evidence,
            **({} if None in hidden_genes.values() else {"hidden_genes_r2": hidden_genes}),
        },
    )
    low, high = comparison["difference_ci"]
    print(
        f"macro-F1 with a shuffled network: {comparison['macro_f1']:.3f}; with the real network "
        f"{comparison['difference']:+.3f} ({low:+.3f} to {high:+.3f}); the two models label "
        f"{comparison['changed_labels_share']:.1%} of the test cells differently"
    )
    if None not in hidden_genes.values():
        print(
            f"explained variance of hidden genes: {hidden_genes['network']:.4f} with the network, "
            f"{hidden_genes['shuffled']:.4f} with the shuffled one"
        )
    if comparison["changed_labels_share"] < NEGLIGIBLE and not config.by_edge:
        print("Note: the network has almost no effect on the labels of this model.")


if __name__ == "__main__":
    run_stage("control", main)
