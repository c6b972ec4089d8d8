"""The model card: full, bare, and from a template that asks for too much."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from markupsafe import Markup

from sctransformer.errors import UserError
from sctransformer.export.bundle import label_table
from sctransformer.registry.card import card_page, described, renamed, render_card, shortened

TEMPLATE = Path(__file__).parents[3] / "registry" / "model_card.md.j2"


def card(
    template: Path = TEMPLATE,
    metrics: dict[str, Any] | None = None,
    lineage: dict[str, Any] | None = None,
    calibration: dict[str, Any] | None = None,
    **more: Any,
) -> str:
    return render_card(
        template,
        name="celltype",
        config={"n_genes": 24, "n_regulators": 4, "mode": "mask"},
        labels=label_table(["B cell", "T|cell"], {"B cell": "CL:0000236"}),
        metrics=metrics or {},
        calibration=calibration or {"temperature": 1.2, "rejection_threshold": 0.3, "rejection_error": 0.05},
        lineage=lineage or {},
        prior_edges=20,
        training_cells=90,
        **more,
    )


def test_novelty_and_the_limit_of_a_small_panel_are_stated() -> None:
    novelty = {"withheld_share": 0.01, "auroc_left_out": {"mean": 0.875, "lowest": 0.75}, "thresholds": []}
    calibration = {"temperature": 1.2, "rejection_threshold": 0.3, "rejection_error": 0.05, "novelty": novelty}
    text = card(metrics={"test": {"novel_share": 0.02, "rejected_share": 0.1}}, calibration=calibration)
    assert "Test cells under the threshold or too novel: 10.0 %" in text
    assert "the AUROC of\n  novelty was 0.875 on average and 0.750 for the hardest type" in text
    assert "This panel of 24 genes is too small for novelty" in text
    assert "not recognised as new" not in text
    assert "not recognised as new" in card()


def test_a_full_card() -> None:
    per_class = {"B cell": {"precision": 0.5, "recall": 0.25, "f1": 0.333, "cells": 8}}
    text = card(
        metrics={
            "test": {
                "macro_f1": 0.9,
                "accuracy": 0.92,
                "macro_f1_ci": [0.85, 0.94],
                "per_class": per_class,
                "rejected_share": 0.125,
            },
            "baseline": {"macro_f1": 0.88, "accuracy": 0.9, "per_class": {"B cell": {"f1": 0.25}}},
            "coverage": {"genes_with_regulator_share": 0.8},
        },
        lineage={"git": {"commit": "c0ffee", "dirty": True, "patch_sha256": "abc"}, "packages": {"torch": "2.13.0"}},
    )
    assert "| macro-F1 | 0.900 (0.850 to 0.940) | 0.880 |" in text
    assert "\n\nNot judged, with fewer than 10 test cells: B cell.\n\n" in text
    assert "| B cell | CL:0000236 | 8 | 0.500 | 0.250 | 0.333 | 0.250 |" in text
    assert "| T\\|cell | not known | not measured |" in text
    assert "80.0 %" in text
    assert "Test cells under the threshold: 12.5 %" in text
    assert "Commit: `c0ffee`, with changes on top (patch `abc`)" in text
    assert ", torch 2.13.0" in text
    assert "models:/celltype@champion" in text


def test_a_bare_card_says_what_was_not_measured() -> None:
    text = card()
    assert "| macro-F1 | not measured | not measured |" in text
    assert "Commit: `not recorded`" in text
    assert "{{" not in text
    assert "None" not in text


def test_every_table_is_a_table() -> None:
    lines = card().splitlines()
    rules = [index for index, line in enumerate(lines) if line.startswith("|---")]
    assert len(rules) == 2  # without donors
    for index in rules:
        assert lines[index - 2] == ""
        assert lines[index - 1].count("|") == lines[index].count("|") == lines[index + 1].count("|")


@pytest.mark.parametrize(
    ("content", "message"),
    [("{{ nothing }}", "'nothing' is undefined"), ("{% if %}", "line 1 is not valid Jinja2"), (None, "cannot be read")],
)
def test_a_template_that_does_not_work_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    template = tmp_path / "card.md.j2"
    if content is not None:
        template.write_text(content)
    with pytest.raises(UserError, match=message):
        card(template)


def test_a_card_with_donors_intervals_and_the_control() -> None:
    text = card(
        metrics={
            "test": {
                "per_class": {
                    "B cell": {"precision": 0.5, "recall": 0.8, "recall_ci": [0.6, 0.9], "f1": 0.6, "cells": 8}
                },
                "by_donor": {"d|1": {"cells": 8, "accuracy": 0.5, "accuracy_ci": [0.2, 0.8], "macro_f1": 0.4}},
            },
            "control": {"changed_edges_share": 0.7, "macro_f1": 0.8, "difference": 0.05, "difference_ci": [-0.01, 0.1]},
        }
    )
    assert "| 0.800 (0.600 to 0.900) |" in text
    assert "| d\\|1 | 8 | 0.500 (0.200 to 0.800) | 0.400 |" in text
    assert "macro-F1 0.800. The real network is\n  +0.050 ahead (-0.010 to 0.100)" in text
    assert "Shuffled network: not measured, mode dense" in card(metrics={"control": {"reason": "mode dense"}})


@pytest.mark.parametrize(("share", "nothing"), [(0.0, True), (0.12, False)])
def test_a_control_that_labels_alike_is_told_in_words(share: float, nothing: bool) -> None:
    control = {"changed_edges_share": 0.7, "macro_f1": 0.8, "difference": 0.0, "difference_ci": [0.0, 0.0]}
    text = card(metrics={"control": control | {"changed_labels_share": share}})
    assert f"With the shuffled network {share:.1%}".replace("%", " %") + " of test cells get another label" in text
    assert ("no influence on the labels of this model" in text) is nothing
    assert "another label" not in card(metrics={"control": control})


def test_what_made_the_model_stands_on_the_card() -> None:
    lineage = {
        "params": {
            "seed": 3,
            "data": {"name": "mine", "label_column": "type|cell"},
            "train": {"lr": 0.001, "layer_lr": None},
            "validate": {"min_cells": 50},
        },
        "packages": {"anndata": "0.12.1"},
        "code_url": "https://example.org/ada/cells.git",
        "who": "Ada <ada@example.org>",
        "account": "ada_l",
        "tracking_user": "ada.lovelace",
    }
    dataset = {"url": "s3://bucket/mine.h5ad", "citation": "Ada 2026", "license": "CC0", "organism": "human"}
    text = card(lineage=lineage, dataset=dataset, described={"tissue": ["blood"], "assay": ["10x 3' v3"]})
    for line in (
        "- URL: `s3://bucket/mine.h5ad`; license: CC0",
        "- Reference: Ada 2026",
        "- Organism: human\n- Tissue: blood\n- Assay: 10x 3' v3\n",
        "- Code: <https://example.org/ada/cells.git>; method: arXiv 2606.09558",
        ", anndata 0.12.1",
        "(account `ada_l`, `ada.lovelace` for the tracking server)",
        "| `seed` | 3 |\n",
        "| `data.label_column` | type\\|cell |",
        "| `train.layer_lr` | none |",
    ):
        assert line in text
    assert "min_cells" not in text


def test_what_is_not_known_is_said_so() -> None:
    text = card()
    for line in ("- Organism: not stated", "- Tissue: not stated", "- URL: not stated; license: not stated"):
        assert line in text
    assert "- Code: URL not stated" in text


def test_a_long_card_is_shortened_after_a_section() -> None:
    text = card(lineage={"params": {"train": {f"parameter_{index}": index for index in range(300)}}})
    short = shortened(text, 5000)
    assert len(short) <= 5000
    body, _, rest = short.rpartition("\n\n")
    assert text.startswith(body + "\n\n## ")
    assert rest == "*The rest of the card is `card.md` in the folder `bundle` of this version's artifacts.*\n"
    assert shortened("above\n\n---\n\n" + short, 5000).count("The rest of the card") == 1
    assert shortened(short, 5000) == short
    assert len(shortened("x" * 6000, 5000)) == 5000


def test_what_cells_say_of_themselves() -> None:
    obs = pd.DataFrame({"tissue": ["blood"] * 3, "donor_id": ["a", "b", "c"], "assay": ["x", "y", "y"], "other": 1})
    assert described(obs) == {"assay": ["y", "x"], "tissue": ["blood"]}


def test_the_page_has_tables_and_runs_nothing() -> None:
    page = card_page("# A <script>alert(1)</script>\n\n| a | b |\n|---|---|\n| 1 | 2 |\n", "cell<type>")
    assert "<td>2</td>" in page
    assert "<script>" not in page
    assert "<title>cell&lt;type&gt;: model card</title>" in page


def test_plots_follow_the_card_with_their_captions() -> None:
    page = card_page("# A\n", "cell", [("true <type>", Markup("<svg></svg>"))])
    assert page.index("<h1>A</h1>") < page.index("<h2>Plots</h2>")
    assert "<figure><svg></svg><figcaption>true &lt;type&gt;</figcaption></figure>" in page
    assert "Plots" not in card_page("# A\n", "cell")


def test_a_card_names_the_model_under_which_it_is_registered() -> None:
    lines = [
        "# NAME",
        "",
        'load_model("models:/NAME@champion")',
        "`annotate -i a -m NAME@champion`",
        "`report NAME@champion`",
    ]
    card, other = ("\n".join([*lines, "of celltype"]).replace("NAME", name) for name in ("celltype", "blood"))
    assert renamed(card, "blood") == other
    assert renamed(card, "celltype") == card
    assert renamed("no title", "blood") == "no title"
