"""Readers of published networks: each format is read, and other files give an error in one sentence."""

import gzip
import string
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sctransformer.errors import UserError
from sctransformer.prior.gene_sets import regulator_and_sign
from sctransformer.prior.network import Network, write_network
from sctransformer.prior.readers import FORMATS, network_from_frame, read_network
from tests.unit.prior.prior_strategies import networks

CTX = (
    ",,Enrichment,Enrichment,Enrichment,Enrichment,Enrichment,Enrichment,Enrichment,Enrichment\n"
    ",,AUC,NES,MotifSimilarityQvalue,OrthologousIdentity,Annotation,Context,TargetGenes,RankAtMax\n"
    "TF,MotifID,,,,,,,,\n"
    "Irf1,m1,0.1,4.0,0.0,1.0,direct,\"frozenset({'activating', 'top50'})\",\"[('Stat1', 5.0), ('Gbp2', 2.0)]\",900\n"
    "Irf1,m2,0.1,3.0,0.0,1.0,direct,\"frozenset({'activating', 'top50'})\",\"[('Stat1', 6.0), ('Irf7', 1.0)]\",900\n"
    "Bcl6,m3,0.1,3.0,0.0,1.0,direct,\"frozenset({'repressing'})\",\"[('Ccl2', np.float64(0.5))]\",900\n"
)
TRRUST_RAW = (
    "AATF\tBAX\tRepression\t22909821\nAATF\tCDKN1A\tUnknown\t17157788\nABL1\tBAX\tActivation\t11753601;15696159\n"
)


def edges_of(network: Network) -> dict[tuple[str, str], tuple[int, float]]:
    edges = network.edges
    return dict(zip(network.pairs, zip(edges["sign"], edges["confidence"].round(6), strict=True), strict=True))


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str, str], Path]:
    """Write text to a file and return its path."""

    def write(content: str, name: str = "network.tsv") -> Path:
        path = tmp_path / name
        path.write_text(content)
        return path

    return write


Written = Callable[..., Path]

TWO = {("MYC", "TERT"): (1, 1.0), ("SPI1", "MYC"): (-1, 1.0)}


@pytest.mark.parametrize(
    "content",
    [
        "tf\ttarget\tmor\nMYC\tTERT\t1\nSPI1\tMYC\t-1\n",
        "source,target,weight,resources\nMYC,TERT,1.0,ExTRI;HTRI\nSPI1,MYC,-1.0,ExTRI\n",
        "TF;Target;Mode of regulation\nMYC;TERT;1.0\nSPI1;MYC;-1.0\n",
        '"" "tf" "target" "mor"\n"1" "MYC" "TERT" 1\n"2" "SPI1" "MYC" -1\n',
        '"tf" "target" "mor"\n"1" "MYC" "TERT" 1\n"2" "SPI1" "MYC" -1\n',
        "source\ttarget\tsource_genesymbol\ttarget_genesymbol\tis_stimulation\tis_inhibition\n"
        "P01106\tO14746\tMYC\tTERT\tTrue\tFalse\nP17947\tP01106\tSPI1\tMYC\tFalse\tTrue\n",
        "source_genesymbol\ttarget_genesymbol\tis_stimulation\tis_inhibition\tconsensus_stimulation\t"
        "consensus_inhibition\nMYC\tTERT\t1\t1\t1\t0\nSPI1\tMYC\t0\t1\t0\t0\n",
        "gene\ttarget\teffect\nMYC\tTERT\tactivation\nSPI1\tMYC\tRepression\n",
        "\ufefftf\ttarget\tmor\r\nMYC\tTERT\t1\r\nSPI1\tMYC\t-1\r\n\r\n",
    ],
)
def test_signed_tables_are_read_with_various_columns_and_separators(written: Written, content: str) -> None:
    path = written(content)
    assert edges_of(read_network(path)) == TWO
    assert edges_of(read_network(path, file_format="collectri", name="collectri")) == TWO
    assert set(read_network(path, name="collectri").edges["sources"]) == {"collectri"}


@pytest.mark.parametrize("separator", [",", ";"])
def test_the_projects_own_columns_are_read_with_other_separators(written: Written, separator: str) -> None:
    rows = (["regulator", "target", "sign", "confidence"], ["MYC", "TERT", "1", "high"], ["SPI1", "MYC", "-1", "1"])
    assert edges_of(read_network(written("\n".join(separator.join(row) for row in rows), "mine.csv"))) == TWO


def test_former_symbols_are_renamed_and_said(written: Written) -> None:
    path = written("tf\ttarget\tmor\nMLL\tCTGF\t1\nKMT2A\tCCN2\t-1\nKMT2A\tMLL\t1\nMYC\tTERT\t1\n")
    aliases = {"MLL": "KMT2A", "CTGF": "CCN2", "IGJ": "JCHAIN"}
    network = read_network(path, aliases=aliases)
    assert edges_of(network) == {("KMT2A", "CCN2"): (0, 1.0), ("MYC", "TERT"): (1, 1.0)}
    assert network.repairs.counts() == {
        "lines": 4,
        "self_edges": 1,
        "merged": 1,
        "sign_conflicts": 0,
        "sign_ties": 1,
        "renamed": 2,
    }
    assert "2 former symbols renamed." in network.repairs.sentences()
    assert edges_of(read_network(path, aliases={})) == edges_of(read_network(path))
    own = written("regulator\ttarget\tsign\tconfidence\nMLL\tCTGF\t1\t1\n")  # the pipeline reads it as it is
    assert read_network(own, aliases=aliases).pairs == [("MLL", "CTGF")]


def test_omnipath_signs_without_a_consensus_are_unknown(written: Written) -> None:
    header = "source_genesymbol\ttarget_genesymbol\tis_stimulation\tis_inhibition\n"
    assert edges_of(read_network(written(header + "A\tB\t1\t1\nA\tC\t0\t0\n"))) == {
        ("A", "B"): (0, 1),
        ("A", "C"): (0, 1),
    }


def test_dorothea_levels_give_confidences_and_can_be_selected(written: Written) -> None:
    path = written("tf\tconfidence\ttarget\tmor\nX\tA\tP\t1\nX\tB\tQ\t-1\nX\tE\tR\t1\nY\tD\tP\t1\n")
    assert edges_of(read_network(path)) == {
        ("X", "P"): (1, 1.0),
        ("X", "Q"): (-1, 0.5),
        ("X", "R"): (1, 0.2),
        ("Y", "P"): (1, 0.25),
    }
    chosen = read_network(path, levels=["A", "B"])
    assert chosen.pairs == [("X", "P"), ("X", "Q")]
    assert "2 edges of level D, E left out." in chosen.repairs.sentences()


def test_dorothea_from_decoupler_gives_the_same_confidences() -> None:
    frame = pd.DataFrame({"source": ["X", "X"], "target": ["P", "Q"], "weight": [1.0, -0.5], "confidence": ["A", "B"]})
    network = network_from_frame("dorothea as fetched", frame, "dorothea", "dorothea")
    assert edges_of(network) == {("X", "P"): (1, 1.0), ("X", "Q"): (-1, 0.5)}
    bare = network_from_frame("dorothea as fetched", frame.drop(columns="confidence"), "dorothea", "edges")
    assert edges_of(bare) == edges_of(network)


def test_trrust_is_read_with_and_without_a_header(written: Written) -> None:
    expected = {("AATF", "BAX"): (-1, 1.0), ("AATF", "CDKN1A"): (0, 1.0), ("ABL1", "BAX"): (1, 1.0)}
    assert edges_of(read_network(written(TRRUST_RAW, "trrust_rawdata.human.tsv"))) == expected
    header = "tf\ttarget\tmor\tpubmed_id\n"
    table = header + "AATF\tBAX\t-1.0\t2\nAATF\tCDKN1A\t0.0\t3\nABL1\tBAX\t1.0\t4\n"
    assert edges_of(read_network(written(table), file_format="trrust")) == expected


def test_a_chip_table_has_no_signs(written: Written) -> None:
    network = read_network(written("tf\ttarget\twhich_chip_seq\nA\tB\tremap\nA\tA\tremap\n"), file_format="chip")
    assert edges_of(network) == {("A", "B"): (0, 1.0)}
    sentences = network.repairs.sentences()
    assert "1 column not used: which_chip_seq." in sentences
    assert any("1 self-edge dropped" in sentence for sentence in sentences)


def test_confidences_of_adjacencies_are_ranks_of_importance(written: Written) -> None:
    path = written("TF\ttarget\timportance\nA\tB\t300.0\nA\tC\t0.1\nB\tC\t0.1\nB\tA\t1e-9\n")
    assert edges_of(read_network(path)) == {
        ("A", "B"): (0, 1.0),
        ("A", "C"): (0, 0.75),
        ("B", "C"): (0, 0.75),
        ("B", "A"): (0, 0.25),
    }


@pytest.mark.parametrize("separator", [",", "\t"])
def test_regulons_of_ctx_are_read_with_their_header_of_three_lines(written: Written, separator: str) -> None:
    content = CTX
    if separator == "\t":
        rows = pd.read_csv(written(CTX, "x.csv"), header=None, dtype=str, keep_default_na=False)
        content = rows.to_csv(sep="\t", header=False, index=False)
    network = read_network(written(content, "reg.csv"))
    assert edges_of(network) == {
        ("Bcl6", "Ccl2"): (-1, 0.25),
        ("Irf1", "Gbp2"): (1, 0.75),
        ("Irf1", "Irf7"): (1, 0.5),
        ("Irf1", "Stat1"): (1, 1.0),
    }
    assert network.repairs.format == "regulons"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Irf1(+)", ("Irf1", 1)),
        ("Irf1(-)", ("Irf1", -1)),
        ("Irf1_(+)", ("Irf1", 1)),
        ("IRF1_up", ("IRF1", 1)),
        ("IRF1_DN", ("IRF1", -1)),
        ("IRF1_repressed", ("IRF1", -1)),
        ("Irf1 (104g)", ("Irf1", 0)),
        ("Irf1_extended (108g)", ("Irf1", 0)),
        ("Irf1_extended(+) (12g)", ("Irf1", 1)),
        ("NKX2-5", ("NKX2-5", 0)),
        ("GROUP", ("GROUP", 0)),
    ],
)
def test_the_name_of_a_gene_set_gives_regulator_and_sign(name: str, expected: tuple[str, int]) -> None:
    assert regulator_and_sign(name) == expected


def test_gene_sets_are_read(written: Written) -> None:
    path = written("Irf1(+)\tfrom ctx\tStat1\tGbp2\t\t\nBcl6(-)\t\tCcl2\n", "regulons.gmt")
    assert edges_of(read_network(path)) == {
        ("Irf1", "Stat1"): (1, 1),
        ("Irf1", "Gbp2"): (1, 1),
        ("Bcl6", "Ccl2"): (-1, 1),
    }


@pytest.mark.parametrize("ending", ["parquet", "csv", "csv.gz", "tsv"])
def test_base_grns_are_read_from_parquet_and_text(tmp_path: Path, ending: str) -> None:
    table = pd.DataFrame(
        {
            "peak_id": ["chr1_1_2", "chr1_5_9", "chr2_1_2"],
            "gene_short_name": ["Mrpl15", "Mrpl15", "Sox2"],
            "Sox2": [1, 1, 1],
            "Nanog": [0, 0, 1],
        }
    ).astype({"Sox2": float, "Nanog": "int8"})
    path = tmp_path / f"base_grn.{ending}"
    if ending == "parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, sep="\t" if ending == "tsv" else ",")  # with the index, as CellOracle users write it
    network = read_network(path)
    assert edges_of(network) == {("Nanog", "Sox2"): (0, 1.0), ("Sox2", "Mrpl15"): (0, 1.0)}
    assert (network.repairs.merged, network.repairs.self_edges, network.repairs.lines) == (1, 1, 4)


def test_wide_base_grns_are_read_in_pieces(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    binds = rng.random((4500, 130)) < 0.01
    factors = [f"TF{index}" for index in range(130)]
    table = pd.DataFrame(binds.astype("int8"), columns=factors)
    table.insert(0, "gene_short_name", [f"GENE{index}" for index in range(4500)])
    table.insert(0, "peak_id", "peak")
    table.to_parquet(tmp_path / "base.parquet", index=False)
    table.to_csv(tmp_path / "base.csv", index=False)
    from_parquet, from_text = read_network(tmp_path / "base.parquet"), read_network(tmp_path / "base.csv", name="base")
    assert set(from_parquet.pairs) == {(factors[column], f"GENE{row}") for row, column in np.argwhere(binds)}
    pd.testing.assert_frame_equal(from_parquet.edges, from_text.edges)


def test_the_projects_own_table_is_read_also_with_more_columns(written: Written) -> None:
    own = "regulator\ttarget\tsign\tconfidence\nA\tB\t-1\tmedium\n"
    assert read_network(written(own)).repairs.format == "table"
    assert edges_of(read_network(written(own))) == {("A", "B"): (-1, 0.7)}
    more = "regulator\ttarget\tsign\tconfidence\tcurator\nA\tB\t-1\tmedium\tme\n"
    network = read_network(written(more))
    assert edges_of(network) == {("A", "B"): (-1, 0.7)}
    assert network.repairs.sentences() == ["1 column not used: curator."]


BROKEN: list[tuple[str, str, str]] = [
    ("wrong separator", "tf|target|mor\nA|B|1\n", "no column for the regulator .* and target"),
    ("no header", "MYC\tTERT\t1\nSPI1\tMYC\t1\n", "rename them or add a header"),
    ("no target", "tf\tmor\nA\t1\n", "no column for the target"),
    ("sign 2", "tf\ttarget\tmor\nA\tB\t1\nA\tC\t2\n", "line 3 has mor '2'; expected 1 .activates"),
    ("sign a half", "tf\ttarget\tmor\nA\tB\t0.5\n", "line 2 has mor '0.5'"),
    ("sign missing", "tf\ttarget\tmor\nA\tB\tNaN\n", "line 2 has mor 'NaN'"),
    ("confidence 0", "tf\ttarget\tconfidence\nA\tB\t0\n", "line 2 has confidence '0'; expected A to E"),
    ("confidence 7", "tf\ttarget\tconfidence\nA\tB\t7\n", "line 2 has confidence '7'"),
    ("confidence F", "tf\ttarget\tconfidence\tmor\nA\tB\tA\t1\nA\tC\tF\t1\n", "line 3 has confidence 'F'"),
    ("weight 0", "source\ttarget\tweight\nA\tB\t0\n", "line 2 has weight '0'; expected a number from -1 to 1"),
    ("weight 11", "source\ttarget\tweight\nA\tB\t11.5\n", "line 2 has weight '11.5'"),
    ("importance negative", "TF\ttarget\timportance\nA\tB\t-1\n", "line 2 has importance '-1'; expected a number"),
    ("importance endless", "TF\ttarget\timportance\nA\tB\tinf\n", "line 2 has importance 'inf'"),
    ("gene missing", "tf\ttarget\tmor\nA\t\t1\n", "line 2 has target ''; expected a gene symbol"),
    ("gene NaN", "tf\ttarget\tmor\nnan\tB\t1\n", "line 2 has tf 'nan'; expected a gene symbol"),
    ("gene with a space", "tf\ttarget\tmor\nA\tB C\t1\n", "line 2 has target 'B C'"),
    ("too many fields", "tf\ttarget\tmor\nA\tB\t1\nA\tB\t1\t2\n", "line 3 has 4 fields, but the header has 3"),
    ("open quote", 'tf\ttarget\tmor\nA\t"B\t1\nC\tD\t1\n', "line 2 has target"),
    ("column twice", "tf\ttarget\ttarget\nA\tB\tC\n", "'target' occurs twice"),
    ("empty", "", "is empty"),
    ("blank", "\n \n\n", "is empty"),
    ("header only", "tf\ttarget\tmor\n", "has no edges"),
    ("self-edges only", "tf\ttarget\tmor\nA\tA\t1\n", "no edge between two different genes"),
    ("binary", "tf\ttarget\0\nA\tB\n", "is binary, not text"),
    (
        "flags",
        "source_genesymbol\ttarget\tis_stimulation\tis_inhibition\nA\tB\tmaybe\t0\n",
        "has is_stimulation 'maybe'",
    ),
    ("regulon without a list", CTX.replace("[('Ccl2', np.float64(0.5))]", "Ccl2"), r"line 6 \(Bcl6\) has TargetGenes"),
    ("regulon that calls", CTX.replace("[('Ccl2', np.float64(0.5))]", "print(1)"), r"line 6 \(Bcl6\) has TargetGenes"),
    ("regulons cut", CTX[:300], r"line 4 .Irf1. has TargetGenes .*; expected a list"),
    ("base GRN with 2", "peak_id,gene_short_name,Sox2\np,A,1\nq,B,2\n", "line 3 has Sox2 .*2.*; expected 0 or 1"),
    ("base GRN cut", "peak_id,gene_short_name,Sox2,Nanog\np,A,1,0\nq,B,1\n", "line 3 has Nanog .*; expected 0 or 1"),
    ("base GRN too long", "peak_id,gene_short_name,Sox2\np,A,1,1\n", "line 2 has more fields"),
    ("base GRN without factors", "peak_id,gene_short_name\np,A\n", "no factor columns"),
    ("base GRN without a gene", "peak_id,gene_short_name,Sox2\np,,1\n", "line 2 has gene_short_name ''"),
]


@pytest.mark.parametrize(("what", "content", "message"), BROKEN, ids=[each[0] for each in BROKEN])
def test_an_invalid_network_gives_an_error_of_one_sentence(
    written: Written, what: str, content: str, message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_network(written(content))
    assert "network.tsv" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Irf1(+)\tset\n", r"line 1 \('Irf1\(\+\)'\) has no target"),
        ("A\tset\tB\n\nC\tset\tB\t\tD\n", r"line 3 \('C'\) holds ''; expected a gene symbol"),
        ("(+)\tset\tB\n", r"line 1 .* holds ''"),
        ("A set B C\n", "line 1 .* has no target"),
        ("", "is empty"),
    ],
)
def test_invalid_gene_sets_give_an_error_of_one_sentence(written: Written, content: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_network(written(content, "sets.gmt"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(b"tf\ttarget\nA\tB\n" * 500, mtime=0)[:60], "truncated or damaged gzip file"),
        (b"\x1f\x8b" + bytes(30), "truncated or damaged gzip file"),
        (b"PAR1" + bytes(100) + b"PAR1", "damaged Parquet file"),
        (b"PAR1", "damaged Parquet file"),
        (b"PK\x03\x04 and so on", "is a zip archive"),
        ("tf\ttarget\nA\tB\n".encode("utf-16"), "is UTF-16 text"),
        (b"tf\ttarget\nA\t\xff\xfe\n", "is not a text table in UTF-8"),
        (bytes(range(256)), "is binary, not text"),
    ],
)
def test_a_damaged_file_gives_an_error_of_one_sentence(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "network.tsv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_network(path)
    assert "\n" not in str(caught.value)


def test_a_truncated_parquet_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "network.parquet"
    pd.DataFrame({"tf": [f"A{index}" for index in range(999)], "target": "B"}).to_parquet(path)
    assert len(read_network(path)) == 999
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UserError, match="damaged Parquet file"):
        read_network(path)


def test_a_parquet_file_with_changed_bytes_gives_a_network_or_an_error(tmp_path: Path) -> None:
    path = tmp_path / "network.parquet"
    targets = [f"B{index}" for index in range(300)]
    pd.DataFrame({"tf": ["A1", "A2", "A3"] * 100, "target": targets, "mor": 1.0}).to_parquet(path)
    whole, rng, refused = path.read_bytes(), np.random.default_rng(0), 0
    for _ in range(150):
        changed = bytearray(whole)
        for position in rng.integers(4, len(changed), rng.integers(1, 5)):
            changed[position] = rng.integers(256)
        refused += read_bytes(bytes(changed), "network.parquet", "auto") is None
    assert refused > 0


def test_the_error_for_a_missing_parquet_value_names_its_row(tmp_path: Path) -> None:
    path = tmp_path / "network.parquet"
    pd.DataFrame({"tf": ["A", None], "target": ["B", "C"]}).to_parquet(path)
    with pytest.raises(UserError, match="row 2 has tf ''; expected a gene symbol"):
        read_network(path)


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("tf\ttarget\nA\tB\n", {"file_format": "collectri"}, "has no column mor, weight or is_stimulation"),
        ("tf\ttarget\tmor\nA\tB\t1\n", {"file_format": "dorothea"}, "has no column confidence"),
        ("tf\ttarget\nA\tB\n", {"file_format": "adjacencies"}, "has no column importance"),
        ("tf\ttarget\nA\tB\n", {"file_format": "regulons"}, "has no column TF and no column TargetGenes"),
        ("tf\ttarget\nA\tB\n", {"file_format": "base-grn"}, "has no column gene_short_name"),
        ("tf\ttarget\nA\tB\n", {"file_format": "table"}, "missing regulator, sign, confidence"),
        ("tf\ttarget\nA\tB\n", {"file_format": "sif"}, "unknown format 'sif'; choose one of auto, table"),
        ("tf\ttarget\nA\tB\n", {"levels": ["A"]}, "has no confidence levels A to E"),
        ("tf\ttarget\tconfidence\nA\tB\tE\n", {"levels": ["A"]}, "has no edge of level A"),
        ("tf\ttarget\tconfidence\nA\tB\tE\n", {"levels": ["Z"]}, "Z is not a confidence level"),
        ("A\tset\tB\n", {"levels": ["A"], "file_format": "gmt"}, "which has no levels A to E"),
    ],
)
def test_the_error_names_what_the_requested_format_or_level_lacks(
    written: Written, content: str, options: dict, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read_network(written(content), **options)


def read_bytes(content: bytes, name: str, kind: str) -> Network | None:
    """Read bytes as a file; return None if a UserError is raised. Any other error fails the test."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        try:
            return read_network(path, file_format=kind)
        except UserError as error:
            assert "\n" not in str(error)
            return None


FIELD = st.one_of(
    st.sampled_from(["tf", "target", "mor", "weight", "importance", "confidence", "TargetGenes", "TF", "A", "B", "1"]),
    st.sampled_from(
        ["peak_id", "gene_short_name", "sign", "regulator", "-1", "0", "0.5", "nan", "", '"', "[('A', 1)]"]
    ),
    st.text(alphabet=string.printable + "é\u2028\x85", max_size=6),
)
TABLE = st.lists(st.lists(FIELD, max_size=5), max_size=6)


@given(st.binary(max_size=200), st.sampled_from(sorted(FORMATS)))
@example(b"\x1f\x8b", "auto")
@example(b"PAR1PAR1", "auto")
@example(b'"', "auto")
@settings(max_examples=150, deadline=None)
def test_arbitrary_bytes_give_a_network_or_an_error(content: bytes, kind: str) -> None:
    read_bytes(content, "network.tsv", kind)
    read_bytes(gzip.compress(content, mtime=0), "network.tsv.gz", kind)


@given(TABLE, st.sampled_from(["\t", ",", ";"]), st.sampled_from(sorted(FORMATS)), st.sampled_from(["a.tsv", "a.gmt"]))
@settings(max_examples=200, deadline=None)
def test_an_arbitrary_table_gives_a_valid_network_or_an_error(
    rows: list[list[str]], separator: str, kind: str, name: str
) -> None:
    network = read_bytes("\n".join(separator.join(row) for row in rows).encode(), name, kind)
    if network is not None:
        edges = network.edges
        assert len(edges) > 0
        assert (edges["regulator"] != edges["target"]).all()
        assert not edges.duplicated(["regulator", "target"]).any()
        assert edges["sign"].isin([-1, 0, 1]).all()
        assert edges["confidence"].between(0, 1, inclusive="right").all()


@given(networks, st.sampled_from(["own", "weights", "parquet", "gmt"]))
@settings(max_examples=40, deadline=None)
def test_a_network_is_read_unchanged_from_each_format(network: Network, form: str) -> None:
    edges = network.edges
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / {"parquet": "n.parquet", "gmt": "n.gmt"}.get(form, "n.tsv")
        if form == "own":
            write_network(network, path)
        elif form == "weights":
            edges = edges[edges["sign"] != 0]
            signed = edges.assign(weight=edges["sign"] * edges["confidence"])
            signed.to_csv(path, columns=["target", "regulator", "weight"], sep=",", index=False)
        elif form == "parquet":
            edges.rename(columns={"regulator": "TF"}).to_parquet(path)
        else:
            ending = {1: "(+)", -1: "(-)", 0: ""}
            groups = edges.groupby(["regulator", "sign"])["target"]
            path.write_text("".join(f"{tf}{ending[sign]}\t-\t" + "\t".join(to) + "\n" for (tf, sign), to in groups))
        if edges.empty:
            return
        again = read_network(path).edges
    columns = ["regulator", "target", "sign"] if form == "gmt" else ["regulator", "target", "sign", "confidence"]
    pd.testing.assert_frame_equal(again[columns], edges[columns].reset_index(drop=True))
