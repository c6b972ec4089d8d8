"""A bundle is only read if its files are unchanged and match each other."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from sctransformer._constants import BUNDLE
from sctransformer.annotation.session import require_scorable
from sctransformer.errors import UserError
from sctransformer.export.bundle import read_bundle
from sctransformer.export.bundle_checks import require_ports
from sctransformer.files import read_json, sha256_file, write_json

MEMBERS = [
    name
    for name in BUNDLE
    if name not in (BUNDLE.checksums, BUNDLE.edges_graph, BUNDLE.evaluated_graph, BUNDLE.regulators)
]
"""Members of a bundle of a model whose genes attend to regulators."""


def test_a_bundle_reads_back(bundle_folder: Path) -> None:
    bundle = read_bundle(bundle_folder)
    assert bundle.parity["passed"]
    assert len(bundle.genes) == bundle.config["n_genes"]
    assert bundle.labels["name"].tolist() == ["alpha", "beta", "gamma"]


@pytest.mark.parametrize("name", MEMBERS)
def test_a_changed_file_is_refused_by_name(bundle_folder: Path, tmp_path: Path, name: str) -> None:
    copy = shutil.copytree(bundle_folder, tmp_path / "bundle")
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name}: does not match its checksum"):
        read_bundle(copy)


@pytest.mark.parametrize("name", MEMBERS)
def test_a_missing_file_is_refused_by_name(bundle_folder: Path, tmp_path: Path, name: str) -> None:
    copy = shutil.copytree(bundle_folder, tmp_path / "bundle")
    (copy / name).unlink()
    with pytest.raises(UserError, match=f"{name}: is missing"):
        read_bundle(copy)


def test_an_extra_file_is_refused(bundle_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(bundle_folder, tmp_path / "bundle")
    (copy / "extra.bin").write_bytes(b"x")
    with pytest.raises(UserError, match=r"extra\.bin: is not listed"):
        read_bundle(copy)


def modified(bundle_folder: Path, target: Path, change: Callable[[Path], object]) -> Path:
    """A copy with a change and matching checksums."""
    copy = shutil.copytree(bundle_folder, target)
    change(copy)
    names = sorted(path.name for path in copy.iterdir() if path.name != BUNDLE.checksums)
    (copy / BUNDLE.checksums).write_text("".join(f"{sha256_file(copy / name)}  {name}\n" for name in names))
    return copy


def table(name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], object]:
    return lambda folder: change(pd.read_parquet(folder / name)).to_parquet(folder / name, index=False)


def member(name: str, **values: object) -> Callable[[Path], object]:
    return lambda folder: write_json(folder / name, read_json(folder / name) | values)


def text(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            text(BUNDLE.labels, b"name\tcell_type_ontology_term_id\nalpha\t\nbeta\t\n"),
            r"labels\.tsv: holds 2 labels, but n_classes in config\.json is 3",
        ),
        (text(BUNDLE.labels, b"label\nalpha\n"), r"labels\.tsv: has no column 'name', 'cell_type_ontology_term_id'"),
        (
            text(BUNDLE.labels, b"name\tcell_type_ontology_term_id\nalpha\t\nbeta\t\nalpha\t\n"),
            r"labels\.tsv: holds the label 'alpha' 2 times, expected once",
        ),
        *(
            (
                member(BUNDLE.calibration, rejection_threshold=value),
                r"rejection_threshold is .*, expected a number from 0",
            )
            for value in (-0.1, 1.5, True)
        ),
        (text(BUNDLE.labels, b""), r"labels\.tsv: cannot be read as a table"),
        (
            table(BUNDLE.vocabulary, lambda rows: rows.iloc[:-5]),
            r"vocabulary\.parquet: holds 19 genes, but n_genes .* 24",
        ),
        (
            table(BUNDLE.vocabulary, lambda rows: rows.assign(is_regulator=rows.index < 3)),
            r"vocabulary\.parquet: holds 3 regulators, but n_regulators in config\.json is 4",
        ),
        (
            table(BUNDLE.vocabulary, lambda rows: rows.assign(gene=["GENE0", "GENE0", *rows["gene"][2:]])),
            r"vocabulary\.parquet: holds the gene 'GENE0' 2 times",
        ),
        (text(BUNDLE.vocabulary, b"PAR1 nothing"), r"vocabulary\.parquet: cannot be read as a table"),
        (
            table(BUNDLE.prior, lambda rows: rows.replace({"target": {"GENE4": "OTHER"}})),
            r"prior\.parquet: 1 of its genes are not in vocabulary\.parquet \(OTHER\)",
        ),
        (table(BUNDLE.prior, lambda rows: rows[["target"]]), r"prior\.parquet: has no column 'regulator'"),
        (member(BUNDLE.config, n_classes=None), r"config\.json: n_classes is None, expected a whole number"),
        (
            member(BUNDLE.calibration, rejection_threshold="high"),
            r"calibration\.json: rejection_threshold is 'high', expected a number",
        ),
        (text(BUNDLE.metrics, b"[1, 2]"), r"metrics\.json: holds a list, expected a JSON object"),
        (text(BUNDLE.lock, b"stages: {}\n"), r"dvc\.lock: its SHA-256 is .*, but dvc_lock_sha256 in lineage\.json is"),
        (text(BUNDLE.lineage, b"\xff\xfe"), r"lineage\.json: is not valid JSON \(it is not UTF-8 text\)"),
    ],
)
def test_files_that_do_not_match_are_refused(
    bundle_folder: Path, tmp_path: Path, change: Callable[[Path], object], message: str
) -> None:
    copy = modified(bundle_folder, tmp_path / "bundle", change)
    with pytest.raises(UserError, match=message):
        read_bundle(copy)


def test_a_graph_with_other_sizes_is_refused(bundle_folder: Path, tmp_path: Path) -> None:
    """Only onnxruntime knows the sizes of a graph, so they are checked when a scoring session is created."""
    require_scorable(read_bundle(bundle_folder))
    copy = modified(bundle_folder, tmp_path / "bundle", member(BUNDLE.config, embedding=9))
    with pytest.raises(UserError, match=r"model\.onnx: embedding has the shape cells x 8, expected cells x 9"):
        require_scorable(read_bundle(copy))
    inputs = {"counts": ["cells", 24]}
    with pytest.raises(UserError, match=r"has the inputs counts, expected counts, library_size"):
        require_ports(copy / BUNDLE.graph, read_json(copy / BUNDLE.config), inputs, {})


@pytest.mark.parametrize("content", ["nonsense\n", "0123  model.onnx\n", "\n", b"\xff\xfe"])
def test_invalid_checksums_are_refused(bundle_folder: Path, tmp_path: Path, content: str | bytes) -> None:
    copy = shutil.copytree(bundle_folder, tmp_path / "bundle")
    (copy / BUNDLE.checksums).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=r"checksums\.txt: line 1 is .*, expected a SHA-256"):
        read_bundle(copy)


def test_a_file_that_is_listed_twice_is_refused(bundle_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(bundle_folder, tmp_path / "bundle")
    lines = (copy / BUNDLE.checksums).read_text()
    (copy / BUNDLE.checksums).write_text(lines + lines.splitlines()[0] + "\n")
    with pytest.raises(UserError, match=r"checksums\.txt: lists .* twice"):
        read_bundle(copy)
