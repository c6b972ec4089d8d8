"""The order of genes and labels is recorded in the graph, so that a reordered table does not give wrong labels."""

import shutil
from pathlib import Path

import onnx
import pandas as pd
import pytest

from sctransformer._constants import BUNDLE
from sctransformer.annotation.session import ScoringSession
from sctransformer.errors import UserError
from sctransformer.export.bundle import read_bundle
from tests.unit.export.test_bundle import modified, table


def reordered_labels(folder: Path) -> None:
    labels = pd.read_csv(folder / BUNDLE.labels, sep="\t", keep_default_na=False)
    labels[::-1].to_csv(folder / BUNDLE.labels, sep="\t", index=False)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        (BUNDLE.vocabulary, table(BUNDLE.vocabulary, lambda genes: pd.concat([genes[:4][::-1], genes[4:]]))),
        (BUNDLE.labels, reordered_labels),
    ],
)
def test_reordered_names_are_refused(bundle_folder: Path, tmp_path: Path, name: str, change: object) -> None:
    bundle = read_bundle(modified(bundle_folder, tmp_path / "bundle", change))  # type: ignore[arg-type]
    with pytest.raises(UserError, match=f"{name}: its names, or their order, are not those that model.onnx was"):
        ScoringSession(bundle)


def test_a_graph_without_the_record_loads(bundle_folder: Path, tmp_path: Path) -> None:
    def forget(folder: Path) -> None:
        proto = onnx.load(folder / BUNDLE.graph)
        assert {one.key for one in proto.metadata_props} == {"sctransformer.genes", "sctransformer.labels"}
        del proto.metadata_props[:]
        onnx.save(proto, folder / BUNDLE.graph)

    assert ScoringSession(read_bundle(modified(bundle_folder, tmp_path / "bundle", forget))).n_labels == 3


def test_a_bundle_is_given_by_text_or_path(bundle_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(bundle_folder, tmp_path / "bundle")
    assert read_bundle(str(copy)).folder == read_bundle(copy).folder == copy
