"""The page of a report: one file, escaped, complete, and looked at in a browser."""

import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sctransformer._constants import OBS
from sctransformer.export.bundle import Bundle
from sctransformer.reports import packing
from sctransformer.reports.annotated import report_of_file
from sctransformer.reports.content import Report
from sctransformer.reports.matrices import heatmap_columns
from sctransformer.reports.page import render, write_page
from sctransformer.reports.training import report_of_bundle, report_of_outputs
from tests.unit.reports.cells import annotated_cells, write_outputs

ATTACK = "</script><script>window.attacked = true</script>\x07 & \u202e"


@pytest.fixture(scope="module")
def outputs(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training") / "outputs"
    write_outputs(folder, bundle.folder)
    return folder


@pytest.fixture(scope="module")
def attacked(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The report of a file in which every text is an attack."""
    cells = annotated_cells(bundle)
    for name in (OBS.predicted_labels, "condition"):
        cells.obs[name] = cells.obs[name].astype(str) + ATTACK
    cells.obs.index = cells.obs.index + ATTACK
    names = [name + ATTACK for name in cells.uns["sctransformer"]["regulators"]["name"]]
    cells.uns["sctransformer"]["regulators"]["name"] = names
    cells.uns["sctransformer"]["model"] = ATTACK
    path = tmp_path_factory.mktemp("attack") / "<b>cells.h5ad"
    cells.write_h5ad(path)
    return report_of_file(path)


def data_of(text: str) -> Any:
    return json.loads(re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[0])


def test_text_of_files_is_escaped_everywhere(attacked: Report) -> None:
    text = render(attacked)
    assert text.count("<script") == text.count("</script>") == 2
    assert "\x07" not in text
    assert "\u202e" not in text
    assert "<b>cells" not in text
    assert "window.attacked" in text  # as text


def test_the_page_needs_nothing_from_elsewhere(outputs: Path) -> None:
    text = render(report_of_outputs(outputs))
    assert not re.findall(r"(?:src|href)=\"(?!#)|@import|url\((?!#)|fetch\(|XMLHttpRequest", text)
    assert "default-src 'none'" in text
    assert [found for found in re.findall(r"https?://[^\"'\s<]+", text) if "w3.org" not in found] == []


def test_every_section_of_a_training_is_on_the_page(outputs: Path) -> None:
    text = render(report_of_outputs(outputs))
    for title in ("Map of cells", "Regulators by cell type", "A regulator", "True and predicted type"):
        assert f">{title}</h" in text
    for number in ("0.750 (0.700 to 0.800)", "+0.050 (-0.010 to +0.110)", "+0.030 (+0.010 to +0.050)", "0.2000 by the"):
        assert number in text
    assert "outputs/evaluation/metrics.json" in text


def test_regulators_that_do_not_beat_rewired_networks_are_hatched_and_last(bundle: Bundle) -> None:
    report = report_of_bundle(bundle, "model")
    regulators = report.regulators
    assert regulators is not None
    assert {regulators.names[r] for r in heatmap_columns(regulators)[-2:]} == {"GENE2", "GENE3"}
    text = render(report)
    assert text.count('fill="url(#hatch)"') == 2
    assert "3 of 5 regulators beat rewired networks." in text
    assert render(replace(report, regulators=replace(regulators, evidence_R=None))).count('fill="url(#hatch)"') == 0


def test_a_report_without_cells_or_without_regulators_has_no_such_section(bundle: Bundle, outputs: Path) -> None:
    text = render(report_of_bundle(bundle, "model"))
    assert 'id="map"' not in text
    assert data_of(text)["cells"] is None
    text = render(replace(report_of_outputs(outputs), regulators=None))
    assert 'id="types"' not in text
    assert data_of(text)["regulators"] is None


def test_a_page_without_room_for_all_activities_states_which_it_has(
    outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "The map can be coloured by" not in render(report_of_outputs(outputs))
    monkeypatch.setattr(packing, "fitting_regulators", lambda regulators, *_: packing.preferred(regulators)[:2])
    text = render(report_of_outputs(outputs))
    assert "The map can be coloured by 2 of 5 regulators" in text
    activity = data_of(text)["regulators"]["activity"]
    assert sum(one is not None for one in activity) == 2


def test_targets_with_signs_and_sources_are_in_the_data(bundle: Bundle) -> None:
    found = data_of(render(report_of_bundle(bundle, "model")))["regulators"]
    own = bundle.prior[bundle.prior["regulator"] == "GENE1"].drop_duplicates("target").set_index("target")
    edges = found["edges"][found["names"].index("GENE1")]
    assert edges["total"] == len(own)
    for target, sign, confidence, source, *_ in edges["rows"]:
        assert (sign, confidence) == (own.loc[target, "sign"], pytest.approx(own.loc[target, "confidence"]))
        assert found["sources"][source] == "test"


def test_the_page_is_written_atomically(outputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "report.html"
    target.write_text("before")
    monkeypatch.setattr(Path, "write_text", lambda *_, **__: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_page(target, report_of_outputs(outputs))
    monkeypatch.undo()
    assert target.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


HEAD = """<script>
  window.problems = [];
  addEventListener("error", (event) => problems.push(event.message));
  addEventListener("securitypolicyviolation", (event) => problems.push(event.violatedDirective));
  console.error = console.warn = (...words) => problems.push(words.join(" "));
</script>"""
PROBE = """<script>
  const pause = () => new Promise((done) => setTimeout(done, 50));
  const pixels = () => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height), found = new Set();
    for (let i = 0; i < data.length; i += 4) found.add(data.slice(i, i + 3).join());
    return found;
  };
  const colour = (key) => {
    document.getElementById("colour").value = key;
    document.getElementById("colour").dispatchEvent(new Event("change"));
    return [...pixels()].sort().join(" ");
  };
  async function probe() {
    const answers = { colours: ["group:0", "value:0", "regulator:0"].map(colour) };
    const links = [...document.querySelectorAll("#types a")];
    const link = links.find((one) => one.textContent.includes("GENE1"));
    link.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true }));
    await pause();
    answers.regulator = document.querySelector("#regulator-shown h3").textContent;
    answers.targets = [...document.querySelectorAll("#targets tbody tr")].map((row) => row.cells[0].textContent);
    answers.charts = document.querySelectorAll("#regulator-shown svg").length;
    const box = canvas.getBoundingClientRect();
    const at = { clientX: box.left + screenX(5), clientY: box.top + screenY(5), bubbles: true };
    canvas.dispatchEvent(new PointerEvent("pointerdown", at));
    canvas.dispatchEvent(new PointerEvent("pointerup", at));
    answers.cell = document.querySelector("#cell h3").textContent;
    answers.dossier = document.getElementById("cell").textContent;
    canvas.focus();
    for (const key of ["+", "ArrowLeft", "Enter"]) canvas.dispatchEvent(new KeyboardEvent("keydown", { key }));
    answers.byKey = cells.names.includes(document.querySelector("#cell h3").textContent);
    const find = document.getElementById("find");
    find.value = cells.names[7];
    find.dispatchEvent(new Event("change"));
    answers.found = document.querySelector("#cell h3").textContent;
    document.querySelectorAll("#legend button, #colour, #find, #types a, canvas").forEach((one) => {
      if (one.tabIndex < 0) problems.push("not reached by the keyboard: " + one.tagName);
    });
    answers.requests = performance.getEntriesByType("resource").map((one) => one.name);
    answers.sizes = [document.documentElement.scrollWidth, innerWidth];
    answers.attacked = window.attacked ?? false;
    answers.problems = problems;
    document.body.innerHTML = "<pre></pre>";
    document.querySelector("pre").textContent = JSON.stringify(answers);
  }
  probe().catch((error) => (document.body.textContent = "failed: " + error));
</script>"""


def asked_in_a_browser(text: str, folder: Path) -> dict[str, Any]:
    """Open a page in Chromium, use it, and return what was found."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium")
    page = folder / "page.html"
    page.write_text(text.replace("<head>", "<head>" + HEAD, 1).replace("</body>", PROBE + "</body>"))
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    options = ["--window-size=1300,900", "--virtual-time-budget=20000", "--dump-dom", page.as_uri()]
    found = subprocess.run([*command, *options], capture_output=True, text=True, timeout=180).stdout
    assert "<pre>" in found, found[-500:]
    answers: dict[str, Any] = json.loads(html.unescape(found[found.index("<pre>") + 5 : found.index("</pre>")]))
    return answers


@pytest.mark.slow
def test_in_a_browser_colours_change_and_regulators_and_cells_can_be_chosen(
    outputs: Path, bundle: Bundle, tmp_path: Path
) -> None:
    answers = asked_in_a_browser(render(report_of_outputs(outputs)), tmp_path)
    assert answers["problems"] == []
    assert answers["requests"] == []
    assert len(set(answers["colours"])) == 3
    assert answers["regulator"] == "GENE1"
    own = bundle.prior.loc[bundle.prior["regulator"] == "GENE1", "target"]
    assert set(answers["targets"]) == set(own)
    assert answers["charts"] == 2
    names = pd.read_csv(outputs / "evaluation/predictions.csv")["cell"].tolist()
    assert answers["cell"] == names[5]
    assert "confidence" in answers["dossier"]
    assert answers["byKey"]
    assert answers["found"] == names[7]
    width, window = answers["sizes"]
    assert 1200 < window <= 1300
    assert width <= window


@pytest.mark.slow
def test_in_a_browser_text_of_files_is_only_text(attacked: Report, tmp_path: Path) -> None:
    answers = asked_in_a_browser(render(attacked), tmp_path)
    assert answers["problems"] == []
    assert answers["attacked"] is False
    assert answers["regulator"].startswith("GENE1</script><script>")
    assert answers["cell"].startswith("cell5</script>")
