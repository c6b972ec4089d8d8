"""The first page of Data Docs: all expectations with their file and result, in one file that works offline.

The first page of Great Expectations needs scripts from the web and does not name the files; it is kept beside.
"""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from sctransformer.data.validation.report import Report

GENERATED = "great_expectations.html"
"""New name of the first page of Great Expectations."""
TEMPLATE = Path(str(files("sctransformer.data.validation") / "summary.html.j2"))


def write_summary(report: Report, folder: Path) -> None:
    """Replace the first page of a folder of Data Docs by a summary.

    Args:
        report: the results.
        folder: with `index.html` and `validations/<suite>/...` as Great Expectations writes them.
    """
    index = folder / "index.html"
    index.rename(index.with_name(GENERATED))
    pages = {page.parts[len(folder.parts) + 1]: page for page in sorted(folder.glob("validations/*/**/*.html"))}
    by_suite: dict[str, list[Mapping[str, Any]]] = {}
    for record in sorted(report.records, key=lambda record: (record["success"], record["severity"] != "critical")):
        by_suite.setdefault(record["suite"], []).append(record)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    text = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        report=report,
        by_suite=by_suite,
        pages={suite: page.relative_to(folder).as_posix() for suite, page in pages.items()},
        generated=GENERATED,
    )
    index.write_text(text, encoding="utf-8")
