"""The order of genes and labels, recorded in the metadata of an ONNX file and compared when it is loaded."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from sctransformer._constants import BUNDLE
from sctransformer.errors import UserError
from sctransformer.files import sha256_json

GENES, LABELS = "sctransformer.genes", "sctransformer.labels"
"""Keys of the metadata; the values are digests of the names in their order."""


def record_order(graphs: Iterable[Path], genes: Iterable[str], labels: Iterable[str]) -> None:
    """Write the digests of the names of a graph's inputs and outputs into its file.

    Args:
        graphs: ONNX files; rewritten.
        genes: in the order of the input.
        labels: in the order of the output.
    """
    import onnx  # scoring does without it

    digests = {GENES: _digest(genes), LABELS: _digest(labels)}
    for path in graphs:
        proto = onnx.load(path)
        onnx.helper.set_model_props(proto, {one.key: one.value for one in proto.metadata_props} | digests)
        onnx.save(proto, path)


def require_order(graph: Path, metadata: Mapping[str, str], genes: Iterable[str], labels: Iterable[str]) -> None:
    """Compare the genes and labels of a bundle with those that its graph was exported for.

    Args:
        graph: the ONNX file, for the error.
        metadata: of the graph; graphs of earlier versions record no order and are accepted.
        genes, labels: names in the order of the bundle's tables.

    Raises:
        UserError: the names or their order differ.
    """
    for key, table, names in ((GENES, BUNDLE.vocabulary, genes), (LABELS, BUNDLE.labels, labels)):
        if metadata.get(key, digest := _digest(names)) != digest:
            raise UserError(
                f"{graph.with_name(table)}: its names, or their order, are not those that {graph.name} was exported "
                "with, so labels would be wrong; export the bundle again."
            )


def _digest(names: Iterable[str]) -> str:
    return sha256_json([str(name) for name in names])
