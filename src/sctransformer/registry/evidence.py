"""Evidence for the gates, from registered versions. A bundle that cannot be read counts as damaged."""

from pathlib import Path

from sctransformer.errors import UserError
from sctransformer.export.bundle import Bundle
from sctransformer.registry.gate_checks import Comparison, Evidence
from sctransformer.registry.lineage import committed_since
from sctransformer.registry.rescoring import TestCells, rescored


def evidence_of(bundle: Bundle | str) -> Evidence:
    """Evidence from the result of `models.bundle_of`."""
    if isinstance(bundle, str):
        return Evidence(damage=bundle)
    return Evidence(
        metrics=bundle.metrics,
        parity=bundle.parity,
        lineage=bundle.lineage,
        committed=committed_since(Path(), bundle.lineage),
        config=bundle.config,
        labels=tuple(bundle.labels["name"]),
        megabytes=sum(path.stat().st_size for path in bundle.folder.iterdir()) / 1e6,
    )


def compared(one: Bundle | str, other: Bundle | str, cells: TestCells) -> Comparison:
    """Score candidate and champion on the test cells of the candidate's metrics."""
    if isinstance(one, str) or isinstance(other, str):
        return Comparison(refusal="not compared: a bundle is damaged")
    if one.metrics.get("test_cells_sha256") != cells.sha256:
        return Comparison(
            refusal=f"not compared: {cells.path} does not hold the test cells that the candidate was measured on"
        )
    try:
        return Comparison(rescored(one, other, cells))
    except UserError as error:
        return Comparison(refusal=f"not compared: {error}")
