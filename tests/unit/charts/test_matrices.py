"""Matrices as SVG: every value has a colour and a text, and signs do not need colour."""

import re

import numpy as np

from sctransformer.charts import colour_scale, confusion, curves, heatmap, intervals


def test_colours_run_from_blue_over_white_to_red() -> None:
    low, middle, high = (tuple(bytes.fromhex(one[1:])) for one in colour_scale(True, 3))
    assert low[2] > low[0]
    assert min(middle) > 240
    assert high[0] > high[2]


def test_viridis_gets_lighter() -> None:
    light = [sum(bytes.fromhex(one[1:])) for one in colour_scale(False, 9)]
    assert light == sorted(light)


def test_a_heatmap_has_values_signs_links_and_hatches() -> None:
    values = np.array([[2.0, -0.1, np.nan], [-1.0, 0.0, 0.7]])
    text = heatmap(
        ["A", "B"], ["X", "<Y>", "Z"], values, limit=2.0, hatched=[False, False, True], links=["#1", "#2", "#3"]
    )
    assert [*re.findall(r"<a href=\"(#\d)\">", text)] == ["#1", "#2", "#3"]
    assert "X in A: +2.00" in text
    assert "Z in A: no value" in text
    assert "&lt;Y&gt;" in text
    assert "<Y>" not in text
    assert re.findall(r'class="sign"[^>]*>(.)<', text) == ["+", "\u2212", "+"]
    assert text.count('fill="url(#hatch)"') == 1


def test_a_confusion_matrix_names_both_types_of_each_cell() -> None:
    text = confusion(["A", "B"], np.array([[3, 1], [0, 0]]))
    assert "A, predicted B: 1 of 4 cells" in text
    assert "B, predicted A: 0 of 1 cells" in text or "B, predicted A: 0 of 0 cells" in text


def test_lines_and_intervals_show_their_numbers() -> None:
    text = curves({"test cells": [(0.5, 0.1), (1.0, 0.2)]}, {"test cells": (0.5, 0.1)}, ("coverage", "risk"))
    assert text.count("<circle") == 1
    assert "test cells" in text
    assert "0.750 (0.700 to 0.800)" in intervals([("model", 0.75, 0.7, 0.8)])
    assert "+0.050" in intervals([("difference", 0.05, None, None)], zero=True)
