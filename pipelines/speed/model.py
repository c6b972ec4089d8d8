"""How fast the model is, dense against genes x regulators, as ratios within one run.

    python -m pipelines.speed.model                                       a table, and JSON lines in outputs/speed
    python -m pipelines.speed.model --genes 2048 --regulators 128 --modes dense mask --width 64 --depth 2
    python -m pipelines.speed.model --device cuda --dtype bfloat16 --compile --genes 2048 --regulators 256 --width 256 \
        --depth 6

Needs the package `model` alone, so torch and numpy, and matplotlib where a picture is drawn. Every repeat runs each
mode once and one large matrix product, one after the other and on the same threads; a figure is the median over the
repeats. On a shared machine trust the ratios, not the times. With two or more gene counts a line is fitted to seconds
over genes, for each mode and number of regulators, and with three or more it is drawn (outputs/speed).
"""

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipelines.speed.linear_scaling import Line, draw, fitted
from pipelines.speed.own_peak import own_peak_mib
from sctransformer.model import ModelConfig, PriorBiasedTransformer
from sctransformer.prior.bias import mask_bias

RESULTS = Path("outputs/speed/model.jsonl")
PICTURE = Path("outputs/speed/genes.png")
MODES = ("dense", "regulators", "bias", "mask")
DENSITY = 0.03
"""Share of regulator x gene pairs that are edges; CollecTRI has 0.014 to 0.030 on panels of 1,024 genes."""
REGULATED_SHARE = 0.57
"""Share of the genes that have a regulator and come first, as in a panel; CollecTRI: 0.26 (Kang) and 0.56 (MUDAN)."""
CLASSES = 10
MATMUL_SIZE = 2048


@dataclass(frozen=True)
class Case:
    """One model, on one device."""

    mode: str
    genes: int
    regulators: int
    width: int
    depth: int
    heads: int
    readout_heads: int
    embedding: int
    batch: int
    device: str
    dtype: str
    compiled: bool


@dataclass(frozen=True)
class Figures:
    """What was measured of a case."""

    inference_cells_per_s: float
    training_cells_per_s: float
    attention_cells_per_s: float
    """One regulation layer's attention alone, forward."""
    inference_gflops: float
    """Billions of floating-point operations of matrix products a second, forward, whole model."""
    share_of_matmul: float
    """Of the rate of one large matrix product in the same run, on the same threads."""
    matmul_gflops: float
    """That rate."""
    peak_mib: float
    """Of a training step, above what the process held before (CPU) or allocated (GPU)."""


def make_model(case: Case) -> PriorBiasedTransformer:
    """A model with random weights over a random network."""
    config = ModelConfig(
        n_genes=case.genes,
        n_regulators=case.regulators,
        n_classes=CLASSES,
        mode=case.mode,  # type: ignore[arg-type]
        width=case.width,
        depth=case.depth,
        heads=case.heads,
        feedforward=2 * case.width,
        readout_heads=case.readout_heads,
        embedding=case.embedding,
    )
    allowed_GR = np.random.default_rng(0).random((case.genes, case.regulators)) < DENSITY / REGULATED_SHARE
    allowed_GR[round(case.genes * REGULATED_SHARE) :] = False
    prior_HGS = None
    if case.mode == "mask":
        prior_HGS = torch.from_numpy(mask_bias(allowed_GR))
    elif case.mode == "bias":
        prior_HGS = torch.zeros(case.heads, case.genes, case.regulators + 1)
        prior_HGS[:, :, :-1] = torch.from_numpy(allowed_GR.astype(np.float32))
    torch.manual_seed(0)
    return PriorBiasedTransformer(config, prior_HGS).to(case.device)


def reading(case: Case) -> int:
    """Genes that pass the layers: in `mask` mode those that have a regulator."""
    return max(case.regulators, round(case.genes * REGULATED_SHARE)) if case.mode == "mask" else case.genes


def matrix_flops(case: Case) -> float:
    """Floating-point operations of the matrix products of a forward pass, a cell.

    A layer: query and output projections of the genes, key and value of the keys, scores and weighted sum, the
    feed-forward block. The readout: a score and a weighted sum of each head, scores times their weights, projection and
    feed-forward block; then the classifier. In `mask` mode genes without a regulator pass the layers by.
    """
    genes, width, heads, embedding = case.genes, case.width, case.readout_heads, case.embedding
    keys = case.genes if case.mode == "dense" else case.regulators
    queries = reading(case)
    layer = 12 * queries * width * width + 4 * keys * width * width + 4 * queries * (keys + 1) * width
    readout = 4 * heads * genes * width + 2 * genes * embedding + 2 * heads * width * embedding + 4 * embedding**2
    return float(case.depth * layer + readout + 2 * embedding * CLASSES)


def make_batch(case: Case) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Counts, library sizes and labels of random cells, nine of ten counts zero."""
    generator = torch.Generator().manual_seed(0)
    counts_NG = torch.poisson(torch.full((case.batch, case.genes), 0.1), generator=generator)
    labels_N = torch.randint(CLASSES, (case.batch,), generator=generator)
    sizes_N = torch.full((case.batch,), 3000.0)
    return counts_NG.to(case.device), sizes_N.to(case.device), labels_N.to(case.device)


def steps_of(case: Case) -> dict[str, Callable[[], None]]:
    """The pieces of work to time, by name."""
    model = make_model(case)
    counts_NG, sizes_N, labels_N = make_batch(case)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    run: Any = torch.compile(model) if case.compiled else model
    cast = torch.autocast(case.device, dtype=getattr(torch, case.dtype), enabled=case.dtype != "float32")

    def inference() -> None:
        with torch.no_grad(), cast:
            run(counts_NG, sizes_N)

    def attention() -> None:
        layer: Any = model.layers[0]
        with torch.no_grad(), cast:
            n_reading = case.genes if model.prior_HQS is None else model.prior_HQS.shape[1]
            x_NQD = model.tokens(counts_NG, sizes_N)[:, :n_reading]
            layer.attention(x_NQD, model.config.n_keys, model.prior_HQS, layer.scale_H)

    def training() -> None:
        with cast:
            loss = torch.nn.functional.cross_entropy(run(counts_NG, sizes_N).logits_NC.float(), labels_N)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return {"inference": inference, "attention": attention, "training": training}


def seconds_of(work: Callable[[], None], device: str) -> float:
    """Wall-clock seconds of a piece of work."""
    if device == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def large_product(device: str, dtype: str) -> Callable[[], None]:
    """The multiplication of two square matrices of MATMUL_SIZE, as fast as this machine multiplies."""
    factor = torch.randn(MATMUL_SIZE, MATMUL_SIZE, device=device, dtype=getattr(torch, dtype))
    product_ = torch.empty_like(factor)

    def multiply() -> None:
        torch.mm(factor, factor, out=product_)

    return multiply


def peak_mib(case: Case, threads: int) -> float:
    """Memory that a training step adds, measured in a process of its own."""
    with get_context("spawn").Pool(1) as pool:
        return float(pool.apply(_peak_here, (case, threads)))


def _peak_here(case: Case, threads: int) -> float:
    torch.set_num_threads(threads)
    work = steps_of(case)["training"]
    if case.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        work()
        return torch.cuda.max_memory_allocated() / 2**20
    resident_pages = int(Path("/proc/self/statm").read_text().split()[1])
    work()
    return own_peak_mib() - resident_pages * resource.getpagesize() / 2**20


def measure(cases: list[Case], repeats: int, threads: int) -> Iterator[tuple[Case, Figures]]:
    """Figures of cases that differ in their mode, measured in turns."""
    steps = {case: steps_of(case) for case in cases}
    multiply, product_seconds = large_product(cases[0].device, cases[0].dtype), []
    seconds: dict[tuple[Case, str], list[float]] = {}
    for repeat in range(repeats + 1):
        product_seconds.append(seconds_of(multiply, cases[0].device))
        for case in cases:
            for name, work in steps[case].items():
                taken = seconds_of(work, case.device)
                if repeat:  # the first warms up
                    seconds.setdefault((case, name), []).append(taken)
    rate = 2 * MATMUL_SIZE**3 / statistics.median(product_seconds[1:]) / 1e9
    for case in cases:
        cells = {name: case.batch / statistics.median(seconds[case, name]) for name in steps[case]}
        gflops = matrix_flops(case) * cells["inference"] / 1e9
        yield (
            case,
            Figures(
                inference_cells_per_s=cells["inference"],
                training_cells_per_s=cells["training"],
                attention_cells_per_s=cells["attention"],
                inference_gflops=gflops,
                share_of_matmul=gflops / rate,
                matmul_gflops=rate,
                peak_mib=peak_mib(case, threads),
            ),
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--genes", type=int, nargs="+", default=[512, 1024, 2048, 4096])
    parser.add_argument("--regulators", type=int, nargs="+", default=[64, 128, 300])
    parser.add_argument("--modes", nargs="+", default=list(MODES), choices=MODES)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--depth", type=int, default=2)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--readout-heads", type=int, default=ModelConfig.readout_heads)
    parser.add_argument("--embedding", type=int, default=ModelConfig.embedding)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    sizes = (options.width, options.depth, options.heads, options.readout_heads, options.embedding)
    shared = (*sizes, options.batch, options.device, options.dtype)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    columns = ("genes", "regulators", "mode", "cells/s", "x dense", "training", "x dense", "of matmul", "MiB")
    print("".join(f"{column:>11}" for column in columns))
    seconds: dict[tuple[str, int], list[tuple[int, float]]] = {}
    with RESULTS.open("a") as stream:
        for genes, regulators in product(options.genes, options.regulators):
            cases = [Case(mode, genes, regulators, *shared, compiled=options.compile) for mode in options.modes]
            dense: Figures | None = None
            for case, figures in measure(cases, options.repeats, options.threads):
                dense = figures if case.mode == "dense" else dense
                seconds.setdefault((case.mode, regulators), []).append((genes, 1 / figures.inference_cells_per_s))
                stream.write(json.dumps(asdict(case) | asdict(figures)) + "\n")
                stream.flush()
                faster = [
                    "-" if dense is None else f"{own / other:.1f}"
                    for own, other in (
                        (figures.inference_cells_per_s, dense.inference_cells_per_s if dense else 1.0),
                        (figures.training_cells_per_s, dense.training_cells_per_s if dense else 1.0),
                    )
                ]
                row = (
                    genes,
                    regulators,
                    case.mode,
                    f"{figures.inference_cells_per_s:,.0f}",
                    faster[0],
                    f"{figures.training_cells_per_s:,.0f}",
                    faster[1],
                    f"{figures.share_of_matmul:.2f}",
                    f"{figures.peak_mib:,.0f}",
                )
                print("".join(f"{value!s:>11}" for value in row), flush=True)
    report_lines({name: fitted(points) for name, points in seconds.items() if len(points) > 1})


def report_lines(lines: dict[tuple[str, int], Line]) -> None:
    """Print how seconds a cell grow with genes, and draw it where three gene counts or more were measured."""
    for (mode, regulators), line in lines.items():
        print(f"{mode}, {regulators} regulators: {line}")
    if any(len(line.genes) > 2 for line in lines.values()):
        draw({f"{mode}, {regulators}": line for (mode, regulators), line in lines.items()}, PICTURE)
        print(f"picture: {PICTURE}")


if __name__ == "__main__":
    main()
