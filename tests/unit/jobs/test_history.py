"""The history of a job: damaged records do not stop it, and bugs leave a record."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from sctransformer.errors import UNEXPECTED
from sctransformer.jobs.history import History, RunRecord
from sctransformer.jobs.runner import run_job
from sctransformer.jobs.spec import Job


@pytest.fixture
def history(tmp_path: Path) -> History:
    job = Job(name="nightly", model="bundle", input="new", output=tmp_path / "annotated")
    return History(job)


def record(day: int, *files: tuple[str, str]) -> RunRecord:
    made = [{"source": source, "status": status, "error": f"{source}: why"} for source, status in files]
    return RunRecord("nightly", f"2026-01-{day:02d}T03:00:00", "bundle", exit_code=0, files=made)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"3", b"\xff\xfe", b"{}", b'{"job": "a", "started": 3, "model": "b"}',
     b'{"job": "a", "started": "b", "model": "c", "files": [{"source": "d"}]}',
     b'{"job": "a", "started": "b", "model": "c", "files": 3}'],
)  # fmt: skip
def test_a_damaged_record_of_a_run_is_skipped_with_one_warning(
    history: History, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    history.write_run(record(1))
    history.write_run(record(3))
    folder = next(history.job.output.rglob("runs"))
    (folder / "2026-01-02T030000.json").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert [one.started[:10] for one in history.runs()] == ["2026-01-01", "2026-01-03"]
        history.runs()
    (warning,) = caplog.messages
    assert "2026-01-02T030000.json: is not " in warning
    assert warning.endswith("This record of a run is skipped; delete the file.")


def test_a_record_of_a_later_version_is_read(history: History) -> None:
    history.write_run(record(1))
    file = next(history.job.output.rglob("runs")) / "2026-01-01T030000.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "colour": "red"}))
    assert history.runs() == [record(1)]


def test_damaged_lines_of_batches_are_skipped(history: History) -> None:
    names = ("time", "source", "output_id", "model_version", "model_identity", "cells", "rejected", "judged", "drifted")
    batch: dict[str, Any] = dict.fromkeys((*names, "drift", "figures", "limits", "profile"), 1)
    assert history.add_batch(batch)
    file = next(history.job.output.rglob("batches.jsonl"))
    file.write_bytes(b'[]\n3\n{"source": "a"}\n\xff\xfe\n' + file.read_bytes() + b'{"cut')
    assert history.batches() == [batch]


def test_a_file_is_failed_until_a_later_run_labels_it(history: History) -> None:
    history.write_run(record(1, ("a", "failed"), ("b", "failed"), ("c", "failed")))
    history.write_run(record(2, ("a", "labelled"), ("b", "waiting")))
    history.write_run(record(3, ("c", "failed")))
    assert history.failed_files() == [
        {"time": "2026-01-03T03:00:00", "source": "c", "error": "c: why"},
        {"time": "2026-01-01T03:00:00", "source": "b", "error": "b: why"},
    ]


def test_a_bug_leaves_a_record(history: History) -> None:
    def start() -> Any:
        raise ZeroDivisionError("by zero")

    with pytest.raises(ZeroDivisionError):
        run_job(history.job, start)
    (found,) = history.runs()
    assert (found.exit_code, bool(found.ended)) == (UNEXPECTED, True)
    assert found.error == "unexpected error: ZeroDivisionError: by zero"
