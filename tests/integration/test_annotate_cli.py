"""The command `sctransformer annotate`: its output and its errors."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from sctransformer._constants import OBS
from sctransformer.annotation.journal import FOLDER
from sctransformer.annotation.session import ScoringSession
from sctransformer.cli.main import run
from sctransformer.errors import DEBUG_VARIABLE, UserError
from sctransformer.export.bundle import read_bundle
from sctransformer.registry.opened_model import OpenedModel
from tests.integration.conftest import Call, Outcome

SCTRANSFORMER = (sys.executable, "-m", "sctransformer.cli.main")


@pytest.fixture(autouse=True)
def no_debugging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DEBUG_VARIABLE, "")


@pytest.fixture
def annotate(call: Call, bundle_folder: Path, tmp_path: Path) -> Call:
    """Annotate a file, or cells, into `tmp_path/out`."""

    def run_annotate(indata: Path | AnnData, *words: object, model: object = bundle_folder) -> Outcome:
        if isinstance(indata, AnnData):
            indata.write_h5ad(tmp_path / "cells.h5ad")
            indata = tmp_path / "cells.h5ad"
        return call("annotate", "-i", indata, "-m", model, "-o", tmp_path / "out", *words)

    return run_annotate


def refused(outcome: Outcome, outdir: Path, *words: str, code: int = 1) -> None:
    """One sentence on standard error, the exit code, and no trace of an output."""
    assert outcome.code == code, outcome
    assert outcome.err.startswith("Error: ")
    assert outcome.err.count("\n") == 1, outcome.err
    assert "Traceback" not in outcome.err
    for word in words:
        assert word in outcome.err, outcome.err
    assert not outdir.exists() or list(outdir.iterdir()) == []


def test_a_file_is_labelled_and_a_summary_is_printed(annotate: Call, cells: AnnData, tmp_path: Path) -> None:
    outcome = annotate(cells)
    assert outcome.code == 0, outcome.err
    for words in ("alpha", "cells/s", "gene coverage 100.0%", "obs['library_size']", "cells_annotated.h5ad"):
        assert words in outcome.out
    result = anndata.read_h5ad(tmp_path / "out" / "cells_annotated.h5ad")
    assert (result.obs[OBS.predicted_labels].astype(str) == result.obs[OBS.cell_type].astype(str)).mean() > 0.9


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda counts: np.log1p(counts / 7), "looks log-normalised"),
        (lambda counts: counts - counts.mean(axis=0), "looks scaled"),
        (lambda counts: -counts, "negative"),
        (lambda counts: np.where(counts == counts.max(), np.nan, counts), "neither a number nor zero"),
        (lambda counts: np.where(counts == counts.max(), np.inf, counts), "neither a number nor zero"),
    ],
    ids=["log", "scaled", "negative", "nan", "inf"],
)
def test_values_that_are_not_counts_are_refused(
    annotate: Call, cells: AnnData, tmp_path: Path, spoil: Callable[[np.ndarray], np.ndarray], words: str
) -> None:
    cells.X = sparse.csr_matrix(spoil(cells.X.toarray().astype(np.float64)))
    refused(annotate(cells), tmp_path / "out", "cells.h5ad: X", "raw counts", words)


@pytest.mark.parametrize("share", [0.5, 0.99])
def test_a_truncated_file_is_refused(annotate: Call, cells: AnnData, tmp_path: Path, share: float) -> None:
    cells.write_h5ad(tmp_path / "whole.h5ad")
    content = (tmp_path / "whole.h5ad").read_bytes()
    (tmp_path / "cut.h5ad").write_bytes(content[: int(len(content) * share)])
    refused(annotate(tmp_path / "cut.h5ad"), tmp_path / "out", "cut.h5ad: ", "cut short or damaged")


def test_files_without_cells_are_refused(annotate: Call, tmp_path: Path) -> None:
    (tmp_path / "text.h5ad").write_text("gene\tcell\n")
    refused(annotate(tmp_path / "text.h5ad"), tmp_path / "out", "text.h5ad: is not a readable h5ad file")
    refused(annotate(tmp_path / "absent.h5ad"), tmp_path / "out", "absent.h5ad: no such file")
    (tmp_path / "empty").mkdir()
    refused(annotate(tmp_path / "empty"), tmp_path / "out", "empty: has no file that ends in .h5ad or .zarr")


@pytest.mark.parametrize(
    ("rename", "words"),
    [
        (lambda gene: f"x{gene}", "most expressed missing genes: GENE"),
        (lambda gene: f"ENSG{int(gene[4:]):011d}", "Ensembl ids"),
        (lambda gene: gene.capitalize(), "use a model of the file"),
    ],
    ids=["other", "ensembl", "mouse"],
)
def test_genes_that_do_not_match_are_refused(
    annotate: Call, cells: AnnData, tmp_path: Path, rename: Callable[[str], str], words: str
) -> None:
    cells.var_names = [rename(gene) for gene in cells.var_names]
    refused(annotate(cells), tmp_path / "out", "cover 0.0%", "minimum of 80.0%", words)


def test_missing_genes_can_be_allowed(annotate: Call, cells: AnnData, tmp_path: Path) -> None:
    refused(annotate(cells[:, :12].copy()), tmp_path / "out", "minimum of 80.0%")
    outcome = annotate(cells[:, :12].copy(), "--min-coverage", "0.2")
    assert outcome.code == 0
    assert "missing: GENE" in outcome.out


@pytest.mark.parametrize(
    ("genes_in_x", "first_count_in_raw", "words", "place"),
    [
        (12, 1.0, (), "raw.X"),
        (12, 1.0, ("--counts", "X"), "X"),
        (24, 1.0, (), "X"),
        (12, np.nan, (), "X"),
    ],
    ids=["raw.X has more", "X is wanted", "as much", "no counts"],
)
def test_counts_are_read_where_they_cover_most_of_the_panel(
    annotate: Call,
    cells: AnnData,
    tmp_path: Path,
    genes_in_x: int,
    first_count_in_raw: float,
    words: tuple[str, ...],
    place: str,
) -> None:
    whole, subset = cells.copy(), cells[:, :genes_in_x].copy()
    whole.X.data[0] = first_count_in_raw
    subset.raw = whole
    outcome = annotate(subset, "--min-coverage", "0.2", *words)
    assert outcome.code == 0, outcome.err
    assert f"counts in {place}, genes in var_names" in outcome.out


def test_a_warning_names_a_column_of_larger_library_sizes(
    annotate: Call, cells: AnnData, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sums = cells.obs.pop(OBS.library_size)
    cells.raw = cells.copy()
    cells.X = np.log1p(cells.X)
    cells.obs["total_counts"] = sums
    outcome = annotate(cells)
    assert "are the sum of raw.X, but obs['total_counts'] holds larger values" in caplog.text
    assert "--library-size-column total_counts" in caplog.text
    assert "library size  sum of raw.X; obs['total_counts'] holds larger ones" in outcome.out
    written = anndata.read_h5ad(tmp_path / "out" / "cells_annotated.h5ad").uns["sctransformer"]
    assert written["library_size"] == "sum of raw.X"
    assert "library size  obs['total_counts']\n" in annotate(cells, "--library-size-column", "total_counts").out


def test_models_that_do_not_exist_are_refused(
    annotate: Call, cells: AnnData, bundle_folder: Path, tmp_path: Path
) -> None:
    refused(annotate(cells, model=tmp_path / "nowhere"), tmp_path / "out", "nowhere: no such folder")
    (tmp_path / "empty").mkdir()
    refused(annotate(cells, model=tmp_path / "empty"), tmp_path / "out", "is not a model bundle")
    copy = shutil.copytree(bundle_folder, tmp_path / "copy")
    (copy / "labels.tsv").write_text("name\tcell_type_ontology_term_id\nbeta\t\nalpha\t\ngamma\t\n")
    refused(annotate(cells, model=copy), tmp_path / "out", "labels.tsv: does not match its checksum")


@pytest.mark.parametrize("reference", ["celltype@champion", "celltype/7"])
def test_a_reference_is_resolved_by_the_registry(
    annotate: Call, cells: AnnData, bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str
) -> None:
    asked: list[str] = []

    def resolve(wanted: str, refetch: bool = False) -> OpenedModel:
        asked.append(wanted)
        return OpenedModel(read_bundle(bundle_folder), "celltype", 7)

    models = ModuleType("sctransformer.registry.models")
    vars(models)["resolve"] = resolve
    monkeypatch.setitem(sys.modules, "sctransformer.registry.models", models)
    monkeypatch.chdir(tmp_path)  # the project's folder may have a registry with this model
    assert annotate(cells, model=reference).code == 0
    assert asked == [reference]
    written = anndata.read_h5ad(tmp_path / "out" / "cells_annotated.h5ad").uns["sctransformer"]
    assert (written["model"], written["model_version"]) == (reference, "7")


def test_a_folder_that_cannot_be_written_is_named_before_scoring(
    call: Call, cells: AnnData, bundle_folder: Path, tmp_path: Path
) -> None:
    cells.write_h5ad(tmp_path / "cells.h5ad")
    (tmp_path / "file").write_text("")
    outdir = tmp_path / "file" / "out"
    outcome = call("annotate", "-i", tmp_path / "cells.h5ad", "-m", bundle_folder, "-o", outdir)
    refused(outcome, outdir, f"{outdir}: cannot be written", code=73)


def test_a_file_with_no_cells_is_refused(annotate: Call, cells: AnnData, tmp_path: Path) -> None:
    refused(annotate(cells[:0].copy()), tmp_path / "out", "cells.h5ad: has no cells.")


def test_more_threads_than_cores_are_refused(
    annotate: Call, cells: AnnData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ScoringSession, "__init__", None)  # whatever happens, no thread is started
    words = ("100,000 CPU threads were requested", "cores are available; lower --threads")
    refused(annotate(cells, "--threads", 100_000), tmp_path / "out", *words)


def test_a_library_size_column_must_exist(annotate: Call, cells: AnnData, tmp_path: Path) -> None:
    refused(annotate(cells, "--library-size-column", "size"), tmp_path / "out", "obs has no column 'size'")


def test_counts_of_a_repeated_gene_are_summed_and_reported(annotate: Call, cells: AnnData, tmp_path: Path) -> None:
    twice = AnnData(
        sparse.hstack([cells.X, cells.X[:, [3]] * 0], format="csr"),
        obs=cells.obs,
        var=pd.DataFrame(index=[*cells.var_names, "GENE3"]),
    )
    outcome = annotate(twice)
    assert outcome.code == 0, outcome.err
    assert "GENE3 occur more than once" in outcome.out


@pytest.mark.parametrize("layout", ["dense", "csc", "int64"])
def test_the_layout_of_counts_does_not_matter(annotate: Call, cells: AnnData, tmp_path: Path, layout: str) -> None:
    output = tmp_path / "out" / "cells_annotated.h5ad"
    assert annotate(cells.copy()).code == 0
    expected = anndata.read_h5ad(output).obs
    cells.X = {"dense": cells.X.toarray(), "csc": cells.X.tocsc(), "int64": cells.X.astype(np.int64)}[layout]
    assert annotate(cells).code == 0
    pd.testing.assert_frame_equal(anndata.read_h5ad(output).obs, expected)


@pytest.mark.parametrize("with_column", [True, False])
def test_cells_without_counts_are_unknown(annotate: Call, cells: AnnData, tmp_path: Path, with_column: bool) -> None:
    counts = cells.X.toarray()
    counts[[0, 50]] = 0
    cells.X = sparse.csr_matrix(counts)
    cells.obs.iloc[[0, 50], 0] = 0.0
    if not with_column:
        del cells.obs[OBS.library_size]
    outcome = annotate(cells, "--threshold", "0")
    assert outcome.code == 0, outcome.err
    assert "no counts 2" in outcome.out
    obs = anndata.read_h5ad(tmp_path / "out" / "cells_annotated.h5ad").obs
    assert np.flatnonzero(obs[OBS.predicted_labels] == "unknown").tolist() == [0, 50]
    assert np.isfinite(obs[OBS.conf_score]).all()


def test_exit_codes_of_unexpected_errors(
    annotate: Call, cells: AnnData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(error: BaseException) -> None:
        def open_model(reference: str) -> None:
            raise error

        monkeypatch.setattr("sctransformer.registry.loading.open_model", open_model)

    failing(ValueError("odd"))
    outcome = annotate(cells)
    assert outcome.code == 70
    assert outcome.err == "Unexpected error: ValueError: odd; run again with --debug.\n"
    failing(KeyboardInterrupt())
    outcome = annotate(cells)
    assert (outcome.code, outcome.err) == (130, "Interrupted; to go on, run the same command again.\n")


@pytest.mark.parametrize("before", [True, False])
def test_debug_shows_the_traceback_before_or_after_the_command(
    bundle_folder: Path, tmp_path: Path, before: bool
) -> None:
    words = ["annotate", "-i", str(tmp_path / "absent.h5ad"), "-m", str(bundle_folder), "-o", str(tmp_path)]
    words.insert(0 if before else len(words), "--debug")
    with pytest.raises(UserError, match=r"absent\.h5ad"):
        run(words)


def test_a_wrong_command_line_exits_with_2(call: Call) -> None:
    assert call("annotate", "--nonsense").code == 2
    assert call("nonsense").code == 2


HEAVY = ("torch", "ray", "dvc", "mlflow", "scanpy", "great_expectations")


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys\nfrom sctransformer.cli.main import run\n"
        "try: run(['--help'])\n"
        "except SystemExit: print([name for name in sys.argv[1:] if name in sys.modules])"
    )
    words = [sys.executable, "-c", program, *HEAVY, "pandas", "anndata", "onnxruntime", "numpy"]
    result = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "annotate" in result.stdout
    assert result.stdout.splitlines()[-1] == "[]"


def test_annotating_needs_no_training_library(cells: AnnData, bundle_folder: Path, tmp_path: Path) -> None:
    cells.write_h5ad(tmp_path / "cells.h5ad")
    program = (
        "import sys\nfrom sctransformer.cli.main import run\nheavy = sys.argv[1].split()\n"
        "sys.modules.update(dict.fromkeys(heavy))\n"  # importing any of them now fails
        "run(sys.argv[2:])"
    )
    words = ["annotate", "-i", tmp_path / "cells.h5ad", "-m", bundle_folder, "-o", tmp_path / "out"]
    result = subprocess.run(
        [sys.executable, "-c", program, " ".join(HEAVY), *map(str, words)], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "cells_annotated.h5ad").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "code", "words"), [(signal.SIGINT, 130, "Interrupted; to go on"), (signal.SIGTERM, 143, "")]
)
def test_a_stopped_process_leaves_only_the_journal(
    cells: AnnData, bundle_folder: Path, tmp_path: Path, sent: signal.Signals, code: int, words: str
) -> None:
    many = anndata.concat([cells] * 400)
    many.obs_names_make_unique()
    many.write_h5ad(tmp_path / "cells.h5ad")
    line = [
        "annotate",
        "-i",
        tmp_path / "cells.h5ad",
        "-m",
        bundle_folder,
        "-o",
        tmp_path / "out",
        "--batch-size",
        "1",
        "--regulators",
        "off",
    ]
    process = subprocess.Popen(
        [*SCTRANSFORMER, *map(str, line)], stderr=subprocess.PIPE, text=True, env={**os.environ, DEBUG_VARIABLE: ""}
    )
    deadline = time.monotonic() + 120
    while not list((tmp_path / "out").rglob("plan.json")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)  # the graph is loaded, cells are scored
    process.send_signal(sent)
    _, err = process.communicate(timeout=120)
    assert process.returncode == code
    assert err.count("\n") == bool(words)
    assert words in err
    assert [path.name for path in (tmp_path / "out").iterdir()] == [FOLDER]
    assert not [path for path in (tmp_path / "out").rglob("*.h5ad") if path.is_file()]
