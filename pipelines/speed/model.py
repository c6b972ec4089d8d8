"""Speed of the model: dense attention compared with genes x regulators, as ratios within one run.

    python -m pipelines.speed.model                                       a table, and JSON lines in outputs/speed
    python -m pipelines.speed.model --genes 2048 --regulators 128 --modes dense mask --width 64 --depth 2
    python -m pipelines.speed.model --device cuda --dtype bfloat16 --compile --genes 2048 --regulators 256 --width 256 \
        --depth 6

Needs only torch and numpy, and matplotlib for the plot. In every repeat, each mode and one large matrix product run
once on the same threads; results are medians over the repeats. On a shared machine trust the ratios, not the times.
With two or more gene counts a line is fitted to seconds over genes, for each mode and number of regulators; with three
or more it is plotted (outputs/speed).
"""

import argparse
import json
import resource
import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipelines.speed.isolated import run_isolated
from pipelines.speed.linear_scaling import Line, fit_line, plot_lines
from pipelines.speed.timing import Work, time_in_turns
from sctransformer.model import ModelConfig, PriorBiasedTransformer
from sctransformer.prior.bias import mask_bias
from sctransformer.training.memory import peak_resident_mib

RESULTS = Path("outputs/speed/model.jsonl")
PLOT = Path("outputs/speed/genes.png")
MODES = ("dense", "regulators", "bias", "mask")
DENSITY = 0.03
"""Share of regulator x gene pairs that are edges; CollecTRI has 0.014 to 0.030 on panels of 1,024 genes."""
REGULATED_SHARE = 0.57
"""Share of the genes that have a regulator; they come first, as in a panel. CollecTRI: 0.26 (Kang), 0.56 (MUDAN)."""
CLASSES = 10
MATMUL_SIZE = 2048


@dataclass(frozen=True)
class Case:
    """A model on a device."""

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
class Measurement:
    """The results for a case."""

    inference_cells_per_s: float
    training_cells_per_s: float
    attention_cells_per_s: float
    """Forward pass of the attention of one regulation layer."""
    inference_gflops: float
    """Floating-point operations of matrix products per second in a forward pass of the whole model, in billions."""
    share_of_matmul: float
    """`inference_gflops` as a share of `matmul_gflops`."""
    matmul_gflops: float
    """Rate of one large matrix product in the same run, on the same threads."""
    peak_mib: float
    """Memory that a training step adds to the process (CPU) or allocates (GPU)."""


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
    torch.manual_seed(0)  # training.build would do this too, but needs pandas and safetensors
    return PriorBiasedTransformer(config, prior_HGS).to(case.device)


def n_queries(case: Case) -> int:
    """Number of genes that go through the layers: in `mask` mode those with a regulator."""
    return max(case.regulators, round(case.genes * REGULATED_SHARE)) if case.mode == "mask" else case.genes


def matrix_flops(case: Case) -> float:
    """Floating-point operations of the matrix products of a forward pass, per cell.

    Layer: query and output projections of the genes, key and value projections of the keys, scores and weighted sum,
    feed-forward block. Readout: score and weighted sum per head, scores times their weights, projection, feed-forward
    block. Then the classifier. In `mask` mode genes without a regulator skip the layers.
    """
    genes, width, heads, embedding = case.genes, case.width, case.readout_heads, case.embedding
    keys = case.genes if case.mode == "dense" else case.regulators
    queries = n_queries(case)
    layer = 12 * queries * width * width + 4 * keys * width * width + 4 * queries * (keys + 1) * width
    readout = 4 * heads * genes * width + 2 * genes * embedding + 2 * heads * width * embedding + 4 * embedding**2
    return float(case.depth * layer + readout + 2 * embedding * CLASSES)


def make_batch(case: Case) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Counts, library sizes and labels of random cells; nine of ten counts are zero."""
    generator = torch.Generator().manual_seed(0)
    counts_NG = torch.poisson(torch.full((case.batch, case.genes), 0.1), generator=generator)
    labels_N = torch.randint(CLASSES, (case.batch,), generator=generator)
    sizes_N = torch.full((case.batch,), 3000.0)
    return counts_NG.to(case.device), sizes_N.to(case.device), labels_N.to(case.device)


def works_of(case: Case) -> dict[str, Work]:
    """What is timed for a case, by name."""
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
            n_genes = case.genes if model.prior_HQS is None else model.prior_HQS.shape[1]
            x_NQD = model.tokens(counts_NG, sizes_N)[:, :n_genes]
            layer.attention(x_NQD, model.config.n_keys, model.prior_HQS, layer.scale_H)

    def training() -> None:
        with cast:
            loss = torch.nn.functional.cross_entropy(run(counts_NG, sizes_N).logits_NC.float(), labels_N)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return {"inference": inference, "attention": attention, "training": training}


def waiter(device: str) -> Work:
    """A function that waits for work on the device."""
    return torch.cuda.synchronize if device == "cuda" else lambda: None


def matrix_product(device: str, dtype: str) -> Work:
    """The product of two square matrices of size MATMUL_SIZE, as a measure of the machine."""
    factor = torch.randn(MATMUL_SIZE, MATMUL_SIZE, device=device, dtype=getattr(torch, dtype))
    product_ = torch.empty_like(factor)

    def multiply() -> None:
        torch.mm(factor, factor, out=product_)

    return multiply


def training_memory_mib(case: Case, threads: int) -> float:
    """Memory that a training step adds; to be called in a new process."""
    torch.set_num_threads(threads)
    step = works_of(case)["training"]
    if case.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        step()
        return torch.cuda.max_memory_allocated() / 2**20
    resident_pages = int(Path("/proc/self/statm").read_text().split()[1])
    step()
    return peak_resident_mib() - resident_pages * resource.getpagesize() / 2**20


def measure(cases: list[Case], repeats: int, threads: int) -> Iterator[tuple[Case, Measurement]]:
    """Measure cases that differ in their mode, in turns."""
    device, dtype = cases[0].device, cases[0].dtype
    works: dict[tuple[Case | None, str], Work] = {(None, "product"): matrix_product(device, dtype)}
    for case in cases:
        works |= {(case, name): work for name, work in works_of(case).items()}
    times = time_in_turns(works, repeats, wait=waiter(device))
    seconds = {key: statistics.median(values) for key, values in times.items()}
    rate = 2 * MATMUL_SIZE**3 / seconds[None, "product"] / 1e9
    for case in cases:
        gflops = matrix_flops(case) * case.batch / seconds[case, "inference"] / 1e9
        peak, _ = run_isolated(training_memory_mib, case, threads)
        yield (
            case,
            Measurement(
                inference_cells_per_s=case.batch / seconds[case, "inference"],
                training_cells_per_s=case.batch / seconds[case, "training"],
                attention_cells_per_s=case.batch / seconds[case, "attention"],
                inference_gflops=gflops,
                share_of_matmul=gflops / rate,
                matmul_gflops=rate,
                peak_mib=peak,
            ),
        )


def parse_options() -> argparse.Namespace:
    """The options of the command line."""
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
    return parser.parse_args()


def row(case: Case, measured: Measurement, dense: Measurement | None) -> str:
    """A row of the table; `dense` is the measurement of the dense mode with the same sizes, once it is known."""
    ratios = ["-", "-"]
    if dense is not None:
        ratios = [
            f"{measured.inference_cells_per_s / dense.inference_cells_per_s:.1f}",
            f"{measured.training_cells_per_s / dense.training_cells_per_s:.1f}",
        ]
    values = (
        case.genes,
        case.regulators,
        case.mode,
        f"{measured.inference_cells_per_s:,.0f}",
        ratios[0],
        f"{measured.training_cells_per_s:,.0f}",
        ratios[1],
        f"{measured.share_of_matmul:.2f}",
        f"{measured.peak_mib:,.0f}",
    )
    return "".join(f"{value!s:>11}" for value in values)


def main() -> None:
    """Measure and print."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    sizes = (options.width, options.depth, options.heads, options.readout_heads, options.embedding)
    shared = (*sizes, options.batch, options.device, options.dtype)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    columns = ("genes", "regulators", "mode", "cells/s", "x dense", "training", "x dense", "of matmul", "MiB")
    print("".join(f"{column:>11}" for column in columns))
    points: dict[tuple[str, int], list[tuple[int, float]]] = {}
    with RESULTS.open("a") as stream:
        for genes, regulators in product(options.genes, options.regulators):
            cases = [Case(mode, genes, regulators, *shared, compiled=options.compile) for mode in options.modes]
            dense: Measurement | None = None
            for case, measured in measure(cases, options.repeats, options.threads):
                dense = measured if case.mode == "dense" else dense
                points.setdefault((case.mode, regulators), []).append((genes, 1 / measured.inference_cells_per_s))
                stream.write(json.dumps(asdict(case) | asdict(measured)) + "\n")
                stream.flush()
                print(row(case, measured, dense), flush=True)
    report_lines({name: fit_line(pairs) for name, pairs in points.items() if len(pairs) > 1})


def report_lines(lines: dict[tuple[str, int], Line]) -> None:
    """Print how seconds per cell grow with genes, and plot it if at least three gene counts were measured."""
    for (mode, regulators), line in lines.items():
        print(f"{mode}, {regulators} regulators: {line}")
    if any(len(line.genes) > 2 for line in lines.values()):
        plot_lines({f"{mode}, {regulators}": line for (mode, regulators), line in lines.items()}, PLOT)
        print(f"plot: {PLOT}")


if __name__ == "__main__":
    main()
