"""How cost grows with the number of genes: a straight line through seconds per cell, and its plot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Line:
    """Seconds per cell at several numbers of genes, and the least-squares line through them."""

    genes: tuple[int, ...]
    seconds: tuple[float, ...]
    intercept: float
    """Seconds per cell at zero genes."""
    slope: float
    """Seconds per gene and cell."""
    r2: float
    """Coefficient of determination."""

    def __str__(self) -> str:
        return f"{self.intercept * 1e3:.3f} ms + {self.slope * 1e6:.3f} us per gene and cell, R^2 {self.r2:.4f}"


def fit_line(points: Sequence[tuple[int, float]]) -> Line:
    """The least-squares line through two or more points (genes, seconds per cell)."""
    genes, seconds = (np.array(values, dtype=float) for values in zip(*points, strict=True))
    slope, intercept = np.polyfit(genes, seconds, 1)
    residuals = seconds - (intercept + slope * genes)
    r2 = 1.0 - float(residuals @ residuals) / max(float(((seconds - seconds.mean()) ** 2).sum()), 1e-30)
    return Line(tuple(map(int, genes)), tuple(map(float, seconds)), float(intercept), float(slope), r2)


def plot_lines(lines: Mapping[str, Line], target: Path) -> None:
    """Plot points and lines by name, as PNG; both axes start at zero."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for name, line in lines.items():
        (points,) = axes.plot(line.genes, np.array(line.seconds) * 1e3, "o", label=f"{name}: R² {line.r2:.3f}")
        ends = np.array([0, max(line.genes)])
        axes.plot(ends, (line.intercept + line.slope * ends) * 1e3, "-", color=points.get_color(), linewidth=1)
    axes.set(xlabel="genes", ylabel="ms per cell, inference", xlim=(0, None), ylim=(0, None))
    axes.legend(title="mode, regulators", fontsize="small")
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=150)
    plt.close(figure)
