"""Cost of a learned strength of the prior per head, compared with a constant prior and with plain autograd.

    python -m pipelines.speed.scaled_prior [--genes 1024 --regulators 128 --density 0.03 --batch 64 --threads 1]

Forward and backward pass of one layer's attention, timed in turns; medians, and their ratios to the constant prior.
"""

import argparse
import json
import statistics
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from pipelines.speed.timing import Work, time_in_turns
from sctransformer.model.scaled_prior import attention_with_scaled_prior


def attention_variants(
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


def backward_of(attend: Callable[[], Tensor]) -> Work:
    """A forward and backward pass."""
    return lambda: attend().sum().backward()


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
    variants = attention_variants(*sizes)
    works = {name: backward_of(attend) for name, attend in variants.items()}
    seconds = time_in_turns(works, options.repeats)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ratios = {f"{name}_over_constant": medians[name] / medians["constant"] for name in ("learned", "autograd")}
    print(json.dumps(vars(options) | {f"{name}_s": value for name, value in medians.items()} | ratios))


if __name__ == "__main__":
    main()
