"""Charts of HTML pages as SVG: text in them can be searched, and no script or picture file is needed."""

from sctransformer.charts.matrices import colour_scale, confusion, heatmap
from sctransformer.charts.page import markdown_page
from sctransformer.charts.parts import BATCH, LIMIT, TRAINING
from sctransformer.charts.plots import among, curves, differences, histogram, intervals, paired_bars, trend

__all__ = [
    "BATCH",
    "LIMIT",
    "TRAINING",
    "among",
    "colour_scale",
    "confusion",
    "curves",
    "differences",
    "heatmap",
    "histogram",
    "intervals",
    "markdown_page",
    "paired_bars",
    "trend",
]
