"""The commands `sctransformer prior ...`, and their errors."""

import os
import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from sctransformer.errors import DEBUG_VARIABLE
from sctransformer.files import read_json, write_json
from sctransformer.prior import fetch as fetch_module
from sctransformer.prior.network import IMMUNE_NETWORK, read_network_table
from tests.integration.conftest import Call
from tests.regulated_cells import regulated_cells

COLLECTRI = "source\ttarget\tweight\nA\tB\t1\nA\tC\t-1\nB\tC\t1\nA\tA\t1\nNFKB\tA\t1\n"
DOROTHEA = "tf\tconfidence\ttarget\tmor\nA\tA\tB\t1\nB\tC\tC\t-1\nC\tE\tD\t1\n"
GENES = ["A", "B", "C", "D", "Q"]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DEBUG_VARIABLE, "")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "collectri.tsv").write_text(COLLECTRI)
    (tmp_path / "dorothea.tsv").write_text(DOROTHEA)


@pytest.fixture
def call(call: Call) -> Call:
    """Like the shared `call`, but the first argument is a command line that is split into words."""
    return lambda line, *words: call(*line.split(), *words)


def edges(path: str) -> dict[tuple[str, str], tuple[int, float, str]]:
    """Sign, confidence and sources of each pair in a written network."""
    network = read_network_table(Path(path), {})
    table = network.edges
    values = zip(table["sign"], table["confidence"].round(3), table["sources"], strict=True)
    return dict(zip(network.pairs, values, strict=True))


def test_build_merges_networks_and_reports_repairs(call: Call) -> None:
    words = "-i collectri=collectri.tsv -i dorothea=dorothea.tsv:A,C --weight dorothea=0.5 -o networks/mine.tsv"
    done = call(f"prior build {words}")
    assert done.code == 0, done.err
    assert "collectri: read as edges, 5 lines; 8 edges of 7 regulators" in done.out
    assert "1 self-edge dropped" in done.out
    assert "The complex NFKB was replaced by its members NFKB1, NFKB2, REL, RELA, RELB: 1 edge became 5." in done.out
    assert "1 edge of level E left out." in done.out
    assert "networks/mine.tsv: 8 edges of 7 regulators" in done.out
    found = edges("networks/mine.tsv")
    assert found["A", "B"] == (1, 1.0, "collectri;dorothea")
    assert found["B", "C"] == (1, 1.0, "collectri;dorothea")  # 1.0 against 0.5 / 3
    assert found["A", "C"] == (-1, 1.0, "collectri")


def test_build_reports_genes_in_another_letter_case(call: Call) -> None:
    Path("lower.tsv").write_text("tf\ttarget\nspi1\tCD14\nSPI1(+)\tCD68\n")
    done = call("prior build -i lower=lower.tsv -o mine.tsv")
    assert done.code == 0, done.err
    assert "1 regulon name read as regulator" in done.out
    assert "Warning: lower.tsv: 1 of 2 regulators are human symbols only when letter case is ignored" in done.err
    assert "correct the letter case" in done.err


def test_build_can_merge_by_intersection_or_vote(call: Call) -> None:
    inputs = "-i one=collectri.tsv -i two=dorothea.tsv -i three=collectri.tsv"
    assert call(f"prior build {inputs} --merge intersection -o both.tsv").code == 0
    assert set(edges("both.tsv")) == {("A", "B"), ("B", "C")}
    assert call(f"prior build {inputs} --merge vote --min-votes 2 -o vote.tsv").code == 0
    assert set(edges("vote.tsv")) == set(edges("both.tsv")) | {("A", "C")} | {
        (gene, "A") for gene in ("NFKB1", "NFKB2", "REL", "RELA", "RELB")
    }


def test_build_overwrites_a_file_only_with_force(call: Call) -> None:
    Path("mine.tsv").write_text("precious")
    refused = call("prior build -i x=dorothea.tsv -o mine.tsv")
    assert (refused.code, Path("mine.tsv").read_text()) == (1, "precious")
    assert refused.err == ("Error: mine.tsv: already exists; choose another name, or overwrite it with --force.\n")
    assert call("prior build -i x=dorothea.tsv -o mine.tsv --force").code == 0
    assert len(edges("mine.tsv")) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("-i collectri.tsv -o x.tsv", "expected NAME=FILE or NAME=FILE:LEVELS"),
        ("-i a=collectri.tsv -i a=dorothea.tsv -o x.tsv", "the name 'a' is used twice"),
        ("-i a=absent.tsv -o x.tsv", "absent.tsv: no such file."),
        ("-i a=dorothea.tsv:A,Z -o x.tsv", "Z is not a confidence level"),
        ("-i a=collectri.tsv:A -o x.tsv", "has no confidence levels A to E"),
        ("-i a=collectri.tsv -o x.parquet", "use a name that ends in .tsv"),
        ("-i a=collectri.tsv -o .", "is a folder; give a file"),
        ("-i a=collectri.tsv --weight b=0.5 -o x.tsv", "no input is called 'b'; inputs are a"),
        ("-i a=collectri.tsv --weight a=much -o x.tsv", "--weight a=much: expected a number above 0 and up to 1"),
        ("-i a=collectri.tsv --weight a=2 -o x.tsv", "--weight a=2: expected a number above 0"),
        ("-i a=collectri.tsv --weight a -o x.tsv", "--weight a: expected NAME=VALUE"),
        ("-i a=collectri.tsv --format a=sif -o x.tsv", "unknown format 'sif'"),
        ("-i a=collectri.tsv --merge vote -o x.tsv", "--merge vote needs --min-votes"),
        ("-i a=collectri.tsv --merge vote --min-votes 2 -o x.tsv", "number of votes is 2 for 1 networks"),
        ("-i a=collectri.tsv -i b=other.tsv --merge intersection -o x.tsv", "no edge is in 2 of 2 networks"),
    ],
)
def test_a_failing_build_gives_an_error_of_one_sentence_and_writes_nothing(
    call: Call, words: str, message: str
) -> None:
    Path("other.tsv").write_text("tf\ttarget\nX\tY\n")
    refused = call(f"prior build {words}")
    assert refused.code == 1
    assert message in refused.err
    assert refused.err.startswith("Error: ")
    assert refused.err.count("\n") == 1
    assert not Path("x.tsv").exists()


def test_build_lists_the_formats_it_reads(call: Call) -> None:
    listed = call("prior build -i a=collectri.tsv --format a=help -o x.tsv")
    assert listed.code == 0
    assert "gene sets named after regulators" in listed.out
    assert not Path("x.tsv").exists()


def cells_file(path: str) -> None:
    counts = sparse.csr_matrix(np.ones((3, len(GENES)), dtype=np.float32))
    anndata.AnnData(counts, var=pd.DataFrame(index=GENES)).write_h5ad(path)


@pytest.mark.parametrize("genes", ["cells.h5ad", "panel.parquet"])
def test_coverage_prints_and_writes_metrics(call: Call, genes: str) -> None:
    cells_file("cells.h5ad")
    pd.DataFrame({"gene": GENES, "is_regulator": True}).to_parquet("panel.parquet")
    done = call(f"prior coverage collectri.tsv {genes} --gene-column var_names -o coverage")
    assert done.code == 0, done.err
    metrics = dict(line.rsplit("  ", 1) for line in done.out.splitlines() if line[:5] in ("genes", "edges"))
    assert {name.strip(): value for name, value in metrics.items()}["edges kept"] == "3"
    written = pd.read_csv("coverage/coverage.tsv", sep="\t", index_col="figure")["value"]
    assert written["genes_with_regulator_share"] == pytest.approx(2 / 5)
    assert pd.read_csv("coverage/regulators.tsv", sep="\t").to_dict("list") == {
        "regulator": ["A", "B"],
        "targets": [2, 1],
    }
    assert pd.read_csv("coverage/degrees.tsv", sep="\t")["genes_with_in_degree"].tolist() == [3, 1, 1]
    assert Path("coverage/coverage.png").read_bytes().startswith(b"\x89PNG")


def test_coverage_of_other_gene_names_is_zero_with_a_hint(call: Call) -> None:
    pd.DataFrame({"gene": ["ENSG00000000003"]}).to_parquet("panel.parquet")
    done = call("prior coverage collectri.tsv panel.parquet")
    assert done.code == 0
    assert "do both use the same gene names?" in done.err


@pytest.mark.parametrize(
    ("genes", "message"),
    [
        ("absent.h5ad", "absent.h5ad: no such file"),
        ("collectri.tsv", "collectri.tsv"),
        ("labels.parquet", "no column gene"),
    ],
)
def test_coverage_refuses_a_file_without_genes(call: Call, genes: str, message: str) -> None:
    pd.DataFrame({"label": ["x"]}).to_parquet("labels.parquet")
    refused = call(f"prior coverage collectri.tsv {genes}")
    assert refused.code == 1
    assert message in refused.err
    assert refused.err.count("\n") == 1


def test_compare_prints_shared_genes_and_edges(call: Call) -> None:
    done = call("prior compare collectri.tsv dorothea.tsv")
    assert done.code == 0, done.err
    shown = {line[:20].strip(): line.split()[-1] for line in done.out.splitlines()[2:]}
    assert shown["edges shared"] == "2"
    assert shown["sign agreement"] == "0.500"


def test_shuffle_keeps_degrees_and_is_reproducible_with_a_seed(call: Call) -> None:
    rows = [f"R{one}\tT{other}\t1\t1.0\n" for one in range(6) for other in range(12) if (one + other) % 3]
    Path("network.tsv").write_text("regulator\ttarget\tsign\tconfidence\n" + "".join(rows))
    for name in ("one.tsv", "two.tsv"):
        assert call(f"prior shuffle network.tsv --seed 3 -o {name}").code == 0
    assert Path("one.tsv").read_bytes() == Path("two.tsv").read_bytes()
    before, after = edges("network.tsv"), edges("one.tsv")
    assert set(before) != set(after)
    for end in (0, 1):
        assert sorted(pair[end] for pair in before) == sorted(pair[end] for pair in after)


def test_holdout_splits_a_network_in_two(call: Call) -> None:
    rows = [f"R{one}\tT{other}\t1\t1.0\n" for one in range(6) for other in range(10)]
    Path("network.tsv").write_text("regulator\ttarget\tsign\tconfidence\n" + "".join(rows))
    assert call("prior holdout network.tsv -o part.tsv --held-out rest.tsv --share 0.25 --seed 1").code == 0
    part, rest = set(edges("part.tsv")), set(edges("rest.tsv"))
    assert (len(part), len(rest)) == (45, 15)
    assert part | rest == set(edges("network.tsv"))
    assert part.isdisjoint(rest)
    twice = call("prior holdout network.tsv -o same.tsv --held-out same.tsv")
    assert (twice.code, Path("same.tsv").exists()) == (1, False)
    assert "given for both parts" in twice.err


def decouplers(name: str, levels: list[str]) -> pd.DataFrame:
    """A table with the columns that decoupler returns."""
    table = {"source": ["AP1", "SPI1"], "target": ["IL2", "CSF1R"], "weight": [1.0, -1.0]}
    extra = {"confidence": ["A", "A"]} if name == "dorothea" else {"resources": "ExTRI", "references": "1;2"}
    return pd.DataFrame({**table, **extra})


def test_fetch_writes_the_projects_own_table(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_module, "from_server", decouplers)
    done = call("prior fetch collectri -o networks/collectri.tsv")
    assert done.code == 0, done.err
    assert "The complex AP1 was replaced by its members" in done.out
    assert edges("networks/collectri.tsv")["SPI1", "CSF1R"] == (-1, 1.0, "collectri")
    assert not list(Path("networks").glob("*.dvc"))


@pytest.mark.slow
def test_fetch_puts_the_table_under_dvc_in_a_dvc_repository(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_module, "from_server", decouplers)
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q", "--no-scm"], check=True, env=environment)
    done = call("prior fetch dorothea --levels A -o networks/dorothea.tsv")
    assert done.code == 0, done.err
    assert "md5" in Path("networks/dorothea.tsv.dvc").read_text()
    Path(".dvc/config").write_text("broken")
    failed = call("prior fetch dorothea --levels A -o networks/again.tsv")
    assert failed.code == 1
    assert "networks/again.tsv: was written, but `dvc add` failed" in failed.err
    assert failed.err.count("\n") == 1


def test_fetch_without_a_connection_says_how_to_use_a_file(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # no server listens there
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
    failed = call("prior fetch collectri -o collectri_new.tsv")
    assert failed.code == 1
    assert "collectri could not be downloaded" in failed.err
    assert "prior build -i collectri=FILE -o NETWORK.tsv" in failed.err
    assert failed.err.count("\n") == 1
    assert not Path("collectri_new.tsv").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("dorothea --levels A,E", "dorothea has no level E; available levels: A, B, C, D"),
        ("collectri --levels A", "collectri has no level A; available levels: none"),
    ],
)
def test_fetch_refuses_unknown_levels(call: Call, words: str, message: str) -> None:
    failed = call(f"prior fetch {words} -o x.tsv")
    assert failed.code == 1
    assert message in failed.err


@pytest.mark.parametrize("verb", ["build", "coverage", "compare", "fetch", "shuffle", "holdout"])
def test_the_help_contains_an_example(call: Call, verb: str) -> None:
    helped = call(f"prior {verb} --help")
    assert helped.code == 0
    assert f"Example: sctransformer prior {verb}" in helped.out


@pytest.fixture
def scored_files() -> None:
    """Cells of two conditions whose genes follow a network, the network, and a table of known regulators."""
    cells = regulated_cells()
    symbols = read_network_table(Path(IMMUNE_NETWORK), {"high": 1.0, "medium": 1.0, "low": 1.0}).genes[:80]
    condition = np.where(cells.activity_NR[:, 2] > 0, "stim", "ctrl")
    obs = pd.DataFrame({"condition": condition}, index=[f"cell{index}" for index in range(len(condition))])
    anndata.AnnData(sparse.csr_matrix(cells.cells.counts_NG), obs=obs, var=pd.DataFrame(index=symbols)).write_h5ad(
        "cells.h5ad"
    )
    symbol_of = dict(zip(cells.genes, symbols, strict=True))
    edges = cells.network.edges.assign(target=cells.network.edges["target"].map(symbol_of))
    edges.to_csv("network.tsv", sep="\t", index=False)
    Path("known.tsv").write_text("cell_type\tregulator\nstim\tREGULATOR002\n")
    Path("effects.tsv").write_text("regulator\ttarget\nREGULATOR002\tCD3D\n")


def test_score_compares_a_network_with_its_shuffles(call: Call, scored_files: None) -> None:
    groups = "--group-column condition --stimulated stim --expected REGULATOR002 --known known.tsv"
    done = call(f"prior score network.tsv cells.h5ad {groups} --shuffles 10 --json score.json --html score.html")
    assert done.code == 0, done.err
    assert "80 edges of 8 regulators, 100.0% with a known sign, with at least 5 targets" in done.out
    assert "hidden genes        passed" in done.out
    assert "stimulation, " not in done.err
    content = read_json(Path("score.json"))
    names = ["hidden genes", "hidden edges", "stimulation", "lineage regulators"]
    assert [one["name"] for one in content["measurements"]] == names
    assert {len(one["shuffled"]) for one in content["measurements"]} == {10}
    assert [one["passed"] for one in content["measurements"][:3]] == [True, True, True]
    page = Path("score.html").read_text()
    assert all(f"<h2>{one['name']}</h2>" in page for one in content["measurements"])
    assert page.count("<circle") == 40
    assert "http" not in page
    done = call("prior score network.tsv cells.h5ad --shuffles 2 --knock-outs known.tsv")
    assert "known.tsv: has no column target" in done.err
    Path("others.tsv").write_text("regulator\ttarget\nSPI1\tLYZ\n")
    done = call("prior score network.tsv cells.h5ad --shuffles 2 --knock-outs others.tsv")
    assert (done.code, "no edge has both ends in others.tsv" in done.err) == (0, True)
    again = call(f"prior score network.tsv cells.h5ad {groups} --shuffles 10 --json again.json")
    assert again.code == 0
    assert read_json(Path("again.json")) == content


def test_compare_shows_the_difference_of_two_scorecards(call: Call, scored_files: None) -> None:
    assert call("prior shuffle network.tsv --seed 1 -o shuffled.tsv").code == 0
    both = call("prior compare shuffled.tsv network.tsv --cells cells.h5ad --shuffles 10 --json both.json")
    assert both.code == 0, both.err
    found = read_json(Path("both.json"))
    edges_of = {one["name"]: one for one in found["measurements"]}["hidden edges"]
    assert (edges_of["first_passed"], edges_of["second_passed"]) == (False, True)
    assert edges_of["change"] == edges_of["second"] - edges_of["first"] > 0
    assert len(found["regulators"]["gained"]) > len(found["regulators"]["lost"])
    assert "only in the second: REGULATOR" in both.out
    for name in ("shuffled", "network"):
        assert call(f"prior score {name}.tsv cells.h5ad --shuffles 10 --json {name}.json").code == 0
    cards = call("prior compare shuffled.json network.json --json cards.json")
    assert cards.code == 0, cards.err
    assert read_json(Path("cards.json"))["measurements"] == found["measurements"]
    assert "(not passed) to" in cards.out
    content = read_json(Path("network.json"))
    write_json(Path("other.json"), content | {"cells": "others.h5ad"})
    assert "measured on different cells" in call("prior compare shuffled.json other.json").err
    write_json(Path("damaged.json"), {"measurements": [{}]})
    for words, message in (
        ("network.json network.tsv", "one is a scorecard and one is not"),
        ("network.json damaged.json", "damaged.json: is no scorecard"),
        ("network.json shuffled.json --cells cells.h5ad", "which --cells cannot score"),
        ("network.tsv shuffled.tsv --model bundle", "--model needs --cells"),
    ):
        refused = call(f"prior compare {words}")
        assert (refused.code, refused.err.count("\n")) == (1, 1)
        assert message in refused.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--stimulated stim", "--stimulated and --expected belong together"),
        ("--known known.tsv", "--group-column is missing"),
        ("--group-column condition", "nothing is measured with it"),
        ("--group-column batch --known known.tsv", "obs has no column 'batch'; it has condition"),
        (
            "--group-column condition --stimulated IFN --expected A",
            "no cell has 'IFN' in obs['condition']",
        ),
        ("--group-column condition --stimulated stim --expected A", "--expected A: none is a regulator of the network"),
        ("--group-column condition --known effects.tsv", "effects.tsv: has no column cell_type"),
        ("--min-targets 11", "network.tsv, cells.h5ad: no regulator of the network has 11 targets"),
        ("--knock-outs nothing.tsv", "nothing.tsv"),
    ],
)
def test_score_refuses_what_cannot_be_measured(call: Call, scored_files: None, words: str, message: str) -> None:
    done = call(f"prior score network.tsv cells.h5ad {words} --json score.json")
    assert done.code == 1, done
    assert message in " ".join(done.err.split())
    assert not Path("score.json").exists()
