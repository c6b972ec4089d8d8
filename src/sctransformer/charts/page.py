"""A self-contained HTML page of Markdown and charts."""

import html
from collections.abc import Sequence

from markdown_it import MarkdownIt
from markupsafe import Markup

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;padding:0 1rem;color:#1b1b1b}"
    "table{border-collapse:collapse;margin:1rem 0;display:block;overflow-x:auto}"
    "td,th{border:1px solid #ccc;padding:.3rem .6rem;text-align:left}"
    "th,code,pre{background:#f3f3f3}code{padding:.1rem .3rem}pre{padding:1rem;overflow:auto}"
    "pre code{padding:0}h1,h2{line-height:1.2}figure{margin:1.5rem 0}img{max-width:100%}"
    "svg{width:100%;font:12px sans-serif}figcaption{color:#555;font-size:14px}"
)


def markdown_page(text: str, title: str, plots: Sequence[tuple[str, Markup]] = ()) -> str:
    """A page that loads nothing and runs nothing; HTML in the text is escaped.

    Args:
        text: in Markdown, with tables.
        title: of the page.
        plots: captions and plots, shown at the end.
    """
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n{body}{_figures(plots)}</body>\n</html>\n"
    )


def _figures(plots: Sequence[tuple[str, Markup]]) -> str:
    figures = [f"<figure>{plot}<figcaption>{html.escape(caption)}</figcaption></figure>\n" for caption, plot in plots]
    return "<h2>Plots</h2>\n" + "".join(figures) if figures else ""
