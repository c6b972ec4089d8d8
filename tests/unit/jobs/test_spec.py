"""Job files: paths, names and values that a run could not use are refused in one sentence."""

from pathlib import Path

import pytest

from sctransformer.errors import UserError
from sctransformer.jobs.spec import load_job

FIELDS = {"model": "celltype@champion", "input": "new.h5ad", "output": "out"}


def job_file(folder: Path, **changes: str) -> Path:
    """A job file with some fields changed; values are YAML."""
    path = folder / "mine.yaml"
    path.write_text("".join(f"{name}: {value}\n" for name, value in {**FIELDS, **changes}.items()))
    return path


def test_a_job_file_is_read(tmp_path: Path) -> None:
    job = load_job(job_file(tmp_path, report="pages/drift.html", annotation="{batch_size: 8, regulators: off}"))
    assert (job.name, job.output, job.report) == ("mine", Path("out"), Path("pages/drift.html"))
    assert job.annotation.batch_cells == 8
    assert job.settings.regulators == job.settings.scoring.regulators == "off"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"output": "//"}, "output: is '//'; expected a folder of its own"),
        ({"output": "../x"}, "expected a folder of its own, without '..'"),
        ({"output": "~/x"}, "output: is '~/x'; ~ is not expanded here"),
        ({"output": "s3://bucket/x"}, "output: is 's3://bucket/x', a URL"),
        ({"output": '""'}, "output is '': expected text that is not empty"),
        ({"report": ".sctransformer/drift.html"}, "report: is '.sctransformer/drift.html'; expected a path inside"),
        ({"report": '"a\\nb.html"'}, "expected one line without control characters"),
        ({"experiment": '"a\\nb"'}, "experiment: expected one line without control characters"),
        ({"validate_cells": "true"}, "validate_cells is unknown"),
        ({"annotation": "{batch_cells: 8}"}, "annotation.batch_cells is unknown"),
        ({"modle": "x"}, "modle is unknown; the most similar name is model."),
        ({"resources": "{cpus: true}"}, "resources.cpus is True: expected a number"),
    ],
)
def test_a_field_that_cannot_be_used_is_refused_by_name(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_job(job_file(tmp_path, **changes))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["[]", "- a", "text"])
def test_a_file_without_fields_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match="expected `name: value` lines at the top"):
        load_job(path)
