"""What it costs to learn how strongly a head follows the prior, against a constant prior and against plain autograd.

    python -m pipelines.speed.scaled_prior [--genes 1024 --regulators 128 --density 0.03 --batch 64 --threads 1]

Forward and backward pass of one layer's attention; the median of interleaved repeats, as ratios within one run.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from sctransformer.model.scaled_prior import attention_with_scaled_prior


def ways(
    genes: int, regulators: int, density: float, batch: int, heads: int, width: int
) -> dict[str, Callable[[], Tensor]]:
    """Ways to compute the same attention, by name."""
    torch.manual_seed(0)
    query_NHGd, key_NHSd, value_NHSd = (
        torch.randn(batch, heads, length, width // heads, requires_grad=True)
        for length in (genes, regulators + 1, regulators + 1)
    )
    edges_GS = torch.rand(genes, regulators + 1) < density
    prior_HGS = (torch.rand(heads, genes, regulators + 1) * edges_GS).contiguous()
    scale_H = torch.rand(heads, requires_grad=True)

    def constant() -> Tensor:
        bias_NHGS = (scale_H.detach()[:, None, None] * prior_HGS)[None]
        return scaled_dot_product_attention(query_NHGd, key_NHSd, value_NHSd, attn_mask=bias_NHGS)

    def learned() -> Tensor:
        return attention_with_scaled_prior(query_NHGd, key_NHSd, value_NHSd, scale_H, prior_HGS)

    def autograd() -> Tensor:
        bias_NHGS = (scale_H[:, None, None] * prior_HGS)[None]
        return scaled_dot_product_attention(query_NHGd, key_NHSd, value_NHSd, attn_mask=bias_NHGS)

    return {"constant": constant, "learned": learned, "autograd": autograd}


def main() -> None:
    """Measure and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--genes", type=int, default=1024)
    parser.add_argument("--regulators", type=int, default=128)
    parser.add_argument("--density", type=float, default=0.03)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    sizes = (options.genes, options.regulators, options.density, options.batch, options.heads, options.width)
    seconds: dict[str, list[float]] = {}
    for repeat in range(options.repeats + 1):
        for name, attend in ways(*sizes).items():
            started = time.perf_counter()
            attend().sum().backward()
            if repeat:  # the first warms up
                seconds.setdefault(name, []).append(time.perf_counter() - started)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ratios = {f"{name}_over_constant": medians[name] / medians["constant"] for name in ("learned", "autograd")}
    print(json.dumps(vars(options) | {f"{name}_s": value for name, value in medians.items()} | ratios))


if __name__ == "__main__":
    main()
