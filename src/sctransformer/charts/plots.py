"""Bars, histograms, dots and lines."""

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from sctransformer.charts.parts import BATCH, LIMIT, SERIES, TRAINING, bar, cut, name_label, name_width, svg, text

ROW = 20
"""Height of a row of bars, in pixels."""


def histogram(edges: NDArray[np.float64], training_B: NDArray[np.integer], batch_B: NDArray[np.integer]) -> Markup:
    """Share of cells per bin: training cells filled, the batch as a line; bins at the ends without cells are left out.

    Args:
        edges: bin edges.
        training_B, batch_B: number of cells per bin.
    """
    width, height, left, bottom = 420, 170, 40, 22
    filled = np.flatnonzero(training_B + batch_B)
    first, last = (max(filled[0] - 1, 0), min(filled[-1] + 2, len(training_B))) if len(filled) else (0, len(training_B))
    shares = [counts_B[first:last] / max(counts_B.sum(), 1) for counts_B in (training_B, batch_B)]
    highest = max(float(np.max(shares)), 1e-9)
    x = left + (edges[first : last + 1] - edges[first]) / (edges[last] - edges[first]) * (width - left - 8)
    parts = []
    for share_B, style in zip(
        shares, (f'fill="{TRAINING}" fill-opacity=".45"', f'fill="none" stroke="{BATCH}" stroke-width="2"'), strict=True
    ):
        y_B = 8 + (1 - share_B / highest) * (height - bottom - 8)
        steps = "".join(f"L{x[b]:.1f} {y_B[b]:.1f}L{x[b + 1]:.1f} {y_B[b]:.1f}" for b in range(len(share_B)))
        parts.append(f'<path d="M{x[0]:.1f} {height - bottom}{steps}L{x[-1]:.1f} {height - bottom}" {style}/>')
    marks = np.linspace(0, len(x) - 1, 5).round().astype(int)
    for mark in marks:
        parts.append(text(x[mark], height - 6, f"{edges[first + mark]:.3g}", "middle"))
    parts += [text(left - 4, 16, f"{highest:.0%}", "end"), text(left - 4, height - bottom, "0", "end")]
    return svg(width, height, parts)


def paired_bars(names: Sequence[str], training: Sequence[float], batch: Sequence[float]) -> Markup:
    """Two horizontal bars per name, as shares: the training cells above the batch."""
    left, width = name_width(names), 720
    highest = max([*training, *batch, 1e-9])
    parts = []
    for row, (name, before, after) in enumerate(zip(names, training, batch, strict=True)):
        top = row * 2 * ROW
        parts.append(name_label(left - 6, top + 1.25 * ROW, name))
        for offset, share, colour in ((4, before, TRAINING), (ROW + 2, after, BATCH)):
            length = share / highest * (width - left - 60)
            parts.append(bar(left, top + offset, length, colour))
            parts.append(text(left + length + 4, top + offset + 12, f"{share:.1%}", "start"))
    return svg(width, len(names) * 2 * ROW + 6, parts)


def differences(names: Sequence[str], values: Sequence[float]) -> Markup:
    """One horizontal bar per name, to the right for an increase and to the left for a decrease."""
    left, width = name_width(names), 720
    lowest, highest = min([*values, 0.0]), max([*values, 0.0])
    scale = (width - left - 110) / max(highest - lowest, 1e-9)
    zero = left + 50 - lowest * scale
    parts = [f'<path d="M{zero:.1f} 0V{len(names) * ROW}" stroke="#444"/>']
    for row, (name, value) in enumerate(zip(names, values, strict=True)):
        top, end = row * ROW, zero + value * scale
        parts += [name_label(left - 6, top + 15, name), bar(min(zero, end), top + 3, abs(value) * scale, BATCH)]
        parts.append(text(end + (4 if value >= 0 else -4), top + 15, f"{value:+.2f}", "start" if value >= 0 else "end"))
    return svg(width, len(names) * ROW + 4, parts)


def among(value: float, others: Sequence[float], reference: float | None = None) -> Markup:
    """A value as a line among other values as dots, on one axis.

    Args:
        value: the line.
        others: the dots.
        reference: one more value, as a dashed line.
    """
    width, height, margin, middle = 420, 74, 24, 30
    known = [value, *others, *([] if reference is None else [reference])]
    lowest, highest = min(known), max(known)
    scale = (width - 2 * margin) / max(highest - lowest, 1e-12)

    def place(one: float) -> float:
        return margin + (one - lowest) * scale

    parts = [f'<path d="M{margin} {middle + 14}H{width - margin}" stroke="#bbb"/>']
    for index, one in enumerate(others):
        y = middle + 8 - 4 * (index % 5)  # so that equal values stay apart
        parts.append(f'<circle cx="{place(one):.1f}" cy="{y}" r="3" fill="{TRAINING}" fill-opacity=".6"/>')
    if reference is not None:
        x = place(reference)
        parts.append(f'<path d="M{x:.1f} 6V{middle + 14}" stroke="#444" stroke-dasharray="3 3"/>')
    x = place(value)
    parts.append(f'<path d="M{x:.1f} 6V{middle + 14}" stroke="{BATCH}" stroke-width="3"/>')
    parts += [text(margin, height - 14, f"{lowest:.3g}", "middle")]
    parts += [text(width - margin, height - 14, f"{highest:.3g}", "middle")]
    return svg(width, height, parts)


def trend(names: Sequence[str], values: Sequence[float | None], limits: Sequence[float | None]) -> Markup:
    """A value of each batch and its limit, the oldest batch left; values above the limit are red.

    Args:
        names: of the batches; the pointer shows them, and the first and last are on the axis.
        values, limits: None for a batch without this value.
    """
    width, height, left, bottom = 420, 150, 40, 22
    known = [one for one in (*values, *limits) if one is not None]
    highest = max([*known, 1e-9]) * 1.05

    def place(index: int, value: float) -> tuple[float, float]:
        return left + 8 + index * (width - left - 20) / max(len(names) - 1, 1), 8 + (1 - value / highest) * (
            height - bottom - 8
        )

    parts = []
    for series, style in ((limits, f'stroke="{LIMIT}" stroke-dasharray="3 3"'), (values, f'stroke="{BATCH}"')):
        points = " ".join(
            "{:.1f},{:.1f}".format(*place(index, one)) for index, one in enumerate(series) if one is not None
        )
        parts.append(f'<polyline points="{points}" fill="none" {style}/>')
    for index, (name, value, limit) in enumerate(zip(names, values, limits, strict=True)):
        if value is not None and limit is not None:
            x, y = place(index, value)
            title = f"<title>{escape(name)}: {value:.3g}, limit {limit:.3g}</title>"
            colour = LIMIT if value > limit else BATCH
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}">{title}</circle>')
    parts += [text(left - 4, 16, f"{highest:.2g}", "end"), text(left - 4, height - bottom, "0", "end")]
    parts.append(text(left, height - 6, cut(names[0], 24), "start"))
    if len(names) > 1:
        parts.append(text(width - 4, height - 6, cut(names[-1], 24), "end"))
    return svg(width, height, parts)


def curves(
    series: Mapping[str, Sequence[tuple[float, float]]], marks: Mapping[str, tuple[float, float]], axes: tuple[str, str]
) -> Markup:
    """Lines over the shares 0 to 1, with a marked point on each.

    Args:
        series: points by name; x is 0 to 1.
        marks: a point of the line of this name.
        axes: titles of the horizontal and the vertical axis.
    """
    width, height, left, bottom, up = 480, 290, 56, 40, 12
    highest = max([y for points in series.values() for _, y in points] + [0.01]) * 1.05

    def place(x: float, y: float) -> tuple[float, float]:
        return left + x * (width - left - 14), up + (1 - y / highest) * (height - bottom - up)

    parts = [f'<path d="M{left} {up}V{height - bottom}H{width - 14}" fill="none" stroke="#888"/>']
    for share in np.linspace(0, 1, 6):
        parts.append(text(place(share, 0)[0], height - bottom + 15, f"{share:.0%}", "middle"))
        y = place(0, share * highest)[1]
        parts += [text(left - 5, y + 4, f"{share * highest:.0%}", "end")]
        parts.append(f'<path d="M{left} {y:.1f}H{width - 14}" stroke="#eee"/>')
    parts.append(text((left + width) / 2, height - 6, axes[0], "middle"))
    turned = f'transform="translate(13 {(height - bottom + up) / 2}) rotate(-90)" text-anchor="middle"'
    parts.append(f"<text {turned}>{escape(axes[1])}</text>")
    dashes = ("", "7 3", "2 3")
    for number, (name, points) in enumerate(series.items()):
        colour, dash = SERIES[number % len(SERIES)], dashes[number % len(dashes)]
        line = " ".join("{:.1f},{:.1f}".format(*place(*point)) for point in points)
        style = f'fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"'
        parts.append(f'<polyline points="{line}" {style}/>')
        if name in marks:
            x, y = place(*marks[name])
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}"/>')
        key = up + 12 + 18 * number
        parts.append(f'<path d="M{left + 14} {key}h28" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>')
        parts.append(text(left + 48, key + 4, name, "start"))
    return svg(width, height, parts)


def intervals(rows: Sequence[tuple[str, float, float | None, float | None]], zero: bool = False) -> Markup:
    """A point with its interval per row.

    Args:
        rows: name, value, lower and upper end; None without an interval.
        zero: show the line of zero, for differences.
    """
    left, width, high = name_width([row[0] for row in rows]), 620, 26
    known = [one for row in rows for one in row[1:] if one is not None] + ([0.0] if zero else [])
    lowest, highest = min(known), max(known)
    margin = max((highest - lowest) * 0.08, 1e-9)
    scale = (width - left - 180) / (highest - lowest + 2 * margin)

    def place(value: float) -> float:
        return left + (value - lowest + margin) * scale

    parts = []
    if zero:
        parts.append(f'<path d="M{place(0):.1f} 0V{len(rows) * high}" stroke="#444" stroke-dasharray="3 3"/>')
    for number, (name, value, low, high_end) in enumerate(rows):
        y = number * high + 13
        parts.append(name_label(left - 6, y + 4, name))
        shown = f"{value:+.3f}" if zero else f"{value:.3f}"
        if low is not None and high_end is not None:
            parts.append(f'<path d="M{place(low):.1f} {y}H{place(high_end):.1f}" stroke="{BATCH}" stroke-width="3"/>')
            shown += f" ({low:+.3f} to {high_end:+.3f})" if zero else f" ({low:.3f} to {high_end:.3f})"
        parts.append(f'<circle cx="{place(value):.1f}" cy="{y}" r="5" fill="{BATCH}"/>')
        parts.append(text(width - 172, y + 4, shown, "start"))
    return svg(width, len(rows) * high + 4, parts)
