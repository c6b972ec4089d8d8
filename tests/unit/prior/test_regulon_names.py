"""Names of regulons are read as the regulator and the sign of its edges."""

from pathlib import Path

import pytest

from sctransformer.errors import UserError
from sctransformer.prior.letter_case import letter_case_warning
from sctransformer.prior.network import read_network_table
from sctransformer.prior.readers import read_network
from sctransformer.prior.regulon_names import regulon_name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("SPI1", ("SPI1", 0)),
        ("SPI1(+)", ("SPI1", 1)),
        ("SPI1(-)", ("SPI1", -1)),
        ("SPI1 (+)", ("SPI1", 1)),
        ("SPI1_+_+", ("SPI1", 1)),
        ("SPI1_-_+", ("SPI1", -1)),
        ("SPI1_direct_+/+_(120g)", ("SPI1", 1)),
        ("SPI1_extended_-_-_(12r)", ("SPI1", -1)),
        ("SPI1_(+)-motif", ("SPI1", 1)),
        ("Irf1_extended (108g)", ("Irf1", 0)),
        ("NKX2-1(+)", ("NKX2-1", 1)),
        ("HLA-DRA", ("HLA-DRA", 0)),
        ("C4B_2", ("C4B_2", 0)),
        ("(+)", ("", 1)),
    ],
)
def test_a_name_gives_regulator_and_sign(name: str, expected: tuple[str, int]) -> None:
    assert regulon_name(name) == expected


def written(folder: Path, text: str) -> Path:
    path = folder / "network.tsv"
    path.write_text(text)
    return path


def test_signs_of_regulons_are_the_signs_of_their_edges(tmp_path: Path) -> None:
    path = written(tmp_path, "source\ttarget\tweight\nSPI1(+)\tCD14\t1\nSPI1(-)\tCD3D\t0.5\nPAX5\tCD19\t1\n")
    network = read_network(path)
    assert dict(zip(network.pairs, network.edges["sign"], strict=True)) == {
        ("SPI1", "CD14"): 1,
        ("SPI1", "CD3D"): -1,
        ("PAX5", "CD19"): 1,
    }
    sentences = " ".join(network.repairs.sentences())
    assert "2 regulon names read as regulator and sign of its edges (SPI1(+), SPI1(-))." in sentences
    assert "1 row took the sign of the regulon's name, which differs from its column." in sentences


def test_a_target_of_both_signs_takes_the_sign_of_the_greater_confidence(tmp_path: Path) -> None:
    path = written(
        tmp_path, "TF\ttarget\tweight\nSPI1(+)\tA1\t0.9\nSPI1(-)\tA1\t0.2\nSPI1(+)\tA2\t0.5\nSPI1(-)\tA2\t0.5\n"
    )
    network = read_network(path)
    assert network.edges["sign"].tolist() == [1, 0]
    assert (network.repairs.sign_conflicts, network.repairs.sign_ties) == (1, 1)


def test_the_projects_own_table_may_name_regulons(tmp_path: Path) -> None:
    path = written(tmp_path, "regulator\ttarget\tsign\tconfidence\nSPI1(-)\tCD3D\t0\t1\n")
    network = read_network_table(path, {})
    assert (network.pairs, network.edges["sign"].tolist()) == ([("SPI1", "CD3D")], [-1])


def test_a_name_that_is_no_symbol_is_refused_with_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, "tf\ttarget\nSPI1(+)\tCD14\nno gene\tCD3D\n")
    with pytest.raises(UserError, match="line 3 has tf 'no gene'; expected a gene symbol"):
        read_network(path)


def test_genes_in_another_letter_case_are_reported(tmp_path: Path) -> None:
    known = {"SPI1", "CD14", "CD3D", "C1orf112", "IGJ"}
    path = written(tmp_path, "tf\ttarget\nspi1\tCd14\nSPI1\tCD3D\nSPI1\tC1ORF112\nSPI1\tOTHER\nSPI1\tIGJ\n")
    warning = letter_case_warning(read_network(path), known)
    assert warning is not None
    assert warning.startswith(
        "1 of 2 regulators and 2 of 5 targets are human symbols only when letter case is ignored "
        "(spi1 for SPI1, C1ORF112 for C1orf112, Cd14 for CD14)"
    )
    assert letter_case_warning(read_network(written(tmp_path, "tf\ttarget\nSPI1\tCD14\n")), known) is None
