"""Both forms of the graph of a model of activities: the same function as torch, for any cells and any genes."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from sctransformer.evaluation.novelty_score import NoveltyScore, NoveltyStatistics
from sctransformer.export import parity as parity_module
from sctransformer.export.graph import OnnxExport, ScoringGraph, is_attention
from sctransformer.export.parity import measure_parity
from sctransformer.model import ActivityTransformer
from tests.conftest import arrays, expression, opened, simulated_cells
from tests.regulated_cells import small_activity_model

KINDS = ("mask, 1 layer", "bias, 2 layers, novelty")
FORMS = ("operator", "edges")
OPSET = 23


class Exported(NamedTuple):
    """A graph in torch, and its files."""

    graph: ScoringGraph
    paths: dict[str, Path]
    """By form."""

    sessions: dict[str, Any]
    """By form."""

    def difference(self, form: str, counts_NG: NDArray[Any], size_N: NDArray[Any], measured_G: NDArray[Any]) -> float:
        """Largest difference from torch over all outputs, relative above 1; infinite if NaN differ."""
        feeds = {"counts": counts_NG, "library_size": size_N, "measured": measured_G}
        feeds = {name: np.asarray(values, dtype=np.float32) for name, values in feeds.items()}
        found = self.sessions[form].run(list(self.graph.outputs), feeds)
        with torch.no_grad():
            expected = self.graph(*(torch.from_numpy(feeds[name]) for name in self.graph.inputs))
        largest = 0.0
        for name, one, other in zip(self.graph.outputs, found, expected, strict=True):
            other = other.numpy()
            assert one.shape == other.shape, name
            assert name == "activity" or np.isfinite(one).all(), name
            if not np.array_equal(np.isnan(one), np.isnan(other)):
                return float("inf")
            size = np.maximum(np.abs(other), 1.0)
            largest = max(largest, float(np.nanmax(np.abs(one - other) / size, initial=0.0)))
        return largest


def export(graph: ScoringGraph, folder: Path) -> Exported:
    """Write both forms of a graph, and open them."""
    paths, writer = {form: folder / f"{form}.onnx" for form in FORMS}, OnnxExport(graph, OPSET)
    for form, path in paths.items():
        writer.write(path, along_edges=form == "edges")
    sessions = {
        form: onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        for form, path in paths.items()
    }
    return Exported(graph, paths, sessions)


def trained_model(kind: str) -> ActivityTransformer:
    """A model whose parameters are all away from their start, with labels and components."""
    depth, mode = (1 if "1 layer" in kind else 2), kind.split(",")[0]
    model = opened(small_activity_model(depth=depth, mode=mode))
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for values in (*model.classifier.buffers(), model.components_GE):
            values.copy_(torch.randn(values.shape, generator=generator) * 0.2)
    if mode == "bias":
        model.tokens.scale_G[9] = 0.0  # a gene that is constant in the training cells
    return model


def novelty_score() -> NoveltyScore:
    """A score of random statistics."""
    rng = np.random.default_rng(2)
    logged_NG = expression(arrays(simulated_cells()))
    surprise_GC, projection_GM = 5 * rng.random((24, 3)), rng.normal(size=(24, 4))
    values = (np.ones(24), surprise_GC, projection_GM, logged_NG.mean(axis=0), rng.normal(size=(3, 24)))
    statistics = NoveltyStatistics(*(torch.from_numpy(np.asarray(array, dtype=np.float32)) for array in values))
    return NoveltyScore(statistics, torch.zeros(3), torch.ones(3), torch.ones(3))


@pytest.fixture(scope="module", params=KINDS)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Both forms of a graph."""
    novelty = novelty_score() if "novelty" in request.param else None
    graph = ScoringGraph(trained_model(request.param), 1.7, novelty).eval()
    return export(graph, tmp_path_factory.mktemp("graphs"))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("n_cells", [1, 65])
@pytest.mark.parametrize("absent", [(), (7,), "GENE1's targets", "all"], ids=str)
def test_the_graph_agrees_with_torch(exported: Exported, form: str, n_cells: int, absent: Any) -> None:
    """Every output, also for cells without counts, with a library size under 1, and with genes that are absent."""
    cells, edges = arrays(simulated_cells(n_cells, seed=4)), exported.graph.model.edges
    measured_G = np.ones(24, dtype=np.float32)
    if absent == "all":
        measured_G[:] = 0.0
    elif isinstance(absent, str):
        own_J = (edges.regulator_J == edges.regulators.index("GENE1")) & (edges.weight_J != 0)
        measured_G[edges.target_J[own_J]] = 0.0
    else:
        measured_G[list(absent)] = 0.0
    counts_NG, size_N = cells.counts_NG.copy(), cells.library_size_N.copy()
    assert exported.difference(form, counts_NG, size_N, measured_G) < 1e-4
    counts_NG[0], size_N[0] = 0.0, 0.0
    assert exported.difference(form, counts_NG, size_N, measured_G) < 1e-4
    counts_NG[-1], size_N[-1] = 3.0, 0.25
    assert exported.difference(form, counts_NG, size_N, measured_G) < 1e-4


@pytest.mark.parametrize("form", FORMS)
def test_an_absent_gene_has_no_influence_on_activities_in_the_graph(exported: Exported, form: str) -> None:
    cells, measured_G = arrays(simulated_cells(4)), np.ones(24, dtype=np.float32)
    measured_G[7] = 0.0
    feeds = {"counts": cells.counts_NG, "library_size": cells.library_size_N, "measured": measured_G}
    (before,) = exported.sessions[form].run(["activity"], feeds)
    counts_NG = cells.counts_NG.copy()
    counts_NG[:, 7] += 100.0
    (after,) = exported.sessions[form].run(["activity"], feeds | {"counts": counts_NG})
    assert np.array_equal(before, after)


@pytest.mark.parametrize("form", FORMS)
def test_a_regulator_without_measured_targets_is_nan_in_the_graph(exported: Exported, form: str) -> None:
    edges, measured_G = exported.graph.model.edges, np.ones(24, dtype=np.float32)
    own_J = edges.regulator_J == edges.regulators.index("GENE1")
    measured_G[edges.target_J[own_J]] = 0.0
    feeds = {"counts": np.ones((3, 24), np.float32), "library_size": np.full(3, 24.0, np.float32)}
    (found,) = exported.sessions[form].run(["activity"], feeds | {"measured": measured_G})
    assert np.isnan(found).all(axis=0).tolist() == [name == "GENE1" for name in edges.regulators]
    assert np.isnan(found).any(axis=0).sum() == 1


def test_the_forms_differ_in_their_operators(exported: Exported) -> None:
    """Both pass the check of ONNX for the requested opset; one has the standard operator with a bias in each layer."""
    for form, path in exported.paths.items():
        proto = onnx.load(path)
        onnx.checker.check_model(proto, full_check=True)
        assert [one.version for one in proto.opset_import if one.domain == ""] == [OPSET]
        operators = [node for node in proto.graph.node if node.op_type == "Attention"]
        assert bool(operators) == (form == "operator")
        assert all(is_attention(node, with_bias=True) for node in operators)
        assert [port.name for port in proto.graph.input] == ["counts", "library_size", "measured"]
        assert [port.name for port in proto.graph.output] == list(exported.graph.outputs)
        assert not any(node.metadata_props or node.doc_string for node in proto.graph.node)


def test_parity_is_measured_and_a_wrong_graph_fails(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """On some of the cells, in batches, so that memory does not grow with the number of cells."""
    monkeypatch.setattr(parity_module, "PARITY_CELLS", 130)
    cells = arrays(simulated_cells(150, seed=8))
    for path in exported.paths.values():
        parity = measure_parity(exported.graph, path, cells, 1e-4)
        assert parity["passed"]
        assert parity["cells"] == parity["labels_equal"] == 130
        assert parity["max_activity_difference"] < 1e-4
        assert ("max_novelty_difference" in parity) == (exported.graph.novelty is not None)
    model = trained_model("mask, 1 layer" if exported.graph.model.config.depth == 1 else "bias, 2 layers")
    with torch.no_grad():
        model.activities[0].weight_J[3] += 0.1
    other = ScoringGraph(model, 1.7, exported.graph.novelty).eval()
    parity = measure_parity(other, exported.paths["edges"], cells, 1e-4)
    assert not parity["passed"]
    assert parity["max_activity_difference"] > 1e-3


def test_strong_attention_agrees_too(tmp_path: Path) -> None:
    """Activities are not clipped as expression is, so in later layers scores may be large."""
    model = trained_model("mask, 2 layers")
    with torch.no_grad():
        model.activities[0].weight_J.mul_(4.0)
        model.messages[0].slope_J.copy_(torch.where(model.messages[0].slope_J > 0, 3.0, -3.0))
        model.messages[0].score_J.zero_()
    graph = ScoringGraph(model, 1.0).eval()
    exported, cells = export(graph, tmp_path), arrays(simulated_cells(20))
    for form in FORMS:
        assert exported.difference(form, cells.counts_NG * 5.0, cells.library_size_N, np.ones(24)) < 1e-4
