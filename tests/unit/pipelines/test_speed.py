"""The speed benchmarks count operations, fit lines and measure memory correctly."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pipelines.speed.expressed_queries import expressed, layer_for_expressed
from pipelines.speed.isolated import run_isolated
from pipelines.speed.linear_scaling import fit_line, plot_lines
from pipelines.speed.model import Case, make_batch, make_model, matrix_flops, measure
from pipelines.speed.timing import time_in_turns
from sctransformer.model.layers import RegulationLayer
from sctransformer.prior.bias import mask_bias

CASE = Case("mask", 300, 40, 32, 2, 4, 8, 24, batch=3, device="cpu", dtype="float32", compiled=False)


@pytest.mark.parametrize("mode", ["dense", "regulators", "bias", "mask"])
@pytest.mark.parametrize("sizes", [{}, {"readout_heads": 64, "embedding": 128}, {"genes": 64, "depth": 1}])
def test_operations_equal_those_counted_by_torch(mode: str, sizes: dict[str, int]) -> None:
    """On a real forward pass, without fused attention, whose operations torch does not count on the CPU."""
    case = replace(CASE, mode=mode, **sizes)
    model = make_model(case)
    model.fold_scales()
    counts_NG, sizes_N, _ = make_batch(case)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        model(counts_NG, sizes_N)
    assert matrix_flops(case) * case.batch == pytest.approx(counter.get_total_flops(), rel=0.02)


@pytest.mark.slow
def test_a_case_is_measured() -> None:
    ((_, mask),) = measure([CASE], repeats=1, threads=1)
    assert mask.share_of_matmul == pytest.approx(mask.inference_gflops / mask.matmul_gflops)
    assert 0 < mask.share_of_matmul < 1.5


def test_a_line_is_fitted_and_plotted(tmp_path: Path) -> None:
    line = fit_line([(genes, 1e-3 + 2e-6 * genes) for genes in (512, 1024, 2048)])
    assert (line.intercept, line.slope, line.r2) == pytest.approx((1e-3, 2e-6, 1.0))
    assert str(line) == "1.000 ms + 2.000 us per gene and cell, R^2 1.0000"
    square = fit_line([(genes, 1e-9 * genes**2) for genes in (512, 1024, 2048, 4096)])
    assert square.r2 < 0.97
    plot_lines({"line": line, "square": square}, tmp_path / "speed" / "genes.png")
    assert (tmp_path / "speed" / "genes.png").stat().st_size > 5000


@pytest.mark.parametrize("share", [0.02, 0.3, 1.0])
def test_expressed_genes_get_the_same_result_when_only_they_are_queries(share: float) -> None:
    """The tokens of the other genes do not change."""
    generator = torch.Generator().manual_seed(0)
    layer = RegulationLayer(width=8, heads=2, feedforward=16)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.5, generator=generator)
    allowed_GR = torch.rand(40, 6, generator=generator).numpy() < 0.4
    prior_GS = torch.from_numpy(mask_bias(allowed_GR))[0]
    x_NGD = torch.randn(5, 40, 8, generator=generator)
    counts_NG = (torch.rand(5, 40, generator=generator) < share).float()
    counts_NG[0] = 0.0
    with torch.no_grad():
        all_NGD = layer(x_NGD, 6, prior_GS[None])
        some_NGD = layer_for_expressed(layer, x_NGD, 6, prior_GS, counts_NG)
    expressed_NG = counts_NG > 0
    torch.testing.assert_close(some_NGD[expressed_NG], all_NGD[expressed_NG], atol=1e-5, rtol=1e-5)
    assert torch.equal(some_NGD[~expressed_NG], x_NGD[~expressed_NG])


def test_indices_of_expressed_genes_are_padded() -> None:
    counts_NG = torch.tensor([[0.0, 2.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0], [3.0, 0.0, 0.0, 0.0, 0.0]])
    assert expressed(counts_NG).tolist() == [[1, 3], [5, 5], [0, 5]]


def test_work_is_timed_in_turns_after_a_warm_up() -> None:
    calls: list[str] = []
    seconds = time_in_turns({name: lambda name=name: calls.append(name) for name in "ab"}, repeats=2)
    assert calls == ["a", "b"] * 3
    assert [len(values) for values in seconds.values()] == [2, 2]


def test_a_function_in_a_process_of_its_own_returns_result_and_memory() -> None:
    result, peak_mib = run_isolated(pow, 2, 5)
    assert result == 32
    assert peak_mib > 5
