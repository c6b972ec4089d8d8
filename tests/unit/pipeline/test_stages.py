"""The functions of the stages that neither read nor write files."""

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData
from scipy import sparse

from sctransformer._constants import OBS
from sctransformer.errors import UserError
from sctransformer.params import Params
from sctransformer.pipeline.stages.control import compare_with_control, prior_evidence, reason_to_skip
from sctransformer.pipeline.stages.export import describe_variant
from sctransformer.pipeline.stages.prepare import summarise
from sctransformer.pipeline.stages.prior import panel_prior
from sctransformer.prior.network import Network
from tests.conftest import EDGES, GENES, opened, simulated_cells, small_model
from tests.regulated_cells import regulated_cells

PANEL = pd.DataFrame({"gene": GENES, "is_regulator": [index < 4 for index in range(24)]})
PARAMS = Params.model_validate({"model": {"direction": "regulators", "heads": 2, "width": 8}})


def network(edges: list[tuple[str, str]]) -> Network:
    return Network(pd.DataFrame(edges, columns=["regulator", "target"]).assign(sign=1, confidence=1.0))


def test_the_prior_of_a_panel_keeps_the_edges_in_the_panel() -> None:
    prior = panel_prior(network([*EDGES, ("GENE0", "OTHER")]), PANEL, PARAMS)
    assert len(prior.network) == len(EDGES)
    assert prior.coverage["edges"] == len(EDGES) + 1
    assert isinstance(prior.prior, torch.Tensor)
    assert prior.prior.shape[-2:] == (24, 5)


@pytest.mark.parametrize(
    ("edges", "panel", "message"),
    [
        (EDGES, PANEL.assign(is_regulator=False), "has no regulator"),
        ([("A", "B")], PANEL, "none of its 1 edges has both ends among the 24 genes"),
        (
            [*EDGES[:1], *(("GENE0", f"OTHER{index}") for index in range(40))],
            PANEL,
            "1 of 24 genes of the panel have a regulator, and 1 of 41 edges are in the panel, a share of 0.042",
        ),
    ],
)
def test_a_panel_without_a_usable_prior_is_refused(
    edges: list[tuple[str, str]], panel: pd.DataFrame, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        panel_prior(network(edges), panel, PARAMS)


def test_a_small_network_fits_a_large_panel() -> None:
    """As the built-in network does the 10,000 genes of most files."""
    genes = [*GENES, *(f"MORE{index}" for index in range(2000))]
    panel = pd.DataFrame({"gene": genes, "is_regulator": [index < 4 for index in range(len(genes))]})
    params = Params.model_validate({"prior": {"min_targets": 1}})
    prior = panel_prior(network(EDGES), panel, params)
    assert prior.coverage["genes_with_regulator_share"] < params.prior.min_coverage
    assert prior.coverage["used_share"] == 1.0


def test_no_control_is_trained_without_edges_or_for_a_control() -> None:
    config = small_model().config
    assert reason_to_skip(PARAMS, config) is None
    off = Params.model_validate({"control": {"enabled": False}})
    assert reason_to_skip(off, config) == "control.enabled is false"
    shuffled = Params.model_validate({"prior": {"control": "shuffled"}})
    assert reason_to_skip(shuffled, config) == "the model itself is a control: prior.control is shuffled"


def test_the_network_is_measured_on_training_cells_alone() -> None:
    """Whatever the other cells are."""
    regulated = regulated_cells()
    obs = pd.DataFrame({OBS.library_size: regulated.cells.library_size_N.astype(float)})
    obs.index = [f"cell{index}" for index in range(200)]
    obs[OBS.split] = pd.Categorical(["train"] * 150 + ["test"] * 50)
    counts_NG = sparse.csr_matrix(regulated.cells.counts_NG)
    params = Params.model_validate({"control": {"shuffles": 5}})
    first = prior_evidence(AnnData(counts_NG, obs, pd.DataFrame(index=regulated.genes)), regulated.network, params)
    assert [one.name for one in first.measurements] == ["hidden genes"]
    assert first.measurements[0].passed
    assert "shuffled" not in first.measurements[0].summary()
    assert sorted(first.evidence) == regulated.network.regulators
    others = sparse.vstack([counts_NG[:150], counts_NG[150:] * 7]).tocsr()
    again = prior_evidence(AnnData(others, obs, pd.DataFrame(index=regulated.genes)), regulated.network, params)
    assert again == first


def test_the_control_is_compared_on_the_test_cells() -> None:
    model, cells = opened(small_model()), simulated_cells(60)
    cells.obs[OBS.split] = pd.Categorical(["test"] * 60)
    truth = cells.obs[OBS.cell_type].astype(str).tolist()
    comparison = compare_with_control(model, cells, pd.DataFrame({"cell_type": truth, "predicted": truth}), seed=0)
    assert comparison["difference"] == pytest.approx(1 - comparison["macro_f1"])
    assert comparison["changed_labels_share"] > 0


def test_a_variant_is_described_in_a_phrase() -> None:
    result = {"labels_equal": 0.995, "max_probability_difference": 0.01, "passed": True}
    assert describe_variant(result) == "99.50% equal labels, probabilities within 1.0e-02"
    assert describe_variant(result | {"passed": False}).endswith("left out, because this exceeds its tolerance")
    assert describe_variant({"error": "no kernel"}) == "left out, onnxruntime cannot run it (no kernel)"


def test_the_summary_of_prepared_cells_counts_genes_and_cells() -> None:
    panel = PANEL.assign(criterion=np.where(PANEL["is_regulator"], "regulator", "variable"))
    split = pd.Categorical(["train", "train", "test"], categories=["train", "validation", "test"])
    assert summarise(panel, split, "label") == {
        "genes": 24,
        "regulators": 4,
        "genes_by_criterion": {"regulator": 4, "variable": 20},
        "cells": {"test": 1, "train": 2},
        "split": "label",
    }
