"""Charts of HTML pages as SVG: text in them can be searched, and no script or picture file is needed."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

TRAINING, BATCH, LIMIT = "#9a9a9a", "#1f6fb2", "#b00020"
_ROW = 20
"""Height of a row of bars, in pixels."""
_LETTER = 6.6
"""Width of a letter of the labels, in pixels."""
_LONGEST = 34
"""Longer names on an axis are cut; the pointer shows the whole name."""


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
        parts.append(_text(x[mark], height - 6, f"{edges[first + mark]:.3g}", "middle"))
    parts += [_text(left - 4, 16, f"{highest:.0%}", "end"), _text(left - 4, height - bottom, "0", "end")]
    return _svg(width, height, parts)


def paired_bars(names: Sequence[str], training: Sequence[float], batch: Sequence[float]) -> Markup:
    """Two horizontal bars per name, as shares: the training cells above the batch."""
    left, width = _name_width(names), 720
    highest = max([*training, *batch, 1e-9])
    parts = []
    for row, (name, before, after) in enumerate(zip(names, training, batch, strict=True)):
        top = row * 2 * _ROW
        parts.append(_name(left - 6, top + 1.25 * _ROW, name))
        for offset, share, colour in ((4, before, TRAINING), (_ROW + 2, after, BATCH)):
            length = share / highest * (width - left - 60)
            parts.append(_bar(left, top + offset, length, colour))
            parts.append(_text(left + length + 4, top + offset + 12, f"{share:.1%}", "start"))
    return _svg(width, len(names) * 2 * _ROW + 6, parts)


def differences(names: Sequence[str], values: Sequence[float]) -> Markup:
    """One horizontal bar per name, to the right for an increase and to the left for a decrease."""
    left, width = _name_width(names), 720
    lowest, highest = min([*values, 0.0]), max([*values, 0.0])
    scale = (width - left - 110) / max(highest - lowest, 1e-9)
    zero = left + 50 - lowest * scale
    parts = [f'<path d="M{zero:.1f} 0V{len(names) * _ROW}" stroke="#444"/>']
    for row, (name, value) in enumerate(zip(names, values, strict=True)):
        top, end = row * _ROW, zero + value * scale
        parts += [_name(left - 6, top + 15, name), _bar(min(zero, end), top + 3, abs(value) * scale, BATCH)]
        parts.append(
            _text(end + (4 if value >= 0 else -4), top + 15, f"{value:+.2f}", "start" if value >= 0 else "end")
        )
    return _svg(width, len(names) * _ROW + 4, parts)


def heatmap(
    rows: Sequence[str], columns: Sequence[str], values: NDArray[np.floating], marked: NDArray[np.bool_], limit: float
) -> Markup:
    """Squares coloured from blue (negative) over white to red (positive); marked ones have a border.

    Args:
        rows, columns: names.
        values: one per row and column; NaN leaves the square out. The pointer shows the value.
        marked: squares with a border.
        limit: absolute value from which on the colour does not change.
    """
    size, left = _ROW, _name_width(rows)
    top = _name_width(columns)
    parts = []
    for column, name in enumerate(columns):
        x = left + column * size + 14
        parts.append(
            f'<g transform="translate({x:.1f} {top - 6:.1f}) rotate(-90)">'
            f"<title>{escape(name)}</title>{_text(0, 0, _cut(name, _LONGEST), 'start')}</g>"
        )
    for row, label in enumerate(rows):
        parts.append(_name(left - 6, top + row * size + 15, label))
        for column, name in enumerate(columns):
            value = float(values[row, column])
            if not np.isfinite(value):
                continue
            border = ' stroke="#222" stroke-width="1.5"' if marked[row, column] else ""
            parts.append(
                f'<rect x="{left + column * size + 1:.1f}" y="{top + row * size + 1:.1f}" width="{size - 2}" '
                f'height="{size - 2}" fill="{_diverging(value / limit)}"{border}>'
                f"<title>{escape(name)} in {escape(label)}: {value:+.2f}</title></rect>"
            )
    return _svg(left + len(columns) * size + 6, top + len(rows) * size + 6, parts)


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
    parts += [_text(margin, height - 14, f"{lowest:.3g}", "middle")]
    parts += [_text(width - margin, height - 14, f"{highest:.3g}", "middle")]
    return _svg(width, height, parts)


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
    parts += [_text(left - 4, 16, f"{highest:.2g}", "end"), _text(left - 4, height - bottom, "0", "end")]
    parts.append(_text(left, height - 6, _cut(names[0], 24), "start"))
    if len(names) > 1:
        parts.append(_text(width - 4, height - 6, _cut(names[-1], 24), "end"))
    return _svg(width, height, parts)


def _diverging(value: float) -> str:
    """Colour of a value from -1 (blue) over 0 (white) to 1 (red)."""
    red, blue = np.array([176, 0, 32]), np.array([31, 111, 178])
    strength = min(abs(value), 1.0)
    mixed = np.round(255 + (np.where(value > 0, red, blue) - 255) * strength).astype(int)
    return "#" + "".join(f"{part:02x}" for part in mixed)


def _svg(width: float, height: float, parts: Sequence[str]) -> Markup:
    inner = "".join(parts)
    return Markup(f'<svg viewBox="0 0 {width:g} {height:g}" style="max-width:{width:g}px">{inner}</svg>')


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _name(x: float, y: float, name: str) -> str:
    text = _text(x, y, _cut(name, _LONGEST), "end")
    return f"<g><title>{escape(name)}</title>{text}</g>"


def _bar(x: float, y: float, length: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(length, 0.5):.1f}" height="14" fill="{colour}"/>'


def _name_width(names: Sequence[str]) -> float:
    return 16 + _LETTER * max((min(len(name), _LONGEST) for name in names), default=0)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
