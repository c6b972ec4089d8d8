"""Numbers survive packing within the stated precision, and text cannot leave the script tag."""

import base64
import json
from dataclasses import replace

import numpy as np
import pytest

from sctransformer.export.bundle import Bundle
from sctransformer.reports.packing import clean, fitting_regulators, island, pack_codes, pack_values, preferred
from sctransformer.reports.regulons import regulators_of


def unpacked(packed: dict[str, object]) -> np.ndarray:
    kind = np.uint8 if packed["size"] == 1 else "<u2"
    return np.frombuffer(base64.b64decode(str(packed["data"])), dtype=kind)


@pytest.mark.parametrize("size", [1, 2])
def test_values_are_rounded_to_a_part_of_their_range_and_missing_ones_stay_missing(size: int) -> None:
    values = np.array([-3.0, 0.123, np.nan, 7.0], dtype=np.float32)
    packed = pack_values(values, size)
    missing = 255 if size == 1 else 65535
    code, step = unpacked(packed), (packed["high"] - packed["low"]) / (missing - 1)
    assert code[2] == missing
    known = [0, 1, 3]
    np.testing.assert_allclose(packed["low"] + code[known] * step, values[known], atol=step / 2 + 1e-6)


def test_values_beyond_the_ends_are_shown_as_the_ends() -> None:
    assert unpacked(pack_values(np.array([-9.0, 9.0]), 1, -6, 6)).tolist() == [0, 254]


def test_equal_values_and_no_values_can_be_packed() -> None:
    assert unpacked(pack_values(np.full(3, 2.5), 2)).tolist() == [0, 0, 0]
    assert unpacked(pack_values(np.full(3, np.nan), 2)).tolist() == [65535] * 3


def test_more_categories_take_more_bytes() -> None:
    assert unpacked(pack_codes(np.array([0, -1, 2]), 3)).tolist() == [0, 255, 2]
    assert unpacked(pack_codes(np.array([0, -1, 300]), 301)).tolist() == [0, 65535, 300]


def test_no_text_ends_the_script_tag() -> None:
    content = {"</script>": ["<script>alert(1)</script>", "a\u2028b\u202ec\x00"]}
    text = str(island(content))
    assert "<" not in text
    assert "\u2028" not in text
    assert json.loads(text) == {
        "</script>": ["<script>alert(1)</script>", "a\ufffdb\ufffdc\ufffd".replace("a\ufffdb", "a\u2028b")]
    }


def test_control_characters_are_replaced() -> None:
    assert clean("T\x07 cell\u202e\ud800") == "T\ufffd cell\ufffd\ufffd"
    assert clean("naïve µ") == "naïve µ"


def test_regulators_that_beat_rewired_networks_come_first(bundle: Bundle) -> None:
    regulators = regulators_of(bundle)
    assert regulators is not None
    names = [regulators.names[r] for r in preferred(regulators)]
    assert set(names[:3]) == {"GENE0", "GENE1", "OUTSIDE"}
    assert [regulators.names[r] for r in fitting_regulators(regulators, 300, 1100)] == names[:2]
    assert len(preferred(replace(regulators, evidence_R=None))) == 5
