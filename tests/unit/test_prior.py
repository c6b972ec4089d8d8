"""Reading networks: what is allowed comes through, what is not is named with its line."""

from pathlib import Path

import pytest

from sctransformer.errors import UserError
from sctransformer.prior.coverage import coverage, degrees
from sctransformer.prior.network import EMBEDDED_NETWORK, read_network

LEVELS = {"high": 1.0, "medium": 0.7, "low": 0.4}
HEADER = "regulator\ttarget\tsign\tconfidence\n"


def network_file(tmp_path: Path, content: str) -> Path:
    path = tmp_path / "network.tsv"
    path.write_text(content)
    return path


def test_signs_and_confidences_are_read(tmp_path: Path) -> None:
    network = read_network(network_file(tmp_path, HEADER + "B\tC\t-1\tlow\nA\tC\t+1\t0.25\nA\tB\t1\thigh\n"), LEVELS)
    assert network.pairs == [("A", "B"), ("A", "C"), ("B", "C")]
    assert network.edges["sign"].tolist() == [1, 1, -1]
    assert network.edges["confidence"].tolist() == [1.0, 0.25, 0.4]
    assert network.regulators == ["A", "B"]


def test_a_byte_order_mark_does_not_hide_the_first_column(tmp_path: Path) -> None:
    path = tmp_path / "network.tsv"
    path.write_bytes(b"\xef\xbb\xbf" + (HEADER + "A\tB\t1\thigh\n").encode())
    assert len(read_network(path, LEVELS)) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEADER + "A\tB\t2\thigh\n", r"line 2 \(A -> B\) has sign '2'; expected 1 or -1"),
        (HEADER + "A\tB\t1\thigh\nA\tC\t1\tvery\n", r"line 3 \(A -> C\) has confidence 'very'"),
        (HEADER + "A\tB\t1\t0\n", "has confidence '0'"),
        (HEADER + "A\tB\t1\t7\n", "has confidence '7'"),
        (HEADER + "A\tA\t1\thigh\n", "expected another gene than the regulator"),
        (HEADER + "A\tB\t1\thigh\nA\tB\t-1\thigh\n", "line 3 .* each regulator and target once"),
        (HEADER + "\tB\t1\thigh\n", "has regulator ''; expected a gene symbol"),
        (HEADER, "holds no edge"),
        ("source\ttarget\tmor\nA\tB\t1\n", "missing regulator, sign, confidence, unknown source, mor"),
        (HEADER.replace("\t", ","), "separated by tabs"),
        ("", "is not a tab-separated table"),
        (HEADER + "A\tB\t1\thigh\textra\tand\tmore\n", "."),
    ],
)
def test_a_broken_table_is_refused_in_one_sentence(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_network(network_file(tmp_path, content), LEVELS)
    assert "network.tsv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_network(tmp_path / "absent.tsv", LEVELS)


def test_coverage_counts_what_the_panel_keeps(tmp_path: Path) -> None:
    network = read_network(
        network_file(tmp_path, HEADER + "A\tB\t1\thigh\nA\tC\t-1\thigh\nX\tB\t1\thigh\nA\tY\t1\thigh\n"), LEVELS
    )
    figures = coverage(network, ["A", "B", "C", "D"])
    assert figures["edges"] == 4
    assert figures["edges_kept"] == 2
    assert figures["regulators_kept"] == 1
    assert figures["genes_with_regulator_share"] == 0.5
    assert figures["activating_share"] == 0.5
    assert degrees(network, ["A", "B", "C"]).to_dict("list") == {"regulator": ["A"], "targets": [2]}


def test_coverage_of_a_panel_without_edges_is_zero_not_an_error(tmp_path: Path) -> None:
    network = read_network(network_file(tmp_path, HEADER + "A\tB\t1\thigh\n"), LEVELS)
    figures = coverage(network, ["Q"])
    assert (
        figures["edges_kept"] == figures["genes_with_regulator_share"] == figures["regulators_per_regulated_gene"] == 0
    )


def test_the_embedded_network_is_read_by_the_same_reader() -> None:
    assert len(read_network(EMBEDDED_NETWORK, LEVELS)) > 300
