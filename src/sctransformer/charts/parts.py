"""The parts that charts are made of."""

from collections.abc import Sequence

from markupsafe import Markup, escape

TRAINING, BATCH, LIMIT = "#9a9a9a", "#1f6fb2", "#b00020"
SERIES = (BATCH, "#e08214", "#4d4d4d")
"""Colours of lines, one after another."""
LETTER = 7.4
"""Width of a letter of the labels, in pixels."""
LONGEST = 40
"""Longer names on an axis are cut; the pointer shows the whole name."""


def svg(width: float, height: float, parts: Sequence[str]) -> Markup:
    """A chart of this size, which shrinks with the page."""
    inner = "".join(parts)
    return Markup(f'<svg viewBox="0 0 {width:g} {height:g}" style="max-width:{width:g}px">{inner}</svg>')


def text(x: float, y: float, shown: str, anchor: str) -> str:
    """A text; `anchor` is start, middle or end."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(shown)}</text>'


def name_label(x: float, y: float, name: str) -> str:
    """A name that ends at this place."""
    return f"<g><title>{escape(name)}</title>{text(x, y, cut(name, LONGEST), 'end')}</g>"


def bar(x: float, y: float, length: float, colour: str) -> str:
    """A horizontal bar."""
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(length, 0.5):.1f}" height="14" fill="{colour}"/>'


def name_width(names: Sequence[str]) -> float:
    """Width of the longest name, in pixels."""
    return 16 + LETTER * max((min(len(name), LONGEST) for name in names), default=0)


def cut(name: str, longest: int) -> str:
    """A name, cut if it is longer."""
    return name if len(name) <= longest else f"{name[: longest - 1]}…"
