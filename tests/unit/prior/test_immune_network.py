"""The built-in network of blood and immune cells: its format, coverage, and agreement with public networks."""

import os
import re
import warnings
from importlib.resources import files
from pathlib import Path

import pandas as pd
import pytest

COLUMNS = ["regulator", "target", "sign", "confidence", "evidence", "reference"]
SYMBOL = re.compile(r"^[A-Z0-9][A-Z0-9-]*[A-Za-z0-9-]*$")
AP1 = frozenset({"FOS", "FOSB", "FOSL1", "FOSL2", "JUN", "JUNB", "JUND"})
NFKB = frozenset({"NFKB1", "NFKB2", "REL", "RELA", "RELB"})

Edge = tuple[str, str]


def read_table() -> pd.DataFrame:
    """Return the packaged table, every value as text."""
    text = files("sctransformer.prior") / "immune_network.tsv"
    with text.open(encoding="utf-8") as handle:
        return pd.read_csv(handle, sep="\t", dtype=str, keep_default_na=False)


def edges_of(table: pd.DataFrame, regulator: str, target: str) -> set[Edge]:
    """Return the (regulator, target) pairs of two named columns."""
    return set(zip(table[regulator].astype(str), table[target].astype(str), strict=True))


def reference_folder() -> Path:
    """Return the folder of public networks, or skip the calling test if it does not exist."""
    named = os.environ.get("SCTRANSFORMER_REFERENCE_DATA")
    if not named:
        pytest.skip("no public networks: SCTRANSFORMER_REFERENCE_DATA is not set")
    root = Path(named)
    folder = root / "prior"
    if not folder.is_dir():
        pytest.skip(f"no public networks at {folder}; name their parent in SCTRANSFORMER_REFERENCE_DATA")
    return folder


def read_networks(folder: Path) -> dict[str, set[Edge]]:
    """Return the edges of each public network; a complex of CollecTRI counts for each of its members."""
    collectri = edges_of(pd.read_csv(folder / "collectri_human.tsv.gz", sep="\t"), "tf", "target")
    for name, members in (("AP1", AP1), ("NFKB", NFKB)):
        targets = {target for regulator, target in collectri if regulator == name}
        collectri |= {(member, target) for member in members for target in targets}
    dorothea = pd.read_csv(folder / "dorothea_human_AE.tsv.gz", sep="\t")
    dorothea = dorothea[dorothea["confidence"].isin(["A", "B", "C"])]
    trrust = pd.read_csv(folder / "trrust_human_via_dorothea.tsv.gz", sep="\t")
    remap = pd.read_parquet(folder / "remap_chipseq_human.parquet")
    return {
        "CollecTRI": collectri,
        "DoRothEA A-C": edges_of(dorothea, "tf", "target"),
        "TRRUST": edges_of(trrust, "tf", "target"),
        "ReMap": edges_of(remap, "tf", "target"),
    }


def test_table_is_well_formed() -> None:
    """Checks header, values, symbols and order; no edge occurs twice or is a self-edge."""
    table = read_table()
    assert list(table.columns) == COLUMNS
    assert set(table["sign"]) <= {"1", "-1"}
    assert set(table["confidence"]) <= {"high", "medium", "low"}
    assert (table["evidence"].str.strip() != "").all()
    assert (table["evidence"].str.len() <= 100).all()
    symbols = set(table["regulator"]) | set(table["target"])
    assert [symbol for symbol in sorted(symbols) if not SYMBOL.match(symbol)] == []
    assert (table["regulator"] != table["target"]).all()
    pairs = list(zip(table["regulator"], table["target"], strict=True))
    assert len(pairs) == len(set(pairs))
    assert pairs == sorted(pairs)
    assert len(pairs) >= 300
    assert table["regulator"].nunique() >= 60


def test_enough_edges_are_within_the_demo_panel() -> None:
    """The genes of the example cells contain both ends of enough edges to interpret attention with them."""
    scanpy = pytest.importorskip("scanpy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        panel = set(scanpy.datasets.pbmc68k_reduced().var_names)
    table = read_table()
    inside = table[table["regulator"].isin(panel) & table["target"].isin(panel)]
    print(f"\n{len(inside)} edges from {inside['regulator'].nunique()} regulators lie within the panel of {len(panel)}")
    assert len(inside) >= 120


def test_most_edges_are_in_a_public_network() -> None:
    """At least 80% of the edges are in a public network (not independent: they were used to write the table)."""
    networks = read_networks(reference_folder())
    table = read_table()
    edges = list(zip(table["regulator"], table["target"], strict=True))
    print()
    for name, known in networks.items():
        print(f"{name}: {sum(edge in known for edge in edges) / len(edges):.1%}")
    missing = [edge for edge in edges if not any(edge in known for known in networks.values())]
    share = 1 - len(missing) / len(edges)
    print(f"any: {share:.1%} of {len(edges)} edges, {len(missing)} in none:")
    print(", ".join(f"{regulator}->{target}" for regulator, target in missing))
    assert share >= 0.80
