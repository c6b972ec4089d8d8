"""Plot of a network's coverage: fractions kept, degree distribution, and the largest regulators."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib
import pandas as pd

from sctransformer.files import atomic_write

matplotlib.use("Agg")  # no display is needed
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

DPI = 120
LARGEST = 25
"""Regulators plotted, those with most targets."""
LINEAR_UP_TO = 10
"""Degrees up to this are drawn on a linear scale, larger ones on a logarithmic scale."""


def plot_coverage(
    metrics: Mapping[str, float], distribution: pd.DataFrame, regulators: pd.DataFrame, target: Path
) -> None:
    """Write a plot of three panels: fractions kept, degree distribution, and the regulators with most targets.

    Args:
        metrics: see `coverage`.
        distribution: see `degree_distribution`.
        regulators: see `degrees`.
        target: the PNG file to write.
    """
    figure, (fractions, spread, largest) = plt.subplots(
        1, 3, figsize=(13, 4.8), width_ratios=(1.1, 1.2, 1), layout="constrained"
    )
    _plot_fractions(fractions, metrics)
    _plot_degrees(spread, distribution)
    _plot_largest(largest, regulators)
    with atomic_write(target) as temporary:
        figure.savefig(temporary, dpi=DPI, format="png")
    plt.close(figure)


def _plot_fractions(axes: Axes, metrics: Mapping[str, float]) -> None:
    parts = {
        "genes with\na regulator": (metrics["genes_with_regulator"], metrics["genes"]),
        "regulators\nkept": (metrics["regulators_kept"], metrics["regulators"]),
        "edges\nkept": (metrics["edges_kept"], metrics["edges"]),
    }
    for row, (kept, total) in enumerate(parts.values()):
        fraction = kept / total if total else 0.0
        axes.barh(row, 1.0, height=0.4, color="0.92")
        axes.barh(row, fraction, height=0.4, color="#4c72b0")
        axes.text(0.0, row + 0.32, f"{kept:,} of {total:,} ({fraction:.1%})", va="center", fontsize=9)
    axes.set_yticks(range(len(parts)), list(parts))
    axes.set(xlim=(0, 1), ylim=(len(parts) - 0.5, -0.5), xticks=[], title="coverage of these genes")
    axes.tick_params(axis="y", length=0)
    axes.spines[:].set_visible(False)


def _plot_degrees(axes: Axes, distribution: pd.DataFrame) -> None:
    for column, label in (("genes_with_in_degree", "regulators"), ("genes_with_out_degree", "targets")):
        nonzero = distribution[distribution[column] > 0]
        axes.plot(nonzero["degree"], nonzero[column], "o", markersize=4, alpha=0.8, label=f"by number of {label}")
    axes.set_xscale("symlog", linthresh=LINEAR_UP_TO)
    axes.set_yscale("log")
    axes.set_xlim(left=-0.5)
    axes.set(xlabel="regulators or targets per gene", ylabel="genes", title="degree distribution")
    axes.legend(frameon=False)


def _plot_largest(axes: Axes, regulators: pd.DataFrame) -> None:
    shown = regulators.head(LARGEST)
    if shown.empty:
        axes.set_yticks([])
    axes.barh(shown["regulator"], shown["targets"], color="#4c72b0")
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=7)
    title = f"{len(shown)} regulators with most targets" if len(shown) < len(regulators) else "regulators"
    axes.set(xlabel="targets among these genes", title=title)
