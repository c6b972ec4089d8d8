"""A bundle whose regulators have evidence, made once for the tests of reports."""

from pathlib import Path

import pytest

from sctransformer.export.bundle import Bundle, read_bundle
from tests.shared import shared_folder
from tests.unit.reports.cells import bundle_with_evidence


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory, activity_bundle: Path) -> Bundle:
    """A bundle of a model of activities with evidence. Do not change it: make a copy."""
    folder = shared_folder(
        tmp_path_factory, "evidence", lambda parent: bundle_with_evidence(activity_bundle, parent / "bundle")
    )
    return read_bundle(folder / "bundle")
