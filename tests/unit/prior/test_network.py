"""The project's own table of edges: reading, cleaning, and errors that name the line."""

import gzip
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sctransformer.errors import UserError
from sctransformer.prior.network import IMMUNE_NETWORK, Network, read_network_table, repaired, write_network
from sctransformer.prior.repairs import Repairs
from sctransformer.prior.settings import PriorSettings
from tests.unit.prior.prior_strategies import frame, lines, networks

LEVELS = {"high": 1.0, "medium": 0.7, "low": 0.4}
HEADER = "regulator\ttarget\tsign\tconfidence\n"


def network_file(tmp_path: Path, content: str) -> Path:
    path = tmp_path / "network.tsv"
    path.write_text(content)
    return path


def read(tmp_path: Path, content: str) -> Network:
    return read_network_table(network_file(tmp_path, content), LEVELS)


def test_signs_and_confidences_are_read(tmp_path: Path) -> None:
    network = read(tmp_path, HEADER + "B\tC\t-1\tlow\nA\tC\t+1\t0.25\nA\tB\t0\thigh\n")
    assert network.pairs == [("A", "B"), ("A", "C"), ("B", "C")]
    assert network.edges["sign"].tolist() == [0, 1, -1]
    assert network.edges["confidence"].tolist() == [1.0, 0.25, 0.4]
    assert network.edges["sources"].tolist() == ["network"] * 3
    assert network.edges.dtypes.astype(str).to_dict() == {
        "regulator": "object",
        "target": "object",
        "sign": "int8",
        "confidence": "float64",
        "sources": "object",
    }
    assert network.regulators == ["A", "B"]
    assert network.genes == ["A", "B", "C"]
    assert network.repairs == Repairs(format="table", lines=3)
    assert network.repairs.sentences() == []


def test_files_with_a_byte_order_mark_windows_line_ends_or_gzip_are_read(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf" + (HEADER + "A\tB\t1\thigh\n").replace("\n", "\r\n").encode()
    plain, packed = tmp_path / "network.tsv", tmp_path / "network.tsv.gz"
    plain.write_bytes(content)
    packed.write_bytes(gzip.compress(content))
    assert read_network_table(plain, LEVELS).pairs == read_network_table(packed, LEVELS).pairs == [("A", "B")]


def test_fields_missing_at_the_end_of_a_line_are_empty(tmp_path: Path) -> None:
    content = "regulator\ttarget\tsign\tconfidence\tevidence\treference\nA\tB\t1\thigh\n\nA\tC\t1\thigh\tseen\n"
    assert len(read(tmp_path, content)) == 2


def test_sources_default_to_the_file_name(tmp_path: Path) -> None:
    content = "regulator\ttarget\tsign\tconfidence\tsources\nA\tB\t1\thigh\ttwo; one;two\nA\tC\t1\thigh\t\n"
    assert read(tmp_path, content).edges["sources"].tolist() == ["one;two", "network"]


def test_self_edges_are_dropped_and_reported(tmp_path: Path) -> None:
    network = read(tmp_path, HEADER + "A\tA\t1\thigh\nA\tB\t1\thigh\n")
    assert network.pairs == [("A", "B")]
    assert network.repairs.self_edges == 1
    assert network.repairs.sentences() == ["1 self-edge dropped."]


@pytest.mark.parametrize(
    ("rows", "sign", "conflicts", "ties"),
    [
        ("A\tB\t1\t0.4\nA\tB\t1\t0.9\n", 1, 0, 0),
        ("A\tB\t1\t0.4\nA\tB\t-1\t0.9\n", -1, 1, 0),
        ("A\tB\t1\t0.5\nA\tB\t1\t0.5\nA\tB\t-1\t0.9\n", 1, 1, 0),
        ("A\tB\t1\t0.9\nA\tB\t-1\t0.9\n", 0, 0, 1),
        ("A\tB\t1\t0.1\nA\tB\t1\t0.2\nA\tB\t-1\t0.3\nA\tB\t0\t0.9\n", 0, 0, 1),  # 0.1 + 0.2 is not exactly 0.3
        ("A\tB\t0\t0.9\nA\tB\t-1\t0.1\n", -1, 0, 0),
    ],
)
def test_lines_of_a_pair_are_merged_with_the_sign_of_greater_confidence(
    tmp_path: Path, rows: str, sign: int, conflicts: int, ties: int
) -> None:
    network = read(tmp_path, HEADER + rows)
    assert network.edges["sign"].tolist() == [sign]
    assert network.edges["confidence"].tolist() == [pytest.approx(0.9 if "0.9" in rows else 0.5)]
    assert (network.repairs.sign_conflicts, network.repairs.sign_ties) == (conflicts, ties)
    assert network.repairs.merged == rows.count("\n") - 1


def test_complexes_are_replaced_by_their_members_and_reported(tmp_path: Path) -> None:
    network = read(tmp_path, HEADER + "NFKB\tIL6\t1\thigh\nA\tAP-1\t-1\tlow\nNF-kB\tNFKB1\t1\thigh\n")
    nfkb = ["NFKB1", "NFKB2", "REL", "RELA", "RELB"]
    ap1 = ["FOS", "FOSB", "FOSL1", "FOSL2", "JUN", "JUNB", "JUND"]
    expected = [("A", gene) for gene in ap1] + [(gene, "IL6") for gene in nfkb]
    expected += [(gene, "NFKB1") for gene in nfkb if gene != "NFKB1"]
    assert network.pairs == sorted(expected)
    assert network.repairs.self_edges == 1  # NFKB1 -> NFKB1
    text = " ".join(network.repairs.sentences())
    assert "The complex NFKB was replaced by its members NFKB1, NFKB2, REL, RELA, RELB: 1 edge became 5." in text
    assert "The complex AP-1 was replaced" in text


def test_a_joined_name_is_a_complex_only_if_both_genes_occur_alone(tmp_path: Path) -> None:
    content = (
        HEADER + "JUN_FOS\tX\t1\thigh\nJUN\tY\t1\thigh\nFOS\tY\t1\thigh\nA\tC4B_2\t1\thigh\nTP73:DELTA\tX\t1\thigh\n"
    )
    network = read(tmp_path, content)
    assert ("JUN", "X") in network.pairs
    assert ("FOS", "X") in network.pairs
    assert ("A", "C4B_2") in network.pairs
    assert ("TP73:DELTA", "X") in network.pairs
    assert any("TP73:DELTA" in sentence and "kept as written" in sentence for sentence in network.repairs.sentences())


def test_complexes_of_mouse_genes_are_recognised(tmp_path: Path) -> None:
    assert read(tmp_path, HEADER + "Nfkb\tIl6\t1\thigh\n").regulators == ["Nfkb1", "Nfkb2", "Rel", "Rela", "Relb"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEADER + "A\tB\t2\thigh\n", r"line 2 has sign '2'; expected 1, -1, or 0 .* \(A -> B\)"),
        (HEADER + "A\tB\t\thigh\n", "line 2 has sign ''"),
        (HEADER + "A\tB\tNaN\thigh\n", "line 2 has sign 'NaN'"),
        (HEADER + "A\tB\t1\thigh\n\nA\tC\t1\tvery\n", r"line 4 has confidence 'very'; .* \(A -> C\)"),
        (HEADER + "A\tB\t1\t0\n", "has confidence '0'"),
        (HEADER + "A\tB\t1\t7\n", "has confidence '7'"),
        (HEADER + "A" * 1000 + "\tB\t1\t7\n", "number above 0 and up to 1[.]$"),
        (HEADER + "A\tB\t1\t-1\n", "has confidence '-1'"),
        (HEADER + "A\tB\t1\tnan\n", "has confidence 'nan'"),
        (HEADER + "A\tA\t1\thigh\n", "has no edge between two different genes"),
        (HEADER + "\tB\t1\thigh\n", "has regulator ''; expected a gene symbol"),
        (HEADER + "A\tNaN\t1\thigh\n", "has target 'NaN'; expected a gene symbol"),
        (HEADER + "A\tB C\t1\thigh\n", "has target 'B C'; expected a gene symbol"),
        (HEADER, "has no edges"),
        ("source\ttarget\tmor\nA\tB\t1\n", "missing regulator, sign, confidence, unknown source, mor; .*prior build"),
        (HEADER.replace("\t", ",") + "A,B,1,high\n", "separated by tabs"),
        ("", "is empty"),
        (HEADER + "A\tB\t1\thigh\textra\tand\tmore\n", "line 2 has 7 fields, but the header has 4"),
        (HEADER.replace("target", "regulator") + "A\tB\t1\thigh\n", "'regulator' occurs twice"),
    ],
)
def test_an_invalid_table_gives_an_error_of_one_sentence(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path, content)
    assert "network.tsv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_network_table(tmp_path / "absent.tsv", LEVELS)
    with pytest.raises(UserError, match="cannot be read"):
        read_network_table(tmp_path, LEVELS)


def test_a_network_prints_its_size_signs_and_sources(tmp_path: Path) -> None:
    network = read(tmp_path, HEADER + "A\tB\t1\thigh\nA\tC\t-1\thigh\nB\tC\t0\thigh\n")
    assert repr(network) == (
        "Network: 3 edges from 2 regulators to 2 targets\n"
        "    signs: 1 activating, 1 repressing, 1 unknown\n"
        "    sources: network (3)"
    )
    assert network.size() == "3 edges of 2 regulators, 66.7% with a known sign"


def test_the_built_in_network_needs_no_repair() -> None:
    network = read_network_table(IMMUNE_NETWORK, PriorSettings().confidence)
    assert len(network) > 300
    assert network.repairs.sentences() == []


@given(networks)
@settings(max_examples=40, deadline=None)
def test_a_written_network_is_read_unchanged(network: Network) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "network.tsv"
        write_network(network, path)
        again = read_network_table(path, {})
    pd.testing.assert_frame_equal(again.edges, network.edges)
    assert again.repairs.sentences() == []


@given(lines, st.randoms())
@settings(max_examples=60, deadline=None)
def test_a_network_is_valid_and_does_not_depend_on_the_order_of_lines(rows: list, random: object) -> None:
    network = repaired(frame(rows), "test", Repairs())
    edges, repairs = network.edges, network.repairs
    assert (edges["regulator"] != edges["target"]).all()
    assert not edges.duplicated(["regulator", "target"]).any()
    assert set(network.pairs) == {(row[0], row[1]) for row in rows if row[0] != row[1]}
    assert edges["confidence"].between(0, 1, inclusive="right").all()
    assert len(edges) == repairs.lines - repairs.self_edges - repairs.merged
    mixed = list(rows)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    other = repaired(frame(mixed), "test", Repairs())
    pd.testing.assert_frame_equal(other.edges, edges)
    assert other.repairs == repairs
