"""The picture of a network's coverage: what share of it and of the genes is of use, and how degrees are distributed."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib
import pandas as pd

from sctransformer.files import atomic_write

matplotlib.use("Agg")  # no screen is needed
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

DPI = 120
SHOWN = 25
"""Regulators named, those with most targets."""
LINEAR_UP_TO = 10
"""Degrees up to this stand apart; larger ones are drawn on a logarithmic scale."""


def plot_coverage(
    figures: Mapping[str, float], distribution: pd.DataFrame, regulators: pd.DataFrame, target: Path
) -> None:
    """Draw three panels: shares, degree distribution, and the regulators with most targets.

    Args:
        figures: see `coverage`.
        distribution: see `degree_distribution`.
        regulators: see `degrees`.
        target: the PNG to write.
    """
    figure, (shares, spread, largest) = plt.subplots(
        1, 3, figsize=(13, 4.8), width_ratios=(1.1, 1.2, 1), layout="constrained"
    )
    _shares(shares, figures)
    _spread(spread, distribution)
    _largest(largest, regulators)
    with atomic_write(target) as temporary:
        figure.savefig(temporary, dpi=DPI, format="png")
    plt.close(figure)


def _shares(axes: Axes, figures: Mapping[str, float]) -> None:
    parts = {
        "genes with\na regulator": (figures["genes_with_regulator"], figures["genes"]),
        "regulators\nkept": (figures["regulators_kept"], figures["regulators"]),
        "edges\nkept": (figures["edges_kept"], figures["edges"]),
    }
    for row, (there, whole) in enumerate(parts.values()):
        share = there / whole if whole else 0.0
        axes.barh(row, 1.0, height=0.4, color="0.92")
        axes.barh(row, share, height=0.4, color="#4c72b0")
        axes.text(0.0, row + 0.32, f"{there:,} of {whole:,} ({share:.1%})", va="center", fontsize=9)
    axes.set_yticks(range(len(parts)), list(parts))
    axes.set(xlim=(0, 1), ylim=(len(parts) - 0.5, -0.5), xticks=[], title="of use among these genes")
    axes.tick_params(axis="y", length=0)
    axes.spines[:].set_visible(False)


def _spread(axes: Axes, distribution: pd.DataFrame) -> None:
    for column, label in (("genes_with_in_degree", "regulators"), ("genes_with_out_degree", "targets")):
        there = distribution[distribution[column] > 0]
        axes.plot(there["degree"], there[column], "o", markersize=4, alpha=0.8, label=f"that have so many {label}")
    axes.set_xscale("symlog", linthresh=LINEAR_UP_TO)
    axes.set_yscale("log")
    axes.set_xlim(left=-0.5)
    axes.set(xlabel="regulators or targets of a gene", ylabel="genes", title="degree distribution")
    axes.legend(frameon=False)


def _largest(axes: Axes, regulators: pd.DataFrame) -> None:
    shown = regulators.head(SHOWN)
    if shown.empty:
        axes.set_yticks([])
    axes.barh(shown["regulator"], shown["targets"], color="#4c72b0")
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=7)
    title = f"the {len(shown)} regulators with most targets" if len(shown) < len(regulators) else "regulators"
    axes.set(xlabel="targets among these genes", title=title)
