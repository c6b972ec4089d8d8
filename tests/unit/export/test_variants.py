"""Variants of the graph: their predictions, when they are left out of the bundle, how they are selected."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from sctransformer._constants import VARIANTS
from sctransformer.annotation.session import ScoringSession
from sctransformer.errors import UserError
from sctransformer.export.bundle import read_bundle
from sctransformer.export.graph import ScoringGraph, export_onnx, is_attention
from sctransformer.export.variants import TOLERANCES, Tolerance, make_variant, make_variants, measure_variant
from sctransformer.files import sha256_file
from tests.conftest import arrays, opened, simulated_cells, small_model

KINDS = ("mha", "float16", "int8")


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph without zero weights, and its variants."""
    folder = tmp_path_factory.mktemp("graphs")
    model = opened(small_model())
    export_onnx(ScoringGraph(model, 1.3), folder / "model.onnx", opset=23)
    for kind in KINDS:
        make_variant(kind, folder / "model.onnx", folder / VARIANTS[kind], model.config)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_a_variant_agrees_with_the_graph(graphs: Path, kind: str) -> None:
    found = measure_variant(
        graphs / "model.onnx", graphs / VARIANTS[kind], arrays(simulated_cells(200)), TOLERANCES[kind]
    )
    assert "error" not in found, found
    assert found["labels_equal"] >= 0.9  # with random weights the probabilities of the classes are close
    assert found["max_probability_difference"] <= TOLERANCES[kind].probability


def test_attention_becomes_multi_head_attention_with_the_prior_as_bias(graphs: Path) -> None:
    proto = onnx.load(graphs / VARIANTS["mha"])
    assert not any(is_attention(node, with_bias=False) for node in proto.graph.node)
    layers = [node for node in proto.graph.node if node.op_type == "MultiHeadAttention"]
    assert [node.domain for node in layers] == ["com.microsoft"] * 3
    constants = {constant.name for constant in proto.graph.initializer}
    assert [len(node.input) == 6 and node.input[5] in constants for node in layers] == [True, True, False]


def test_a_variant_outside_its_tolerance_is_left_out(
    graphs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(graphs / "model.onnx", tmp_path / "model.onnx")
    monkeypatch.setitem(TOLERANCES, "int8", Tolerance(1.0, 0.0))
    config = small_model().config
    found = make_variants(("mha", "int8"), tmp_path, "model.onnx", config, arrays(simulated_cells(60)))
    assert (found["mha"]["passed"], found["int8"]["passed"]) == (True, False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.mha.onnx", "model.onnx"]


def test_a_variant_that_does_not_run_is_left_out(graphs: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    found = measure_variant(
        graphs / "model.onnx", tmp_path / "broken.onnx", arrays(simulated_cells(6)), TOLERANCES["mha"]
    )
    assert not found["passed"]
    assert found["error"]


def test_a_session_runs_the_selected_variant(bundle_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(bundle_folder, tmp_path / "bundle")
    cells, config = arrays(simulated_cells(60)), small_model().config
    with pytest.raises(
        UserError, match=r"has no float16 graph \(see export.variants in params.yaml\); available: float32"
    ):
        ScoringSession(read_bundle(folder), variant="float16")
    make_variants(("mha",), folder, "model.onnx", config, cells)
    with (folder / "checksums.txt").open("a") as stream:
        stream.write(f"{sha256_file(folder / 'model.mha.onnx')}  model.mha.onnx\n")
    bundle = read_bundle(folder)
    plain, other = (
        ScoringSession(bundle, variant=kind).score(cells.counts_NG, cells.library_size_N) for kind in ("float32", "mha")
    )
    np.testing.assert_allclose(other.probabilities_NC, plain.probabilities_NC, atol=1e-6)
    np.testing.assert_allclose(other.embedding_NE, plain.embedding_NE, atol=1e-5)
