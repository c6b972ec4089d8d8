"""Renders a report as one HTML file that works without a network."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import numpy as np
from markupsafe import Markup

from sctransformer import __version__, charts
from sctransformer._constants import BEATS_SHUFFLES
from sctransformer.files import atomic_write
from sctransformer.reports.content import MOST_CELLS, SEED, Composition, Regulators, Report, Results
from sctransformer.reports.matrices import confusion_matrix, heatmap_columns, regulator_heatmap
from sctransformer.reports.packing import ACTIVITY_LIMIT, beats, clean, cleaned, island, pack_report, preferred

TEMPLATES = Path(str(files("sctransformer.reports") / "templates"))
SCRIPTS = ("unpack.js", "map.js", "cell.js", "regulator.js", "main.js")


def write_page(target: Path, report: Report) -> None:
    """Write the page, atomically. Everything that comes from files is escaped."""
    text = render(report)
    with atomic_write(target) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="replace")


def render(report: Report) -> str:
    """The page as text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
    )
    packed = pack_report(report)
    regulators = report.regulators
    return environment.get_template("page.html.j2").render(
        report=report,
        style=_file("style.css"),
        script=Markup("\n").join(_file(name) for name in SCRIPTS),
        data=island(packed),
        coloured=sum(one is not None for one in (packed["regulators"] or {}).get("activity") or []),
        choices=None if report.cells is None else _choices(packed),
        heatmap=None if regulators is None or not regulators.types else _heatmap(regulators),
        beat=0 if regulators is None else int(beats(regulators).sum()),
        first=None if regulators is None else int(preferred(regulators)[0]),
        by_preference=[] if regulators is None else _by_preference(regulators),
        results=None if report.results is None else _results(report.results),
        composition=None if report.composition is None else _composition(report.composition),
        limit=BEATS_SHUFFLES,
        most_cells=MOST_CELLS,
        seed=SEED,
        activity_limit=ACTIVITY_LIMIT,
        version=__version__,
    )


def _file(name: str) -> Markup:
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))


def _choices(packed: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """What the map can be coloured by: headings, with keys and titles."""
    cells, regulators = packed["cells"], packed["regulators"]
    found = [
        ("cells", [(f"group:{number}", one["title"]) for number, one in enumerate(cells["groupings"])]),
        ("values", [(f"value:{number}", one["title"]) for number, one in enumerate(cells["values"])]),
    ]
    activity = (regulators or {}).get("activity") or []
    known = [(number, regulators["names"][number]) for number, one in enumerate(activity) if one is not None]
    evidence = (regulators or {}).get("evidence")
    is_weak = {number: evidence is not None and (evidence[number] or 0.0) < BEATS_SHUFFLES for number, _ in known}
    for heading, weak in (("activity of a regulator", False), ("activity, does not beat rewired networks", True)):
        own = [(f"regulator:{number}", name) for number, name in known if is_weak[number] == weak]
        found.append((heading, sorted(own, key=lambda pair: pair[1])))
    return [(heading, own) for heading, own in found if own]


def _by_preference(regulators: Regulators) -> list[tuple[str, list[tuple[int, str]]]]:
    """The regulators to choose from, by whether they beat rewired networks, in alphabetical order."""
    is_strong = beats(regulators)
    pairs = sorted(enumerate(regulators.names), key=lambda pair: pair[1])
    found = [
        ("beat rewired networks" if regulators.evidence_R is not None else "regulators", True),
        ("do not beat rewired networks", False),
    ]
    groups = [(heading, [pair for pair in pairs if is_strong[pair[0]] == strong]) for heading, strong in found]
    return [(heading, own) for heading, own in groups if own]


def _heatmap(regulators: Regulators) -> dict[str, Any]:
    columns = heatmap_columns(regulators)
    links = ["#regulator=" + quote(clean(regulators.names[r]), safe="!'()*") for r in columns]
    scale = charts.colour_scale(True, 5)
    return {
        "chart": regulator_heatmap(regulators, links),
        "shown": len(columns),
        "keys": list(zip(scale, ("\u22122 or less", "\u22121", "0", "+1", "+2 or more"), strict=True)),
    }


def _composition(composition: Composition) -> list[tuple[str, int, list[float]]]:
    """Of each file its name, number of cells, and shares of the labels."""
    total_F = composition.cells_FC.sum(axis=1)
    share_FC = composition.cells_FC / np.maximum(total_F, 1)[:, None]
    return list(zip(composition.files, total_F.tolist(), share_FC.tolist(), strict=True))


def _results(results: Results) -> dict[str, Any]:
    """Charts and tables of the results of a training."""
    metrics = results.metrics
    found: dict[str, Any] = {"raw": results, "metrics": None, "classes": [], "confusion": None, "risk": None}
    test, baseline = metrics.get("test") or {}, metrics.get("baseline") or {}
    if "macro_f1" in test:
        rows = [
            (title, part["macro_f1"], *(results.intervals.get(name) or (None, None)))
            for title, name, part in (("model", "test", test), ("logistic regression", "baseline", baseline))
            if "macro_f1" in part
        ]
        found["metrics"] = {"test": test, "baseline": baseline, "chart": charts.intervals(rows)}
        versus = metrics.get("versus_baseline") or {}
        if "difference" in versus:
            row = ("model \u2212 logistic regression", versus["difference"], versus["low"], versus["high"])
            found["metrics"]["versus"] = charts.intervals([row], zero=True)
    own, other = results.classes.get("test") or {}, results.classes.get("baseline") or {}
    found["classes"] = [(name, values, other.get(name) or {}) for name, values in cleaned(own).items()]
    if results.predictions is not None and len(results.predictions):
        found["confusion"] = confusion_matrix(results.predictions)
    if results.risk_coverage:
        found["risk"] = _risk(results)
    found["control"] = _control(results.control)
    return found


def _risk(results: Results) -> Markup:
    curves, marks = {}, {}
    for name, points in results.risk_coverage.items():
        curves[name] = [(point["coverage"], point["risk"]) for point in points]
        accepted = [point for point in points if point["threshold"] >= (results.rejection_threshold or 0.0)]
        if accepted:
            marks[name] = (accepted[-1]["coverage"], accepted[-1]["risk"])
    return charts.curves(curves, marks, ("share of cells with a label", "share of wrong labels"))


def _control(control: Mapping[str, Any]) -> dict[str, Any]:
    """Comparisons with shuffled networks."""
    rows = []
    if control.get("difference") is not None:
        rows.append(
            ("macro-F1, real \u2212 shuffled", control["difference"], *(control.get("difference_ci") or (None, None)))
        )
    fields = ("name", "detail", "network", "shuffled_mean", "without_network", "difference", "low", "high")
    evidence = [{field: one.get(field) for field in fields} for one in control.get("evidence") or []]
    rows += [(f"{one['name']}, real \u2212 rewired", one["difference"], one["low"], one["high"]) for one in evidence]
    return {
        "chart": charts.intervals(cleaned([list(row) for row in rows]), zero=True) if rows else None,
        "evidence": evidence,
        "hidden": control.get("hidden_genes_r2"),
        "raw": control,
    }
