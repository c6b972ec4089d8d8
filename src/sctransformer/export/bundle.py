"""The model bundle: a folder with everything scoring needs, verified before anything is loaded. Needs no torch."""

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
from sctransformer.export.bundle_checks import require_consistent, require_lock
from sctransformer.export.graph_metadata import record_order
from sctransformer.files import atomic_write, read_json, sha256_file, write_json

FORMAT = 1
"""Increased when an older reader could not read the files."""
_ADDED_LATER = (BUNDLE.page, BUNDLE.lock, BUNDLE.edges_graph, BUNDLE.evaluated_graph, BUNDLE.regulators)
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
    """The contents of a bundle, verified; the graph and the weights stay on disk."""

    folder: Path
    config: dict[str, Any]
    """`format` and the configuration of the model."""
    vocabulary: pd.DataFrame
    """One row per gene in the order of the graph's input: gene, is_regulator, criterion, mean, std."""
    prior: pd.DataFrame
    """Edges between genes of the vocabulary: regulator, target, sign, confidence."""
    labels: pd.DataFrame
    """One row per class in the order of the graph's output: name, cell_type_ontology_term_id ('' if unknown)."""
    calibration: dict[str, Any]
    """temperature (already part of the graph), rejection_threshold, and how it was chosen: rejection_error,
    withheld_share, rejected_share, risk_coverage (a curve, see `evaluation.calibration`), and `cells`: `validation`, or
    `cross-validation` over all labelled cells if the labels were fitted again (bundles without it: validation);
    `novelty`, see `evaluation.novelty.Novelty.content`, if the graph has this output: bundles of 0.1.0 have none."""
    reference: dict[str, Any]
    """Statistics of the training cells, see `evaluation.reference`; drift reports compare batches with `profile`."""
    metrics: dict[str, Any]
    """Metrics on the test cells, and those of the baseline on the same cells."""
    parity: dict[str, Any]
    """Differences between onnxruntime and torch on the validation cells."""
    lineage: dict[str, Any]
    """Code, data, network, parameters and run that the model was made with."""
    regulators: pd.DataFrame | None = None
    """One row per regulator in the order of the graph's output `activity`: regulator, targets, mean and std (of the
    activity in training cells), departure (root mean square change of the weights of its edges), agreement
    (correlation of the trained activity with the signed mean of its targets), and `mean:<type>` (mean activity in the
    training cells of each type; bundles made before it was added lack it). `std:<type>`, the standard deviation within
    a type, and `donors:<type>`, that of the donors' means, are in later bundles. `evidence`, where the bundle has it,
    is the fraction of shuffled networks, 0 to 1, that the regulator's real targets beat. None for a model without
    activities."""
    opened_as: str = ""
    """How the model was named by who opened it, `celltype@champion` for example; empty: by its folder."""

    @property
    def shown(self) -> str:
        """The name of the model in messages."""
        return self.opened_as or str(self.folder)

    @property
    def graph_path(self) -> Path:
        """The ONNX file, with the standard attention operator."""
        return self.folder / BUNDLE.graph

    @property
    def cpu_graph_path(self) -> Path:
        """The ONNX file that is faster on a CPU: along the edges of the network, if the bundle has it."""
        along_edges = self.folder / BUNDLE.edges_graph
        return along_edges if along_edges.is_file() else self.graph_path

    @property
    def evaluated_graph_path(self) -> Path:
        """The ONNX file of the model that has not seen the test cells; without a refit, the one that is exported."""
        evaluated = self.folder / BUNDLE.evaluated_graph
        return evaluated if evaluated.is_file() else self.cpu_graph_path

    def variant_path(self, kind: str) -> Path:
        """The ONNX file of a variant of the graph: `float32`, or one of VARIANTS.

        Raises:
            UserError: the bundle does not have this variant.
        """
        if kind == "float32":
            return self.graph_path
        path = self.folder / VARIANTS[kind]
        if path.is_file():
            return path
        available = ", ".join(["float32", *(name for name, file in VARIANTS.items() if (self.folder / file).is_file())])
        measured = kind in self.parity.get("variants", {})
        why = "it was not within its tolerance" if measured else "see export.variants in params.yaml"
        raise UserError(f"{self.shown}: has no {kind} graph ({why}); available: {available}.")

    @property
    def genes(self) -> list[str]:
        """The vocabulary, in the order of the graph's input."""
        return self.vocabulary["gene"].tolist()

    @property
    def identity(self) -> str:
        """SHA-256 over weights, config, vocabulary, prior, labels and calibration.

        Bundles with the same identity give every cell the same label, no matter when and by whom they were made.
        """
        return _digest_of_files(self.folder, _IDENTITY)


@dataclass(frozen=True)
class BundleContents:
    """What `write_bundle` writes; see `Bundle` for the tables and JSON objects."""

    config: dict[str, Any]
    vocabulary: pd.DataFrame
    prior: pd.DataFrame
    labels: pd.DataFrame
    calibration: dict[str, Any]
    reference: dict[str, Any]
    metrics: dict[str, Any]
    lineage: dict[str, Any]
    card: str
    """The model card in Markdown."""
    write_weights: Callable[[Path], None]
    """Writes the weights to the given safetensors file."""
    write_graph: Callable[[Path], None]
    """Writes the graph to the given file."""
    measure_parity: Callable[[Path], dict[str, Any]]
    """Returns the content of parity.json for the given graph; that of the graph along the edges is its `edges`."""
    write_edges_graph: Callable[[Path], None] | None = None
    """Writes the graph along the edges to the given file; None for a model without activities."""
    write_evaluated_graph: Callable[[Path], None] | None = None
    """Writes the graph of the evaluated model to the given file; None if it is the model itself."""
    regulators: pd.DataFrame | None = None
    """See `Bundle.regulators`."""
    write_variants: Callable[[Path], dict[str, Any]] = lambda folder: {}
    """Writes variants of the graph to the given folder and returns their parity, for `variants` in parity.json."""
    page: str | None = None
    """The model card as HTML."""
    dvc_lock: Path | None = None
    """dvc.lock to copy, the one whose digest is in the lineage."""


def write_bundle(target: Path, contents: BundleContents) -> None:
    """Write a bundle atomically; an existing folder `target` is replaced."""
    with atomic_write(target) as folder:
        folder.mkdir()
        contents.write_weights(folder / BUNDLE.weights)
        contents.write_graph(folder / BUNDLE.graph)
        if contents.write_edges_graph is not None:
            contents.write_edges_graph(folder / BUNDLE.edges_graph)
        if contents.write_evaluated_graph is not None:
            contents.write_evaluated_graph(folder / BUNDLE.evaluated_graph)
        if contents.regulators is not None:
            contents.regulators.to_parquet(folder / BUNDLE.regulators, index=False)
        write_json(folder / BUNDLE.config, {"format": FORMAT, **contents.config})
        contents.vocabulary.to_parquet(folder / BUNDLE.vocabulary, index=False)
        contents.prior.to_parquet(folder / BUNDLE.prior, index=False)
        contents.labels.to_csv(folder / BUNDLE.labels, sep="\t", index=False)
        write_json(folder / BUNDLE.calibration, contents.calibration)
        write_json(folder / BUNDLE.reference, contents.reference)
        write_json(folder / BUNDLE.metrics, contents.metrics)
        parity = contents.measure_parity(folder / BUNDLE.graph)
        if contents.write_edges_graph is not None:
            edges = contents.measure_parity(folder / BUNDLE.edges_graph)
            parity |= {"edges": edges, "passed": parity["passed"] and edges["passed"]}
        variants = contents.write_variants(folder)
        write_json(folder / BUNDLE.parity, {**parity, "variants": variants} if variants else parity)
        record_order(folder.glob("*.onnx"), contents.vocabulary["gene"], contents.labels["name"])
        write_json(folder / BUNDLE.lineage, contents.lineage)
        (folder / BUNDLE.card).write_text(contents.card)
        if contents.page is not None:
            (folder / BUNDLE.page).write_text(contents.page)
        if contents.dvc_lock is not None:
            shutil.copyfile(contents.dvc_lock, folder / BUNDLE.lock)
        members = sorted(path.name for path in folder.iterdir())
        lines = [f"{sha256_file(folder / name)}  {name}\n" for name in members]
        (folder / BUNDLE.checksums).write_text("".join(lines))


def read_bundle(folder: str | Path) -> Bundle:
    """Verify a bundle and read it.

    Args:
        folder: of the bundle.

    Raises:
        UserError: see `verify_bundle`; also if this version does not know the format of the bundle, a file cannot be
            read, or files do not match each other (see `require_consistent`).
    """
    folder = Path(folder)
    verify_bundle(folder)
    objects = {name: _read_object(folder / name) for name in _OBJECTS}
    config = objects[BUNDLE.config]
    if config.get("format") != FORMAT:
        raise UserError(
            f"{folder / BUNDLE.config}: format is {config.get('format')!r}, expected {FORMAT}; update sctransformer."
        )
    tables = {name: _read_table(folder / name) for name in (BUNDLE.vocabulary, BUNDLE.prior, BUNDLE.labels)}
    if (folder / BUNDLE.regulators).is_file():
        tables[BUNDLE.regulators] = _read_table(folder / BUNDLE.regulators)
    require_consistent(folder, config, tables, objects[BUNDLE.calibration])
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
        regulators=tables.get(BUNDLE.regulators),
    )


def verify_bundle(folder: Path) -> None:
    """Compare every file with checksums.txt.

    Raises:
        UserError: the folder is not a bundle, checksums.txt is invalid, or a file is missing, unlisted or changed.
    """
    listing = folder / BUNDLE.checksums
    if not listing.is_file():
        raise UserError(f"{folder}: is not a model bundle (it has no {BUNDLE.checksums}).")
    expected = _listed(listing)
    present = {path.name for path in folder.iterdir()} - {BUNDLE.checksums}
    for name in sorted(set(BUNDLE) - {BUNDLE.checksums, *_ADDED_LATER} - set(expected)):
        raise UserError(f"{listing}: does not list {name}; the bundle is incomplete.")
    for name in sorted(set(expected) - present):
        raise UserError(f"{folder / name}: is missing from the bundle.")
    for name in sorted(present - set(expected)):
        raise UserError(
            f"{folder / name}: is not listed in {BUNDLE.checksums}; the bundle was changed after it was written."
        )
    for name, digest in expected.items():
        if sha256_file(folder / name) != digest:
            raise UserError(f"{folder / name}: does not match its checksum; the bundle is damaged or was changed.")


def label_table(names: list[str], ontology: dict[str, str]) -> pd.DataFrame:
    """The content of labels.tsv: class names and Cell Ontology ids ('' if unknown)."""
    return pd.DataFrame({"name": names, OBS.ontology_term: [ontology.get(name, "") for name in names]})


def _listed(listing: Path) -> dict[str, str]:
    """SHA-256 of each file, as listed in checksums.txt."""
    expected = {}
    for number, line in enumerate(listing.read_text(errors="replace").splitlines(), start=1):
        found = _CHECKSUM.fullmatch(line)
        if found is None:
            raise UserError(
                f"{listing}: line {number} is {line[:80]!r}, expected a SHA-256, two spaces and the name of a file; "
                "the bundle is damaged or was changed."
            )
        if found["name"] in expected:
            raise UserError(f"{listing}: lists {found['name']} twice; the bundle is damaged or was changed.")
        expected[found["name"]] = found["digest"]
    return expected


def _read_object(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds a {type(content).__name__}, expected a JSON object; export the bundle again.")
    return content


def _read_table(path: Path) -> pd.DataFrame:
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:  # includes the errors of pyarrow and pandas
        raise UserError(f"{path}: cannot be read as a table ({error}); export the bundle again.") from error


def _digest_of_files(folder: Path, names: tuple[str, ...]) -> str:
    lines = "".join(f"{sha256_file(folder / name)}  {name}\n" for name in names)
    return hashlib.sha256(lines.encode()).hexdigest()
