"""The page of a scorecard: names from files do no harm in it."""

from pathlib import Path

from sctransformer.evaluation.prior_page import write_page
from sctransformer.evaluation.prior_score import Measurement, Scorecard


def test_names_are_escaped_and_values_shown(tmp_path: Path) -> None:
    one = Measurement("lineage regulators", 0.8, [0.5, 0.55], None, "1 population", {"<script>B</script>": 0.8})
    card = Scorecard([one], {"SPI1": 1.0, "A&B": 0.5})
    write_page(tmp_path / "page.html", card, "<b>net</b>.tsv", "2 edges")
    page = (tmp_path / "page.html").read_text()
    assert "<script" not in page
    assert "<b>net" not in page
    assert "&lt;script&gt;B" in page
    assert page.count("<circle") == 2
    assert "Dashed" not in page
    assert "The targets of 1 of 2 regulators" in page
    assert page.index("SPI1") < page.index("A&amp;B")


def test_equal_values_have_a_chart(tmp_path: Path) -> None:
    card = Scorecard([Measurement("hidden genes", 0.0, [0.0, 0.0], 0.0, "1 gene")], {"A": 0.0})
    write_page(tmp_path / "page.html", card, "net.tsv", "1 edge")
    assert "nan" not in (tmp_path / "page.html").read_text()
