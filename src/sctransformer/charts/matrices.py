"""Matrices: mean activities by cell type, and confusion matrices; and the colours of values."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from sctransformer.charts.parts import LETTER, LONGEST, cut, name_label, name_width, svg

_RED_BLUE = ("#2166ac", "#67a9cf", "#d1e5f0", "#f7f7f7", "#fddbc7", "#ef8a62", "#b2182b")
_VIRIDIS = ("#440154", "#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39", "#fde725")


def colour_scale(diverging: bool, steps: int = 256) -> list[str]:
    """Colours from low to high that colour-blind people can tell apart: blue, white and red, or viridis.

    ColorBrewer's RdBu (Harrower and Brewer 2003) and matplotlib's viridis (Smith and van der Walt 2015).

    Args:
        diverging: blue for negative values and red for positive ones; else dark for low and light for high ones.
        steps: number of colours.
    """
    anchors = np.array(
        [[int(one[at : at + 2], 16) for at in (1, 3, 5)] for one in (_RED_BLUE if diverging else _VIRIDIS)]
    )
    place = np.linspace(0, len(anchors) - 1, steps)
    mixed = np.stack([np.interp(place, np.arange(len(anchors)), anchors[:, part]) for part in range(3)], axis=1)
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in mixed.round().astype(int)]


_DIVERGING = colour_scale(True, 201)
_WIDE, _HIGH, _GAP = 24, 22, 18
"""Width and height of a square, and of the gap before hatched columns, in pixels."""
_LONGEST_COLUMN = 12
_HATCH = (
    '<defs><pattern id="hatch" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect width="5" height="5" fill="#fff" fill-opacity=".55"/><path d="M0 0V5" stroke="#555" stroke-width="1.4"/>'
    "</pattern></defs>"
)


def heatmap(
    rows: Sequence[str],
    columns: Sequence[str],
    values_RC: NDArray[np.floating],
    *,
    limit: float,
    marked: NDArray[np.bool_] | None = None,
    hatched: Sequence[bool] | None = None,
    links: Sequence[str] | None = None,
) -> Markup:
    """Signed values as colours, blue below and red above zero; large ones have their sign in the square.

    Args:
        rows, columns: names.
        values_RC: rows x columns (here R: rows, C: columns); a NaN leaves the square white. The pointer shows values.
        limit: absolute value from which on the colour does not change.
        marked: squares with a border; None: none.
        hatched: whether a column is hatched; such columns come last, behind a gap. None: none.
        links: where each column leads, by pointer or keyboard; None: nowhere.
    """
    hatched = [False] * len(columns) if hatched is None else hatched
    first_hatched = sum(not one for one in hatched)
    gap = _GAP if 0 < first_hatched < len(columns) else 0
    left, top = name_width(rows), 14 + LETTER * max((min(len(name), _LONGEST_COLUMN) for name in columns), default=0)
    parts = [_HATCH] if any(hatched) else []
    parts += [name_label(left - 6, top + row * _HIGH + 16, name) for row, name in enumerate(rows)]
    for column, name in enumerate(columns):
        x = left + column * _WIDE + (gap if column >= first_hatched else 0)
        label = f'<text transform="translate({x + 16:.1f} {top - 5:.1f}) rotate(-90)">'
        own = f"<title>{escape(name)}</title>{label}{escape(cut(name, _LONGEST_COLUMN))}</text>"
        for row, value in enumerate(values_RC[:, column].tolist()):
            border = marked is not None and bool(marked[row, column])
            own += _square((x, top + row * _HIGH), value, limit, f"{name} in {rows[row]}", border)
        if hatched[column]:
            size = f'width="{_WIDE - 1}" height="{len(rows) * _HIGH - 1}"'
            own += f'<rect class="hatch" x="{x:.1f}" y="{top:.1f}" {size} fill="url(#hatch)"/>'
        parts.append(f"<g>{own}</g>" if links is None else f'<a href="{escape(links[column])}">{own}</a>')
    return svg(left + len(columns) * _WIDE + gap + 2, top + len(rows) * _HIGH + 2, parts)


def _square(place: tuple[float, float], value: float, limit: float, name: str, border: bool) -> str:
    """A square of a heatmap, with its sign if the value is large."""
    x, y = place
    is_known = bool(np.isfinite(value))
    shown = f"{value:+.2f}" if is_known else "no value"
    share = float(np.clip((value / limit + 1) / 2, 0, 1)) if is_known else 0.5
    colour = _DIVERGING[round(share * (len(_DIVERGING) - 1))] if is_known else "#fff"
    line = ' stroke="#222" stroke-width="1.5"' if border else ""
    square = f'<rect x="{x:.1f}" y="{y:.1f}" width="{_WIDE - 1}" height="{_HIGH - 1}" fill="{colour}"{line}>'
    square += f"<title>{escape(name)}: {shown}</title></rect>"
    if not is_known or abs(value) < limit / 4:
        return square
    ink, sign = "#fff" if abs(value) > limit * 0.7 else "#222", "+" if value > 0 else "\u2212"
    where = f'x="{x + 11.5:.1f}" y="{y + 15:.1f}" text-anchor="middle"'
    return f'{square}<text class="sign" {where} fill="{ink}">{sign}</text>'


def confusion(names: Sequence[str], counts_CC: NDArray[np.integer]) -> Markup:
    """Number of cells by true (row) and predicted (column) type; colours are shares of the true type."""
    size, left = 34, name_width(names)
    top = 0.72 * left + 14
    colours = ["#ffffff", *colour_scale(False, 101)[::-1]]
    parts = []
    for row, name in enumerate(names):
        parts.append(name_label(left - 6, top + row * size + 21, name))
        place = f"translate({left + row * size + 21:.1f} {top - 6:.1f}) rotate(-45)"
        parts.append(
            f'<g><title>{escape(name)}</title><text transform="{place}">{escape(cut(name, LONGEST))}</text></g>'
        )
        total = max(int(counts_CC[row].sum()), 1)
        for column, count in enumerate(counts_CC[row]):
            x, y, share = left + column * size, top + row * size, int(count) / total
            title = f"<title>{escape(name)}, predicted {escape(names[column])}: {count} of {total} cells</title>"
            colour = colours[1 + round(100 * share)] if count else colours[0]
            parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{size - 1}" height="{size - 1}" fill="{colour}"')
            parts.append(f' stroke="{"#222" if row == column else "#ddd"}">{title}</rect>')
            if count:
                ink = "#fff" if share > 0.45 else "#222"
                parts.append(
                    f'<text x="{x + 16.5:.1f}" y="{y + 21:.1f}" text-anchor="middle" fill="{ink}">{count}</text>'
                )
    return svg(left + len(names) * size + 0.5 * left, top + len(names) * size + 4, parts)
