"""The speed benchmarks count and fit what they say."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pipelines.speed.expressed_queries import expressed, layer_for_expressed
from pipelines.speed.linear_scaling import draw, fitted
from pipelines.speed.model import Case, make_batch, make_model, matrix_flops, measure
from pipelines.speed.own_peak import own_peak_mib
from sctransformer.model.layers import RegulationLayer
from sctransformer.prior.bias import mask_bias

CASE = Case("mask", 300, 40, 32, 2, 4, 8, 24, batch=3, device="cpu", dtype="float32", compiled=False)


@pytest.mark.parametrize("mode", ["dense", "regulators", "bias", "mask"])
@pytest.mark.parametrize("sizes", [{}, {"readout_heads": 64, "embedding": 128}, {"genes": 64, "depth": 1}])
def test_operations_are_those_that_torch_counts(mode: str, sizes: dict[str, int]) -> None:
    """Of a real forward pass. Attention is taken apart for it, for torch counts no fused attention on the CPU."""
    case = replace(CASE, mode=mode, **sizes)
    model = make_model(case)
    model.fold_scales()
    counts_NG, sizes_N, _ = make_batch(case)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        model(counts_NG, sizes_N)
    assert matrix_flops(case) * case.batch == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_every_figure_is_measured() -> None:
    ((_, mask),) = measure([CASE], repeats=1, threads=1)
    assert mask.share_of_matmul == pytest.approx(mask.inference_gflops / mask.matmul_gflops)
    assert 0 < mask.share_of_matmul < 1.5


def test_a_line_is_fitted_and_drawn(tmp_path: Path) -> None:
    line = fitted([(genes, 1e-3 + 2e-6 * genes) for genes in (512, 1024, 2048)])
    assert (line.at_none, line.a_gene, line.r2) == pytest.approx((1e-3, 2e-6, 1.0))
    assert str(line) == "1.000 ms + 2.000 us a gene and cell, R^2 1.0000"
    square = fitted([(genes, 1e-9 * genes**2) for genes in (512, 1024, 2048, 4096)])
    assert square.r2 < 0.97
    draw({"line": line, "square": square}, tmp_path / "speed" / "genes.png")
    assert (tmp_path / "speed" / "genes.png").stat().st_size > 5000


@pytest.mark.parametrize("share", [0.02, 0.3, 1.0])
def test_genes_that_are_expressed_are_told_the_same_when_only_they_ask(share: float) -> None:
    """And the other genes' tokens pass as they are."""
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
        every_NGD = layer(x_NGD, 6, prior_GS[None])
        some_NGD = layer_for_expressed(layer, x_NGD, 6, prior_GS, counts_NG)
    asks_NG = counts_NG > 0
    torch.testing.assert_close(some_NGD[asks_NG], every_NGD[asks_NG], atol=1e-5, rtol=1e-5)
    assert torch.equal(some_NGD[~asks_NG], x_NGD[~asks_NG])


def test_expressed_genes_are_listed_and_padded() -> None:
    counts_NG = torch.tensor([[0.0, 2.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0], [3.0, 0.0, 0.0, 0.0, 0.0]])
    assert expressed(counts_NG).tolist() == [[1, 3], [5, 5], [0, 5]]


def test_peak_memory_is_this_programs_own() -> None:
    """A child that holds nothing says little, however much its parent holds."""
    code = "from pipelines.speed.own_peak import own_peak_mib; print(own_peak_mib())"
    held = torch.ones(300 * 2**18)  # 300 MiB
    child = float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout)
    assert own_peak_mib() > float(held.nbytes) / 2**20
    assert 5 < child < 100
