"""The drift report: one offline page in which each batch can be selected, looked at in a browser too."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sctransformer.monitor.drift import judge
from sctransformer.monitor.report import JobState, write_report
from sctransformer.monitor.settings import Limits
from tests.conftest import LABELS, arrays, simulated_cells
from tests.unit.monitor.test_drift import batch, induced, reference, vocabulary
from tests.unit.monitor.test_regulators import profile, table

LONG = "/very/long/" + "folder_of_many_samples" * 12 + "/cells.h5ad"
ERROR = "d.h5ad: is not a readable h5ad file; it is not HDF5 (it starts with b'<script>')."


def record(number: int, source: str, profile: dict[str, Any], identity: str = "one") -> dict[str, Any]:
    verdict = judge(reference(), vocabulary(), profile, Limits())
    return {
        "time": f"2026-01-{number + 1:02d}T03:00:00.000+00:00",
        "source": source,
        "model_version": "celltype/1",
        "model_identity": identity,
        "cells": profile["cells"],
        "rejected": profile["rejected"],
        "judged": verdict.judged,
        "drifted": verdict.drifted,
        "drift": verdict.sentence(),
        "figures": verdict.values,
        "limits": verdict.limits,
        "genes": [vars(gene) for gene in verdict.genes],
        "profile": profile,
    }


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a job with four batches, of which the last is like the training cells, and a failed file."""
    cells = [arrays(simulated_cells(300, seed=seed)) for seed in range(4)]
    cells[1] = induced(cells[1], [0, 5, 10, 15, 20], 4.0)
    batches = [record(number, f"new/{number}.h5ad", batch(part)) for number, part in enumerate(cells)]
    batches[2]["model_identity"] = "another"
    batches[3]["source"] = LONG
    failed = [{"time": "2026-01-05T03:00:00.000+00:00", "source": "new/d.h5ad", "error": ERROR}]
    bundle: Any = SimpleNamespace(reference=reference(), vocabulary=vocabulary(), identity="one", regulators=None)
    target = tmp_path_factory.mktemp("report") / "drift.html"
    write_report(target, JobState("nightly", batches, failed, Limits().model_dump() | RULE, False), bundle)
    return target


RULE = {"window": 5, "raised_by": 2}


def test_every_batch_can_be_selected_and_genes_and_cell_types_are_named(page: Path) -> None:
    text = page.read_text()
    assert re.findall(r'<option value="(\d)"', text) == ["3", "2", "1", "0"]
    sections = dict(re.findall(r'<section id="batch-(\d)">(.*?)</section>', text, re.DOTALL))
    for label in (*LABELS, "unknown"):
        assert f">{label}</text>" in sections["0"]
    for gene in ("GENE0", "GENE5", "GENE10", "GENE15", "GENE20"):
        assert f">{gene}</text>" in sections["1"]
    assert sections["1"].count("<td>changed</td>") == 5
    assert "most changed genes" in sections["1"]
    assert "another model version labelled this batch" in sections["2"]
    assert text.count('class="over">drifted: ') == 2  # in the table and in its section


def test_shifted_regulators_are_first_in_a_heatmap(tmp_path: Path) -> None:
    found = profile({"beta": [2.0, 3.0, 2.5, 0.0, 9.0], "alpha": [0.0, 0.0, 0.0, 1.5, 0.0]}).to_json()
    verdict = judge(reference(), vocabulary(), found, Limits(), table())
    bundle: Any = SimpleNamespace(reference=reference(), vocabulary=vocabulary(), identity="one", regulators=table())
    shown = record(0, "a.h5ad", found) | {"regulators": [vars(one) for one in verdict.regulators]}
    state = JobState("nightly", [shown], [], Limits().model_dump() | RULE, False)
    write_report(tmp_path / "drift.html", state, bundle)
    text = (tmp_path / "drift.html").read_text()
    squares = re.findall(r'<rect [^>]*fill="(#\w+)"( stroke="#222"[^>]*)?><title>(\S+) in beta: ([^<]+)</title>', text)
    assert [(name, value, bool(border)) for _, border, name, value in squares] == [
        ("STAT2", "+3.00", True),
        ("IRF9", "+2.50", True),
        ("STAT1", "+2.00", True),
        ("SPI1", "+0.00", False),
    ]
    assert (squares[0][0], squares[3][0]) == ("#b2182b", "#f7f7f7")
    old: Any = SimpleNamespace(reference=reference(), vocabulary=vocabulary(), identity="one", regulators=None)
    write_report(tmp_path / "old.html", state, old)
    assert "Regulators were not compared: the model has no activities." in (tmp_path / "old.html").read_text()


def test_failed_files_are_listed_with_their_error(page: Path) -> None:
    text = page.read_text()
    assert f"<td>new/d.h5ad</td><td>{html.escape(ERROR, quote=True).replace('&#x27;', '&#39;')}</td>" in text
    assert "<script>&" not in text


def test_the_page_needs_nothing_from_elsewhere(page: Path) -> None:
    assert not re.findall(r"(?:src|href)=(?!.#)|https?:|@import|url\(", page.read_text())


def test_a_job_whose_files_all_failed_has_a_report(tmp_path: Path) -> None:
    failed = [{"time": "2026-01-05T03:00:00", "source": "new/d.h5ad", "error": ERROR}]
    write_report(tmp_path / "drift.html", JobState("nightly", [], failed, Limits().model_dump() | RULE, False), None)  # type: ignore[arg-type]
    text = (tmp_path / "drift.html").read_text()
    assert "new/d.h5ad" in text
    assert "<select" not in text


def test_in_a_browser_all_stays_inside_the_page_and_a_batch_can_be_chosen(page: Path, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium")
    asks = """<script>
      const wide = () => [...document.querySelectorAll("table, svg, select")].filter(
        (one) => one.getBoundingClientRect().right > innerWidth).length;
      const seen = () => [...document.querySelectorAll("section")].filter((one) => !one.hidden).map((one) => one.id);
      const answers = {first: seen(), width: innerWidth};
      for (const value of ["3", "1", "2", "0"]) {
        choice.value = value;
        choice.dispatchEvent(new Event("change"));
        answers[value] = [seen(), wide(), document.documentElement.scrollWidth];
      }
      document.body.innerHTML = "<pre>" + JSON.stringify(answers) + "</pre>";
    </script>"""
    copy = tmp_path / "page.html"
    copy.write_text(page.read_text().replace("</body>", asks + "</body>"))
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    found = subprocess.run(
        [*command, "--window-size=1300,900", "--dump-dom", copy.as_uri()], capture_output=True, text=True, timeout=120
    ).stdout
    answers = json.loads(html.unescape(found[found.index("<pre>") + 5 : found.index("</pre>")]))
    width = answers.pop("width")
    assert 1200 < width <= 1300
    assert answers.pop("first") == ["batch-3"]
    for number, (sections, too_wide, scroll_width) in answers.items():
        assert (sections, too_wide) == ([f"batch-{number}"], 0)
        assert scroll_width <= width


def test_genes_without_counts_in_the_file_are_left_out(page: Path, tmp_path: Path) -> None:
    profile = batch(arrays(simulated_cells(300, seed=3)))
    for name in ("expression", "detection"):
        profile[name] = [None if index < 12 else value for index, value in enumerate(profile[name])]
    bundle: Any = SimpleNamespace(reference=reference(), vocabulary=vocabulary(), identity="one", regulators=None)
    state = JobState("nightly", [record(0, "a.h5ad", profile)], [], Limits().model_dump() | RULE, False)
    write_report(tmp_path / "drift.html", state, bundle)
    text = (tmp_path / "drift.html").read_text()
    assert "nan" not in text.lower()
    assert np.all([f"<td>GENE{gene}</td>" not in text for gene in range(12)])


@pytest.mark.parametrize(
    "profile", [{}, {"cells": "many"}, {**batch(arrays(simulated_cells(60))), "expression": [1.0]}]
)
def test_a_damaged_profile_gives_a_report_without_its_charts(profile: dict[str, Any], tmp_path: Path) -> None:
    bundle: Any = SimpleNamespace(reference=reference(), vocabulary=vocabulary(), identity="one", regulators=None)
    damaged = {**record(0, "a.h5ad", batch(arrays(simulated_cells(60)))), "profile": profile, "cells": 0}
    write_report(
        tmp_path / "drift.html", JobState("nightly", [damaged], [], Limits().model_dump() | RULE, False), bundle
    )
    assert "the profile of its cells, or of the training cells, is missing" in (tmp_path / "drift.html").read_text()
