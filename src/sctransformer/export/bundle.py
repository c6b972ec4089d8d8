"""The model bundle: a folder with everything scoring needs, verified before anything is loaded. No torch here."""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sctransformer._constants import BUNDLE, OBS, VARIANTS
from sctransformer.errors import UserError
from sctransformer.files import read_json, sha256_file, write_json, written_whole

FORMAT = 1
"""Raised when an older reader could not make sense of the files."""
_UNHASHED = (BUNDLE.checksums,)
_ADDED_LATER = (BUNDLE.page,)
"""Members that bundles of this format may lack."""
_IDENTITY = (BUNDLE.weights, BUNDLE.config, BUNDLE.vocabulary, BUNDLE.prior, BUNDLE.labels, BUNDLE.calibration)


@dataclass(frozen=True)
class Bundle:
    """What a bundle says of itself; the graph and the weights stay on disk."""

    folder: Path
    config: dict[str, Any]
    """`format` and the sizes of the model."""
    vocabulary: pd.DataFrame
    """One row a gene in the order of the graph's input: gene, is_regulator, criterion, mean, std."""
    prior: pd.DataFrame
    """Edges among the vocabulary: regulator, target, sign, confidence."""
    labels: pd.DataFrame
    """One row a class in the order of the graph's output: name, cell_type_ontology_term_id ('' if unknown)."""
    calibration: dict[str, Any]
    """temperature (already inside the graph), rejection_threshold, and what it stands for on validation cells:
    rejection_error, withheld_share, rejected_share, risk_coverage (a curve, see `evaluation.calibration`)."""
    reference: dict[str, Any]
    """Statistics of the training cells; `profile` is what the watch over drift holds batches against, see
    `evaluation.reference`."""
    metrics: dict[str, Any]
    """Figures of the evaluation on the test cells, and of the baseline on the same cells."""
    parity: dict[str, Any]
    """How far onnxruntime is from torch on the validation cells."""
    lineage: dict[str, Any]
    """Where the model comes from."""

    @property
    def graph_path(self) -> Path:
        """The ONNX file."""
        return self.folder / BUNDLE.graph

    def variant_path(self, kind: str) -> Path:
        """The ONNX file of a form of the graph: `float32`, or one of VARIANTS.

        Raises:
            UserError: the bundle has no such form.
        """
        if kind == "float32":
            return self.graph_path
        path = self.folder / VARIANTS[kind]
        if path.is_file():
            return path
        there = ", ".join(["float32", *(name for name, file in VARIANTS.items() if (self.folder / file).is_file())])
        said = self.parity.get("variants", {}).get(kind)
        why = "it was not within its tolerance" if said else "see export.variants in params.yaml"
        raise UserError(f"{self.folder}: has no graph in {kind} ({why}); it has {there}.")

    @property
    def genes(self) -> list[str]:
        """The vocabulary, in the order of the graph's input."""
        return self.vocabulary["gene"].tolist()

    @property
    def identity(self) -> str:
        """SHA-256 over weights, config, vocabulary, prior, labels and calibration.

        Two bundles with the same identity label every cell alike, whenever and by whomever they were made.
        """
        return _digest_of_files(self.folder, _IDENTITY)


def write_bundle(
    target: Path,
    *,
    config: dict[str, Any],
    vocabulary: pd.DataFrame,
    prior: pd.DataFrame,
    labels: pd.DataFrame,
    calibration: dict[str, Any],
    reference: dict[str, Any],
    metrics: dict[str, Any],
    lineage: dict[str, Any],
    card: str,
    page: str | None = None,
    weights: Path,
    write_graph: Callable[[Path], None],
    measure_parity: Callable[[Path], dict[str, Any]],
    write_variants: Callable[[Path], dict[str, Any]] = lambda folder: {},
) -> None:
    """Write a bundle, whole or not at all; an older one at `target` is replaced.

    Args:
        target: folder of the bundle.
        weights: safetensors file to copy.
        write_graph: writes the graph at the path it is given.
        measure_parity: gives the content of parity.json for the graph at the path it is given.
        write_variants: writes other forms of the graph into the folder it is given, beside the graph, and gives what
            parity.json says of them under `variants`.
        card: Markdown.
        page: the same as HTML.
        The rest: contents, see `Bundle`.
    """
    with written_whole(target) as folder:
        folder.mkdir()
        shutil.copyfile(weights, folder / BUNDLE.weights)
        write_graph(folder / BUNDLE.graph)
        write_json(folder / BUNDLE.config, {"format": FORMAT, **config})
        vocabulary.to_parquet(folder / BUNDLE.vocabulary, index=False)
        prior.to_parquet(folder / BUNDLE.prior, index=False)
        labels.to_csv(folder / BUNDLE.labels, sep="\t", index=False)
        write_json(folder / BUNDLE.calibration, calibration)
        write_json(folder / BUNDLE.reference, reference)
        write_json(folder / BUNDLE.metrics, metrics)
        parity = measure_parity(folder / BUNDLE.graph)
        variants = write_variants(folder)
        write_json(folder / BUNDLE.parity, {**parity, "variants": variants} if variants else parity)
        write_json(folder / BUNDLE.lineage, lineage)
        (folder / BUNDLE.card).write_text(card)
        if page is not None:
            (folder / BUNDLE.page).write_text(page)
        members = sorted(path.name for path in folder.iterdir())
        lines = [f"{sha256_file(folder / name)}  {name}\n" for name in members]
        (folder / BUNDLE.checksums).write_text("".join(lines))


def read_bundle(folder: Path) -> Bundle:
    """Verify a bundle and read it.

    Raises:
        UserError: as `verify_bundle`, or the bundle was written in a format this version does not know.
    """
    verify_bundle(folder)
    config = read_json(folder / BUNDLE.config)
    if config.get("format") != FORMAT:
        raise UserError(
            f"{folder / BUNDLE.config}: format is {config.get('format')!r}, expected {FORMAT}; update sctransformer."
        )
    return Bundle(
        folder=folder,
        config=config,
        vocabulary=pd.read_parquet(folder / BUNDLE.vocabulary),
        prior=pd.read_parquet(folder / BUNDLE.prior),
        labels=pd.read_csv(folder / BUNDLE.labels, sep="\t", dtype=str, keep_default_na=False),
        calibration=read_json(folder / BUNDLE.calibration),
        reference=read_json(folder / BUNDLE.reference),
        metrics=read_json(folder / BUNDLE.metrics),
        parity=read_json(folder / BUNDLE.parity),
        lineage=read_json(folder / BUNDLE.lineage),
    )


def verify_bundle(folder: Path) -> None:
    """Compare every file with checksums.txt.

    Raises:
        UserError: the folder is no bundle, or a file is missing, unlisted or not what was written.
    """
    listing = folder / BUNDLE.checksums
    if not listing.is_file():
        raise UserError(f"{folder}: is no model bundle (it has no {BUNDLE.checksums}).")
    lines = (line.split("  ", maxsplit=1) for line in listing.read_text().splitlines())
    expected = {name: digest for digest, name in lines}
    there = {path.name for path in folder.iterdir()} - set(_UNHASHED)
    for name in sorted(set(BUNDLE) - {*_UNHASHED, *_ADDED_LATER} - set(expected)):
        raise UserError(f"{listing}: does not list {name}; the bundle is incomplete.")
    for name in sorted(set(expected) - there):
        raise UserError(f"{folder / name}: is missing from the bundle.")
    for name in sorted(there - set(expected)):
        raise UserError(
            f"{folder / name}: is not listed in {BUNDLE.checksums}; the bundle was changed after it was written."
        )
    for name, digest in expected.items():
        if sha256_file(folder / name) != digest:
            raise UserError(f"{folder / name}: does not match its checksum; the bundle is damaged or was changed.")


def label_table(names: list[str], ontology: dict[str, str]) -> pd.DataFrame:
    """The content of labels.tsv: class names, and Cell Ontology ids where known."""
    return pd.DataFrame({"name": names, OBS.ontology_term: [ontology.get(name, "") for name in names]})


def _digest_of_files(folder: Path, names: tuple[str, ...]) -> str:
    lines = "".join(f"{sha256_file(folder / name)}  {name}\n" for name in names)
    return hashlib.sha256(lines.encode()).hexdigest()
