"""The model of activities: signed means at the start, hidden genes unread, order and names of genes respected."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from sctransformer.data.arrays import CellArrays
from sctransformer.model import ActivityTransformer, ModelConfig
from sctransformer.model.activity import MaskedActivityModel
from sctransformer.model.output import ModelOutput
from sctransformer.prior.controls import shuffled
from sctransformer.prior.edge_list import edge_list
from sctransformer.prior.network import Network
from tests.conftest import GENES, arrays, opened, simulated_cells
from tests.regulated_cells import (
    SIGNED_EDGES,
    RegulatedCells,
    activity_model,
    edges_of_panel,
    regulated_cells,
    small_activity_model,
)

DEPTHS = pytest.mark.parametrize("depth", [1, 2, 3])
MODES = pytest.mark.parametrize("mode", ["mask", "bias", "regulators"])


def scored(model: ActivityTransformer, cells: CellArrays, measured_G: NDArray[np.float32] | None = None) -> ModelOutput:
    """Output of a model, without gradients."""
    measured = None if measured_G is None else torch.from_numpy(measured_G)
    with torch.no_grad():
        output = model.eval()(torch.from_numpy(cells.counts_NG), torch.from_numpy(cells.library_size_N), measured)
    assert isinstance(output, ModelOutput)
    return output


def standardised(model: ActivityTransformer, cells: CellArrays) -> Tensor:
    """Standardised expression, cells x genes."""
    return model.tokens.standardised(torch.from_numpy(cells.counts_NG), torch.from_numpy(cells.library_size_N))


def with_counts(cells: CellArrays, genes: list[int], more: float) -> CellArrays:
    """The same cells with more counts of some genes."""
    counts_NG = cells.counts_NG.copy()
    counts_NG[:, genes] += more
    return CellArrays(counts_NG, cells.library_size_N, cells.labels_N)


def activity_of(output: ModelOutput) -> NDArray[np.float32]:
    assert output.activity_NR is not None
    return output.activity_NR.numpy()


@DEPTHS
def test_activity_starts_as_the_signed_mean_times_the_root_of_the_number_of_targets(depth: int) -> None:
    model, cells = small_activity_model(depth=depth), arrays(simulated_cells())
    z_NG = standardised(model, cells).numpy().astype(np.float64)
    z_NG -= z_NG.mean(axis=1, keepdims=True)
    found_NR = activity_of(scored(model, cells))
    for index, regulator in enumerate(model.edges.regulators):
        own = SIGNED_EDGES[SIGNED_EDGES["regulator"] == regulator]
        weight_J = np.where(own["sign"] < 0, -1, 1) * own["confidence"].to_numpy()
        target_NJ = z_NG[:, [GENES.index(gene) for gene in own["target"]]]
        expected_N = np.sqrt(len(own)) * (weight_J * target_NJ).mean(axis=1)
        np.testing.assert_allclose(found_NR[:, index], expected_N, rtol=1e-4, atol=1e-5)


def linear_model(simulated: RegulatedCells, z_NG: NDArray[np.float32]) -> NDArray[np.float64]:
    """t-values of the slope of expression on the weights of a regulator's edges, over all genes, cells x regulators."""
    edges = simulated.network.edges
    columns = []
    for _, own in edges.groupby("regulator"):
        weight_G = np.zeros(len(simulated.genes))
        weight_G[[simulated.genes.index(gene) for gene in own["target"]]] = own["sign"] * own["confidence"]
        r_N = np.array([np.corrcoef(weight_G, z_G)[0, 1] for z_G in z_NG])
        columns.append(r_N * np.sqrt((len(weight_G) - 2) / (1 - r_N**2)))
    return np.stack(columns, axis=1)


def correlations(first_NR: NDArray[np.floating], second_NR: NDArray[np.floating]) -> list[float]:
    """Pearson correlation of each column."""
    pairs = zip(first_NR.T, second_NR.T, strict=True)
    return [float(np.corrcoef(first_N, second_N)[0, 1]) for first_N, second_N in pairs]


def test_activity_starts_as_that_of_a_univariate_linear_model() -> None:
    """And as the activity that the cells were simulated with."""
    simulated = regulated_cells(n_cells=100, n_genes=200, n_targets=20)
    model = simulated.model()
    found_NR = activity_of(scored(model, simulated.cells))
    estimate_NR = linear_model(simulated, standardised(model, simulated.cells).numpy())
    assert min(correlations(found_NR, estimate_NR)) > 0.95
    assert min(correlations(found_NR, simulated.activity_NR)) > 0.8


@pytest.mark.slow
def test_decouplers_univariate_linear_model_gives_the_same() -> None:
    """The import of decoupler is slow."""
    import decoupler

    simulated = regulated_cells(n_cells=30, n_genes=200, n_targets=20)
    model = simulated.model()
    z_NG = standardised(model, simulated.cells).numpy()
    network = simulated.network.edges.rename(columns={"regulator": "source"})
    network["weight"] = network["sign"] * network["confidence"]
    edges = network[["source", "target", "weight"]]
    found, _ = decoupler.mt.ulm(pd.DataFrame(z_NG, columns=simulated.genes), edges, tmin=1, verbose=False)
    estimate_NR = found[model.edges.regulators].to_numpy()
    np.testing.assert_allclose(estimate_NR, linear_model(simulated, z_NG), rtol=1e-3, atol=1e-3)
    assert min(correlations(activity_of(scored(model, simulated.cells)), estimate_NR)) > 0.95


@DEPTHS
@MODES
def test_an_unmeasured_gene_has_no_influence_on_activities(depth: int, mode: str) -> None:
    model, cells = opened(small_activity_model(depth=depth, mode=mode)), arrays(simulated_cells(20))
    hidden = [2, 6, 7, 20]
    measured_G = np.ones(24, dtype=np.float32)
    measured_G[hidden] = 0.0
    before = activity_of(scored(model, cells, measured_G))
    for gene in hidden:
        after = activity_of(scored(model, with_counts(cells, [gene], 30.0), measured_G))
        assert np.array_equal(before, after), GENES[gene]
    assert not np.array_equal(before, activity_of(scored(model, with_counts(cells, [8], 30.0), measured_G)))
    assert not np.array_equal(before, activity_of(scored(model, cells)))


@DEPTHS
def test_a_gene_hidden_in_one_cell_has_no_influence_there(depth: int) -> None:
    """In training genes are hidden by cell; other cells are not changed."""
    model, cells = opened(small_activity_model(depth=depth)), arrays(simulated_cells(6))
    changed = with_counts(cells, [7], 30.0)
    shown_GN = torch.ones(24, 6)
    shown_GN[7, 2] = 0.0
    with torch.no_grad():
        before, after = (model.activity(standardised(model, one), shown_GN) for one in (cells, changed))
    same_N = (before == after).all(dim=0)
    assert same_N.tolist() == [cell == 2 for cell in range(6)]


def test_a_gene_with_a_regulator_is_predicted_without_its_own_counts() -> None:
    model, cells = small_activity_model(depth=2), arrays(simulated_cells(5))
    masked = opened(MaskedActivityModel(model, model.new_decoder()))
    hidden_NG = torch.zeros(5, 24, dtype=torch.bool)
    hidden_NG[:, [5, 9]] = True
    size_N = torch.from_numpy(cells.library_size_N)
    changed = with_counts(cells, [5, 9], 50.0)
    with torch.no_grad():
        one, other = (masked(torch.from_numpy(cells.counts_NG), size_N, hidden_NG) for cells in (cells, changed))
    assert one.shape == (5, 24)
    assert torch.equal(one, other)


@DEPTHS
def test_all_genes_measured_is_the_same_as_no_mask(depth: int) -> None:
    model, cells = opened(small_activity_model(depth=depth)), arrays(simulated_cells(9))
    plain, masked = scored(model, cells), scored(model, cells, np.ones(24, dtype=np.float32))
    for one, other in zip(plain, masked, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@DEPTHS
def test_a_regulator_without_measured_targets_has_no_activity(depth: int) -> None:
    """Its activity is NaN, not 0; labels and embedding stay finite."""
    model, cells = opened(small_activity_model(depth=depth)), arrays(simulated_cells(7))
    model.classifier.activity_weight_RC.normal_()
    index = model.edges.regulators.index("GENE1")
    measured_G = np.ones(24, dtype=np.float32)
    measured_G[model.edges.target_J[model.edges.regulator_J == index]] = 0.0
    output = scored(model, cells, measured_G)
    unknown_R = np.isnan(activity_of(output)).all(axis=0)
    assert unknown_R.tolist() == [number == index for number in range(5)]
    assert np.isnan(activity_of(output)).sum() == 7
    assert torch.isfinite(output.logits_NC).all()
    assert torch.isfinite(output.embedding_NE).all()
    nothing = scored(model, cells, np.zeros(24, dtype=np.float32))
    assert np.isnan(activity_of(nothing)).all()
    assert torch.isfinite(nothing.logits_NC).all()


@pytest.mark.parametrize("n_cells", [1, 65])
@DEPTHS
def test_each_cell_is_scored_by_itself(depth: int, n_cells: int) -> None:
    """Cells without counts and with a library size under 1 give finite outputs."""
    model, cells = opened(small_activity_model(depth=depth)), arrays(simulated_cells(n_cells))
    cells.counts_NG[0], cells.library_size_N[0] = 0.0, 0.5
    output = scored(model, cells)
    assert all(torch.isfinite(values).all() for values in output)
    order_N = np.random.default_rng(0).permutation(n_cells)
    for one, other in zip(scored(model, cells.take(order_N)), output, strict=True):
        torch.testing.assert_close(one, other[order_N], rtol=1e-5, atol=1e-5)


def test_a_regulator_does_not_attend_to_its_own_mrna() -> None:
    """GENE0 is a regulator and no target of another; in the open modes only its own activity must not read it."""
    for mode, read in (("mask", set()), ("bias", {"GENE1", "GENE2", "GENE3", "OUTSIDE"})):
        model = small_activity_model(mode=mode)
        value_GN = model.relative(standardised(model, arrays(simulated_cells(12))))
        more_GN = value_GN.clone()
        more_GN[0] += 2.0
        changed_R = (model.activities[0](value_GN) != model.activities[0](more_GN)).any(dim=1)
        assert {name for name, changed in zip(model.edges.regulators, changed_R, strict=True) if changed} == read


@DEPTHS
def test_activities_do_not_depend_on_the_mean_of_a_cell(depth: int) -> None:
    """The mean of the shown genes, whatever the hidden ones have."""
    model = opened(small_activity_model(depth=depth))
    z_NG, shown_GN = standardised(model, arrays(simulated_cells(12))), torch.ones(24, 12)
    shown_GN[[3, 8], :6] = 0.0
    higher_NG = z_NG + torch.linspace(-2, 2, 12)[:, None]
    higher_NG[:6, 3] = 100.0
    torch.testing.assert_close(
        model.activity(higher_NG, shown_GN), model.activity(z_NG, shown_GN), atol=1e-4, rtol=1e-4
    )


def test_a_gene_that_is_constant_in_the_training_cells_is_neutral() -> None:
    """It is 0 and does not count in the mean, so that its regulator's activity is not that of the mean."""
    model = small_activity_model()
    model.tokens.scale_G[5] = 0.0
    z_NG = standardised(model, arrays(simulated_cells(12)))
    value_GN = model.relative(z_NG)
    assert (value_GN[5] == 0.0).all()
    torch.testing.assert_close(value_GN.sum(dim=0), torch.zeros(12), atol=1e-4, rtol=0.0)


def test_a_shuffled_network_gives_other_activities() -> None:
    simulated = regulated_cells(n_cells=50)
    control = shuffled(simulated.network, None, seed=0)
    real, other = (activity_of(scored(simulated.model(one), simulated.cells)) for one in (None, control))
    assert real.shape == other.shape
    for index in range(real.shape[1]):
        assert abs(np.corrcoef(real[:, index], other[:, index])[0, 1]) < 0.9


def test_the_order_of_genes_and_edges_does_not_matter() -> None:
    cells, rng = arrays(simulated_cells(15)), np.random.default_rng(3)
    before = activity_of(scored(small_activity_model(), cells))
    order_G = rng.permutation(24)
    mixed = SIGNED_EDGES.sample(frac=1.0, random_state=0)
    model = activity_model(edge_list(mixed.to_dict("list"), [GENES[gene] for gene in order_G], "mask"))
    tokens = small_activity_model().tokens
    model.tokens.mean_G.copy_(tokens.mean_G[order_G])
    model.tokens.scale_G.copy_(tokens.scale_G[order_G])
    moved = CellArrays(cells.counts_NG[:, order_G], cells.library_size_N, cells.labels_N)
    np.testing.assert_allclose(activity_of(scored(model, moved)), before, rtol=1e-5, atol=1e-5)


@DEPTHS
@MODES
def test_gradients_flow_to_score_slope_and_weight_of_each_edge(depth: int, mode: str) -> None:
    model = opened(small_activity_model(depth=depth, mode=mode))
    decoder = opened(model.new_decoder(), seed=1)
    cells = arrays(simulated_cells(30))
    hidden_NG = torch.rand(30, 24) < 0.2
    masked = MaskedActivityModel(model, decoder)
    predicted_NG = masked(torch.from_numpy(cells.counts_NG), torch.from_numpy(cells.library_size_N), hidden_NG)
    (predicted_NG - standardised(model, cells)).square().mean().backward()
    for name, parameter in masked.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert (parameter.grad != 0).float().mean() > 0.5, name


@pytest.mark.parametrize("mode", ["bias", "regulators"])
def test_open_modes_start_at_the_network_if_they_know_it(mode: str) -> None:
    """In `bias` edges of the network dominate; in `regulators` all pairs start small and at random."""
    model = small_activity_model(mode=mode)
    weight_J = model.activities[0].weight_J.detach().abs()
    in_network = torch.from_numpy(model.edges.weight_J != 0)
    assert int(in_network.sum()) == (len(SIGNED_EDGES) if mode == "bias" else 0)
    assert (weight_J > 0).all()
    assert weight_J[~in_network].max() < 0.1
    assert (model.scales_LH is not None) == (mode == "bias")
    again = small_activity_model(mode=mode).activities[0].weight_J
    assert torch.equal(again, model.activities[0].weight_J)


def test_edges_of_other_sizes_are_refused() -> None:
    edges = edges_of_panel()
    config = ModelConfig(direction="targets", n_genes=24, n_regulators=4, n_classes=3)
    with pytest.raises(ValueError, match="the prior has 5 regulators and 24 genes; expected 4 and 24"):
        ActivityTransformer(config, edges)


def test_more_regulators_than_genes_are_allowed() -> None:
    rows = [(f"R{index}", gene, 1, 1.0, "") for index in range(30) for gene in GENES[:6]]
    network = Network(pd.DataFrame(rows, columns=list(SIGNED_EDGES.columns)))
    model = activity_model(edge_list(network.edges.to_dict("list"), GENES, "mask"))
    assert activity_of(scored(model, arrays(simulated_cells(3)))).shape == (3, 30)
