"""The model is what it says: equal to dense masked attention, and what is called regulator -> target is that pair."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sctransformer.model import ModelConfig, PriorBiasedTransformer
from sctransformer.model.attention import RegulationAttention
from sctransformer.model.tokens import log_normalise
from sctransformer.prior.bias import CLOSED, allowed_pairs, mask_bias


def dense_reference(attention: RegulationAttention, x_NGD: Tensor, allowed_GG: Tensor) -> Tensor:
    """Genes x genes masked softmax attention with the sink, written out, for comparison."""
    n_cells, n_genes, width = x_NGD.shape
    heads, depth = attention.heads, width // attention.heads
    key_NGD, value_NGD = attention.key_value(x_NGD).chunk(2, dim=-1)
    key_NSD = torch.cat([key_NGD, attention.sink_key_D.expand(n_cells, 1, width)], dim=1)
    value_NSD = torch.cat([value_NGD, attention.sink_value_D.expand(n_cells, 1, width)], dim=1)
    open_GS = torch.cat([allowed_GG, torch.ones(n_genes, 1, dtype=torch.bool)], dim=1)
    query_NGHd = attention.query(x_NGD).view(n_cells, n_genes, heads, depth)
    scores_NHGS = torch.einsum("nghd,nshd->nhgs", query_NGHd, key_NSD.view(n_cells, -1, heads, depth)) / depth**0.5
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
    ours = attention(x_NGD, torch.from_numpy(mask_bias(allowed_GR)))
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
    return PriorBiasedTransformer(config, torch.from_numpy(mask_bias(allowed_pairs(edges, genes, 2)))), genes


@pytest.mark.parametrize(
    ("gene", "readable"),
    [("a0", {"a0", "r0"}), ("b1", {"b1", "r1"}), ("r0", {"r0"}), ("lonely", {"lonely"})],
)
def test_a_gene_reads_its_own_module_and_nothing_else(gene: str, readable: set[str]) -> None:
    """The gradient of a gene's last token by every other module's counts is exactly zero, and by its own is not."""
    model, genes = modules_model()
    counts_NG = torch.full((2, 7), 3.0, requires_grad=True)
    x_NGD = model.tokens(counts_NG, torch.full((2,), 1e4))
    for layer in model.layers:
        x_NGD = layer(x_NGD, model.bias_HGS)
    torch.manual_seed(1)
    token_ND = x_NGD[:, genes.index(gene)]
    (gradient_NG,) = torch.autograd.grad((token_ND * torch.randn_like(token_ND)).sum(), counts_NG)
    felt = {name for index, name in enumerate(genes) if gradient_NG[:, index].abs().max() > 0}
    assert felt == readable


def test_allowed_pairs_are_named_regulator_then_target() -> None:
    allowed_GR = allowed_pairs([("r", "t"), ("t", "r"), ("r", "absent")], ["r", "t"], n_regulators=1)
    assert allowed_GR.tolist() == [[False], [True]]


def test_the_sink_is_open_and_missing_edges_are_closed() -> None:
    bias_HGS = mask_bias(np.array([[True], [False]]))
    assert bias_HGS.tolist() == [[[0.0, 0.0], [CLOSED, 0.0]]]


def test_normalisation_is_log1p_of_counts_per_ten_thousand_of_the_whole_cell() -> None:
    expression = log_normalise(torch.tensor([[2.0, 0.0]]), torch.tensor([4000.0]))
    torch.testing.assert_close(expression, torch.tensor([[np.log1p(5.0), 0.0]], dtype=torch.float32))


def test_a_cell_without_counts_gives_numbers() -> None:
    model, _ = modules_model()
    output = model(torch.zeros(1, 7), torch.zeros(1))
    assert torch.isfinite(output.logits_NC).all()


def test_a_gene_that_does_not_vary_is_not_scaled() -> None:
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
    ],
)
def test_impossible_sizes_are_refused(changed: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelConfig(**({"n_genes": 7, "n_regulators": 2, "n_classes": 2} | changed))


def test_a_bias_of_another_panel_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \(1 or 4, 7, 3\)"):
        PriorBiasedTransformer(ModelConfig(n_genes=7, n_regulators=2, n_classes=2), torch.zeros(1, 7, 2))
