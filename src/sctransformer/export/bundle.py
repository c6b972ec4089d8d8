"""The model bundle: a folder with everything scoring needs, verified before anything is loaded. No torch here."""

import hashlib
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sctransformer._constants import BUNDLE, OBS, VARIANTS
from sctransformer.errors import UserError
from sctransformer.export.bundle_checks import require_agreement, require_lock
from sctransformer.files import atomic_write, read_json, sha256_file, write_json

FORMAT = 1
"""Raised when an older reader could not make sense of the files."""
_UNHASHED = (BUNDLE.checksums,)
_ADDED_LATER = (BUNDLE.page, BUNDLE.lock)
"""Members that bundles of this format may lack."""
_OBJECTS = (
    BUNDLE.config,
    BUNDLE.calibration,
    BUNDLE.reference,
    BUNDLE.metrics,
    BUNDLE.parity,
    BUNDLE.lineage,
)
_CHECKSUM = re.compile(r"(?P<digest>[0-9a-f]{64})  (?P<name>.+)")
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
    dvc_lock: Path | None = None,
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
        dvc_lock: file to copy, of the digest that the lineage has.
        The rest: contents, see `Bundle`.
    """
    with atomic_write(target) as folder:
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
        if dvc_lock is not None:
            shutil.copyfile(dvc_lock, folder / BUNDLE.lock)
        members = sorted(path.name for path in folder.iterdir())
        lines = [f"{sha256_file(folder / name)}  {name}\n" for name in members]
        (folder / BUNDLE.checksums).write_text("".join(lines))


def read_bundle(folder: Path) -> Bundle:
    """Verify a bundle and read it.

    Raises:
        UserError: as `verify_bundle`, the bundle was written in a format this version does not know, a member is not
            readable, or members do not fit one another (see `require_agreement`).
    """
    verify_bundle(folder)
    objects = {name: _read_object(folder / name) for name in _OBJECTS}
    config = objects[BUNDLE.config]
    if config.get("format") != FORMAT:
        raise UserError(
            f"{folder / BUNDLE.config}: format is {config.get('format')!r}, expected {FORMAT}; update sctransformer."
        )
    tables = {name: _read_table(folder / name) for name in (BUNDLE.vocabulary, BUNDLE.prior, BUNDLE.labels)}
    require_agreement(folder, config, tables, objects[BUNDLE.calibration])
    require_lock(folder / BUNDLE.lock, objects[BUNDLE.lineage])
    return Bundle(
        folder=folder,
        config=config,
        vocabulary=tables[BUNDLE.vocabulary],
        prior=tables[BUNDLE.prior],
        labels=tables[BUNDLE.labels],
        calibration=objects[BUNDLE.calibration],
        reference=objects[BUNDLE.reference],
        metrics=objects[BUNDLE.metrics],
        parity=objects[BUNDLE.parity],
        lineage=objects[BUNDLE.lineage],
    )


def verify_bundle(folder: Path) -> None:
    """Compare every file with checksums.txt.

    Raises:
        UserError: the folder is no bundle, its list is none, or a file is missing, unlisted or not what was written.
    """
    listing = folder / BUNDLE.checksums
    if not listing.is_file():
        raise UserError(f"{folder}: is no model bundle (it has no {BUNDLE.checksums}).")
    expected = _listed(listing)
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


def _listed(listing: Path) -> dict[str, str]:
    """Digest of each file that checksums.txt lists."""
    expected = {}
    for number, line in enumerate(listing.read_text(errors="replace").splitlines(), start=1):
        found = _CHECKSUM.fullmatch(line)
        if found is None:
            raise UserError(
                f"{listing}: line {number} is {line[:80]!r}, expected a SHA-256, two spaces and the name of a file; "
                "the bundle is damaged or was changed."
            )
        expected[found["name"]] = found["digest"]
    return expected


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text; export the bundle again.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds a {type(content).__name__}, expected a JSON object; export the bundle again.")
    return content


def _read_table(path: Path) -> pd.DataFrame:
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:  # pyarrow's and pandas' own errors are among these
        raise UserError(f"{path}: is no readable table ({error}); export the bundle again.") from error


def _digest_of_files(folder: Path, names: tuple[str, ...]) -> str:
    lines = "".join(f"{sha256_file(folder / name)}  {name}\n" for name in names)
    return hashlib.sha256(lines.encode()).hexdigest()
