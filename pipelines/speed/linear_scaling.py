"""How cost grows with genes: a line through seconds a cell, and its picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Line:
    """Seconds a cell at some numbers of genes, and the line of least squares through them."""

    genes: tuple[int, ...]
    seconds: tuple[float, ...]
    at_none: float
    """Seconds a cell where the line meets no genes."""
    a_gene: float
    """Seconds a gene and cell."""
    r2: float
    """Share of the variance of the seconds that the line explains."""

    def __str__(self) -> str:
        return f"{self.at_none * 1e3:.3f} ms + {self.a_gene * 1e6:.3f} us a gene and cell, R^2 {self.r2:.4f}"


def fitted(points: Sequence[tuple[int, float]]) -> Line:
    """The line through two or more (genes, seconds a cell)."""
    genes, seconds = (np.array(values, dtype=float) for values in zip(*points, strict=True))
    a_gene, at_none = np.polyfit(genes, seconds, 1)
    rest = seconds - (at_none + a_gene * genes)
    r2 = 1.0 - float(rest @ rest) / max(float(((seconds - seconds.mean()) ** 2).sum()), 1e-30)
    return Line(tuple(map(int, genes)), tuple(map(float, seconds)), float(at_none), float(a_gene), r2)


def draw(lines: Mapping[str, Line], target: Path) -> None:
    """Points and lines by name, as PNG; both axes begin at zero."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for name, line in lines.items():
        label = f"{name}: R² {line.r2:.3f}"
        (drawn,) = axes.plot(line.genes, np.array(line.seconds) * 1e3, "o", label=label)
        ends = np.array([0, max(line.genes)])
        axes.plot(ends, (line.at_none + line.a_gene * ends) * 1e3, "-", color=drawn.get_color(), linewidth=1)
    axes.set(xlabel="genes", ylabel="ms a cell, inference", xlim=(0, None), ylim=(0, None))
    axes.legend(title="mode, regulators", fontsize="small")
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=150)
    plt.close(figure)
