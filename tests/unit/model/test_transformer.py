"""The model: equal to dense masked attention, with edges from regulator to target."""

from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from sctransformer.export.graph import ScoringGraph, export_onnx
from sctransformer.model import ModelConfig, PriorBiasedTransformer
from sctransformer.model.attention import RegulationAttention
from sctransformer.model.layers import INITIAL_SCALE
from sctransformer.model.tokens import log_normalise
from sctransformer.prior.bias import CLOSED, allowed_pairs, mask_bias, prior_matrix, signed_weights
from sctransformer.typed_yaml import first_problem
from tests.conftest import opened

SLOW = pytest.mark.slow


def dense_reference(
    attention: RegulationAttention, x_NGD: Tensor, allowed_GG: Tensor, bias_HGS: Tensor | float = 0.0
) -> Tensor:
    """Genes x genes masked softmax attention with the sink, written out, for comparison."""
    n_cells, n_genes, width = x_NGD.shape
    heads, depth = attention.heads, width // attention.heads
    key_NGD, value_NGD = attention.key_value(x_NGD).chunk(2, dim=-1)
    key_NSD = torch.cat([key_NGD, attention.sink_key_D.expand(n_cells, 1, width)], dim=1)
    value_NSD = torch.cat([value_NGD, attention.sink_value_D.expand(n_cells, 1, width)], dim=1)
    open_GS = torch.cat([allowed_GG, torch.ones(n_genes, 1, dtype=torch.bool)], dim=1)
    query_NGHd = attention.query(x_NGD).view(n_cells, n_genes, heads, depth)
    scores_NHGS = torch.einsum("nghd,nshd->nhgs", query_NGHd, key_NSD.view(n_cells, -1, heads, depth)) / depth**0.5
    scores_NHGS = scores_NHGS + bias_HGS
    weights_NHGS = scores_NHGS.masked_fill(~open_GS, float("-inf")).softmax(dim=-1)
    read_NGHd = torch.einsum("nhgs,nshd->nghd", weights_NHGS, value_NSD.view(n_cells, -1, heads, depth))
    return attention.output(read_NGHd.reshape(n_cells, n_genes, width))


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_attention_over_regulators_equals_dense_masked_attention(data: st.DataObject) -> None:
    """Outputs and all gradients, over random networks: empty rows, one regulator, all genes regulators."""
    n_genes = data.draw(st.integers(1, 12))
    n_regulators = data.draw(st.integers(1, n_genes))
    seed, density = data.draw(st.integers(0, 10_000)), data.draw(st.sampled_from([0.0, 0.2, 0.8, 1.0]))
    allowed_GR = np.random.default_rng(seed).random((n_genes, n_regulators)) < density
    torch.manual_seed(seed)
    attention = RegulationAttention(width=8, heads=2)
    torch.nn.init.normal_(attention.sink_key_D)
    torch.nn.init.normal_(attention.sink_value_D)
    x_NGD = torch.randn(3, n_genes, 8, requires_grad=True)
    allowed_GG = torch.zeros(n_genes, n_genes, dtype=torch.bool)
    allowed_GG[:, :n_regulators] = torch.from_numpy(allowed_GR)
    weight = torch.randn(3, n_genes, 8)

    inputs = [x_NGD, *attention.parameters()]
    ours = attention(x_NGD, n_regulators, torch.from_numpy(mask_bias(allowed_GR)))
    ours_gradients = torch.autograd.grad((ours * weight).sum(), inputs)
    dense = dense_reference(attention, x_NGD, allowed_GG)
    dense_gradients = torch.autograd.grad((dense * weight).sum(), inputs)

    torch.testing.assert_close(ours, dense, atol=1e-5, rtol=1e-5)
    for one, other in zip(ours_gradients, dense_gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def modules_model() -> tuple[PriorBiasedTransformer, list[str]]:
    """Two modules that share no edge: r0 -> {r0's targets}, r1 -> {r1's targets}."""
    genes = ["r0", "r1", "a0", "a1", "b0", "b1", "lonely"]
    edges = [("r0", "a0"), ("r0", "a1"), ("r1", "b0"), ("r1", "b1")]
    torch.manual_seed(0)
    config = ModelConfig(
        n_genes=7, n_regulators=2, n_classes=2, width=8, depth=3, heads=2, readout_heads=2, embedding=8
    )
    model = PriorBiasedTransformer(config, torch.from_numpy(mask_bias(allowed_pairs(edges, genes, 2))))
    return opened(model), genes


@pytest.mark.parametrize(
    ("gene", "readable"),
    [("a0", {"a0", "r0"}), ("b1", {"b1", "r1"}), ("r0", {"r0"}), ("lonely", {"lonely"})],
)
def test_a_gene_depends_on_its_own_module_only(gene: str, readable: set[str]) -> None:
    """The gradient of its contextual token with respect to the counts of other modules is exactly zero."""
    model, genes = modules_model()
    counts_NG = torch.full((2, 7), 3.0, requires_grad=True)
    x_NGD = model.contextual_tokens(counts_NG, torch.full((2,), 1e4))
    torch.manual_seed(1)
    token_ND = x_NGD[:, genes.index(gene)]
    (gradient_NG,) = torch.autograd.grad((token_ND * torch.randn_like(token_ND)).sum(), counts_NG)
    felt = {name for index, name in enumerate(genes) if gradient_NG[:, index].abs().max() > 0}
    assert felt == readable


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gene", "readable"),
    [("a0", {"a0", "r0"}), ("b1", {"b1", "r1"}), ("r0", {"r0"}), ("lonely", {"lonely"})],
)
def test_an_exported_gene_depends_on_its_own_module_only(gene: str, readable: set[str], tmp_path: Path) -> None:
    """Counts of other modules do not change its contextual token, bit by bit."""
    model, genes = modules_model()

    class LastToken(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, counts_NG: Tensor, library_size_N: Tensor) -> Tensor:
            return self.model.contextual_tokens(counts_NG, library_size_N)[:, genes.index(gene)]

    program = torch.onnx.export(
        LastToken().eval().requires_grad_(False),
        (torch.ones(1, 7), torch.full((1,), 1e4)),
        dynamo=True,
        opset_version=23,
        input_names=["counts", "library_size"],
        verbose=False,
    )
    program.save(tmp_path / "token.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "token.onnx", providers=["CPUExecutionProvider"])

    def token(counts_NG: np.ndarray) -> np.ndarray:
        feed = {"counts": counts_NG.astype(np.float32), "library_size": np.full(1, 1e4, dtype=np.float32)}
        return session.run(None, feed)[0]

    before, felt = token(np.full((1, 7), 3.0)), set()
    for index, name in enumerate(genes):
        changed = np.full((1, 7), 3.0)
        changed[0, index] = 50.0
        if not np.array_equal(token(changed), before):
            felt.add(name)
    assert felt == readable


def test_genes_without_regulators_skip_the_layers() -> None:
    """`lonely` comes last and has no regulator: the layers change all tokens but its own."""
    model, genes = modules_model()
    assert model.prior_HQS.shape == (1, 6, 3)
    counts_NG, sizes_N = torch.full((2, 7), 3.0), torch.full((2,), 1e4)
    same_G = (model.contextual_tokens(counts_NG, sizes_N) == model.tokens(counts_NG, sizes_N)).all(dim=2).all(dim=0)
    assert [gene for gene, same in zip(genes, same_G, strict=True) if same] == ["lonely"]
    empty = torch.from_numpy(mask_bias(np.zeros((7, 2), dtype=bool)))
    assert PriorBiasedTransformer(model.config, empty).prior_HQS.shape == (1, 2, 3)  # regulators are read: they pass


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_learned_scale_has_the_gradients_of_plain_attention(data: st.DataObject) -> None:
    """`bias` mode: outputs and all gradients equal attention written out, the scale's among them."""
    n_genes = data.draw(st.integers(1, 12))
    n_regulators = data.draw(st.integers(1, n_genes))
    seed, density = data.draw(st.integers(0, 10_000)), data.draw(st.sampled_from([0.0, 0.2, 0.8, 1.0]))
    rng = np.random.default_rng(seed)
    weight_HGS = rng.random((2, n_genes, n_regulators + 1)) * (rng.random((2, n_genes, n_regulators + 1)) < density)
    prior_HGS = torch.from_numpy(weight_HGS.astype(np.float32))
    prior_HGS[:, :, -1] = 0.0
    torch.manual_seed(seed)
    attention = RegulationAttention(width=8, heads=2)
    x_NGD, scale_H = torch.randn(3, n_genes, 8, requires_grad=True), torch.tensor([1.5, 0.3], requires_grad=True)
    weight = torch.randn(3, n_genes, 8)
    inputs = [x_NGD, scale_H, *attention.parameters()]

    ours = attention(x_NGD, n_regulators, prior_HGS, scale_H)
    ours_gradients = torch.autograd.grad((ours * weight).sum(), inputs)
    allowed_GG = torch.zeros(n_genes, n_genes, dtype=torch.bool)
    allowed_GG[:, :n_regulators] = True
    prior_HGG = torch.zeros(2, n_genes, n_genes + 1)
    prior_HGG[:, :, :n_regulators] = prior_HGS[:, :, :-1]
    dense = dense_reference(attention, x_NGD, allowed_GG, scale_H[:, None, None] * prior_HGG)
    dense_gradients = torch.autograd.grad((dense * weight).sum(), inputs)

    torch.testing.assert_close(ours, dense, atol=1e-5, rtol=1e-5)
    for one, other in zip(ours_gradients, dense_gradients, strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)


EDGES = pd.DataFrame(
    {
        "regulator": ["r0", "r0", "r1", "r1", "elsewhere"],
        "target": ["a0", "r1", "b0", "a0", "a0"],
        "sign": [1, -1, 0, 1, 1],
        "confidence": [1.0, 0.4, 0.7, 0.5, 1.0],
    }
)
PANEL = ["r0", "r1", "a0", "b0", "lonely"]


def model_of(mode: str, **sizes: int) -> PriorBiasedTransformer:
    torch.manual_seed(0)
    sizes = {"width": 8, "depth": 2, "heads": 4, "feedforward": 8, "readout_heads": 2, "embedding": 8} | sizes
    config = ModelConfig(n_genes=5, n_regulators=2, n_classes=3, mode=mode, **sizes)
    prior = prior_matrix(mode, EDGES.to_dict("list"), PANEL, 2, config.heads)
    return opened(PriorBiasedTransformer(config, None if prior is None else torch.from_numpy(prior)))


def test_activating_and_repressing_edges_are_on_different_heads() -> None:
    weight_HGS = signed_weights(EDGES.to_dict("list"), PANEL, 2, heads=4)
    assert weight_HGS.shape == (4, 5, 3)
    assert weight_HGS[:, PANEL.index("a0"), 0].tolist() == [1.0, 1.0, 0.0, 0.0]
    assert weight_HGS[:, PANEL.index("r1"), 0].tolist() == pytest.approx([0.0, 0.0, 0.4, 0.4])
    assert weight_HGS[:, PANEL.index("b0"), 1].tolist() == pytest.approx([0.7] * 4)
    assert weight_HGS[:, :, 2].sum() == 0
    assert signed_weights(EDGES.to_dict("list"), PANEL, 2, heads=1)[0, 1, 0] == pytest.approx(0.4)


@pytest.mark.parametrize("mode", ["mask", "bias", "regulators", "dense"])
def test_the_mode_decides_on_which_genes_a_gene_depends(mode: str) -> None:
    model = model_of(mode, depth=1)
    counts_NG = torch.full((2, 5), 3.0, requires_grad=True)
    torch.manual_seed(1)
    token_ND = model.contextual_tokens(counts_NG, torch.full((2,), 1e4))[:, PANEL.index("b0")]
    (gradient_NG,) = torch.autograd.grad((token_ND * torch.randn_like(token_ND)).sum(), counts_NG)
    felt = {name for index, name in enumerate(PANEL) if gradient_NG[:, index].abs().max() > 0}
    everything = {"dense": set(PANEL), "mask": {"r1", "b0"}}
    assert felt == everything.get(mode, {"r0", "r1", "b0"})


def test_only_bias_mode_learns_the_strength_of_the_prior() -> None:
    for mode in ("mask", "regulators", "dense"):
        assert model_of(mode).scales_LH is None
    model = model_of("bias")
    torch.testing.assert_close(model.scales_LH, torch.full((2, 4), INITIAL_SCALE))
    with torch.no_grad():
        for layer in model.layers:
            layer.raw_scale_H.fill_(-100.0)
    counts_NG, sizes_N = torch.rand(2, 5) * 5, torch.full((2,), 1e4)
    assert (model.scales_LH >= 0).all()
    regulators = model_of("regulators")
    regulators.load_state_dict({k: v for k, v in model.state_dict().items() if "prior" not in k and "raw" not in k})
    torch.testing.assert_close(model(counts_NG, sizes_N).logits_NC, regulators(counts_NG, sizes_N).logits_NC)


def test_folding_the_scales_does_not_change_the_output() -> None:
    model = model_of("bias")
    counts_NG, sizes_N = torch.rand(2, 5) * 5, torch.full((2,), 1e4)
    with torch.no_grad():
        for index, layer in enumerate(model.layers):
            layer.raw_scale_H.copy_(torch.arange(4.0) + index)
        before = model(counts_NG, sizes_N).logits_NC
        model.fold_scales()
        torch.testing.assert_close(model(counts_NG, sizes_N).logits_NC, before)
    assert model.scales_LH is None


@pytest.mark.parametrize(
    "mode", ["mask", *(pytest.param(mode, marks=SLOW) for mode in ("bias", "regulators", "dense"))]
)
def test_every_mode_exports_with_standard_attention_and_agrees(mode: str, tmp_path: Path) -> None:
    model = model_of(mode)
    graph = ScoringGraph(model, temperature=1.3)
    export_onnx(graph, tmp_path / "model.onnx", opset=23)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    counts = np.random.default_rng(0).poisson(2.0, (9, 5)).astype(np.float32)
    sizes = np.full(9, 1e4, dtype=np.float32)
    probabilities, embedding = session.run(None, {"counts": counts, "library_size": sizes})
    with torch.no_grad():
        expected = graph(torch.from_numpy(counts), torch.from_numpy(sizes))
    np.testing.assert_allclose(probabilities, expected[0].numpy(), atol=1e-6)
    np.testing.assert_allclose(embedding, expected[1].numpy(), atol=1e-5)
    assert (model.scales_LH is not None) == (mode == "bias")  # exporting leaves the model as it was


def test_a_missing_prior_is_refused() -> None:
    with pytest.raises(ValueError, match="mode 'bias' needs a prior"):
        PriorBiasedTransformer(ModelConfig(n_genes=5, n_regulators=2, n_classes=3, mode="bias"), None)


def test_allowed_pairs_are_named_regulator_then_target() -> None:
    allowed_GR = allowed_pairs([("r", "t"), ("t", "r"), ("r", "absent")], ["r", "t"], n_regulators=1)
    assert allowed_GR.tolist() == [[False], [True]]


def test_missing_edges_are_masked_and_the_sink_is_not() -> None:
    bias_HGS = mask_bias(np.array([[True], [False]]))
    assert bias_HGS.tolist() == [[[0.0, 0.0], [CLOSED, 0.0]]]


def test_normalisation_is_log1p_of_counts_per_ten_thousand_of_the_whole_cell() -> None:
    expression = log_normalise(torch.tensor([[2.0, 0.0]]), torch.tensor([4000.0]))
    torch.testing.assert_close(expression, torch.tensor([[np.log1p(5.0), 0.0]], dtype=torch.float32))


def test_a_cell_without_counts_gives_finite_scores() -> None:
    model, _ = modules_model()
    output = model(torch.zeros(1, 7), torch.zeros(1))
    assert torch.isfinite(output.logits_NC).all()


def test_constant_genes_have_scale_zero() -> None:
    model, _ = modules_model()
    model.set_expression_statistics(np.ones(7), np.array([0.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0]))
    assert model.tokens.scale_G[:2].tolist() == [0.0, 0.5]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n_regulators": 0}, "n_regulators is 0"),
        ({"n_regulators": 8}, "n_regulators is 8"),
        ({"n_classes": 1}, "n_classes is 1"),
        ({"width": 9}, "not a multiple of heads"),
        ({"mode": "magic"}, "mode is 'magic': Input should be 'mask', 'bias', 'regulators' or 'dense'"),
    ],
)
def test_impossible_sizes_are_refused(changed: dict[str, int], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ModelConfig(**({"n_genes": 7, "n_regulators": 2, "n_classes": 2} | changed))
    assert message in first_problem(caught.value)


def test_a_bias_of_another_panel_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \(1 or 2, 7, 3\)"):
        PriorBiasedTransformer(ModelConfig(n_genes=7, n_regulators=2, n_classes=2), torch.zeros(1, 7, 2))
