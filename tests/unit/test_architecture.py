"""ARCHITECTURE.md describes the code as it is."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "sctransformer"
TEXT = (ROOT / "ARCHITECTURE.md").read_text()


def section(title: str) -> str:
    """A section of ARCHITECTURE.md, up to the next title."""
    return TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_each_part_of_the_package_is_a_row() -> None:
    parts = {f"{path.name}/" if path.is_dir() else path.name for path in PACKAGE.iterdir() if path.name[:2] != "__"}
    parts -= {"py.typed"}
    rows = [line.split("|")[1] for line in section("The tree").splitlines() if line.startswith("| `")]
    assert parts <= {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def test_the_letters_of_tensor_names_are_in_the_legend() -> None:
    legend = set(re.findall(r"\| ([A-Z]) (?=\|)", section("Shape letters")))
    assert {"N", "G", "W"} <= legend
    named = re.compile(r"\b_?[a-z][a-z0-9_]*_([A-Z]+)\b")
    unknown = {
        f"{file.relative_to(ROOT)}: {found[0]}"
        for folder in ("src", "pipelines")
        for file in (ROOT / folder).rglob("*.py")
        for found in named.finditer(file.read_text())
        if not set(found[1]) <= legend
    }
    assert not unknown
