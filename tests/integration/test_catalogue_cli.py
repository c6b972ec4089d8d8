"""The commands `data add`, `list` and `show`, and training on a dataset by name; with real git, DVC, S3 and HTTP."""

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from anndata import AnnData

from sctransformer import layout
from sctransformer._constants import OBS
from sctransformer.data import adding as adding_module
from sctransformer.data.catalogue import CATALOGUE, Dataset, read_catalogue
from sctransformer.data.settings import DataSettings
from sctransformer.errors import DEBUG_VARIABLE, UserError
from sctransformer.stopping import TERMINATED
from tests.conftest import simulated_cells
from tests.integration.conftest import Call, Outcome

ODD_COLUMN = "cell type, v2: it's {50%} \\ + a/b"
LABELS = ("--label-column", OBS.cell_type)


GENES = ["CD3D", "CD3E", "CD4", "CD8A", "MS4A1", "CD79A", "NKG7", "GNLY", "LYZ", "CD14", "FCGR3A", "CST3"]
GENES += ["PPBP", "PF4", "IL7R", "CCR7", "SELL", "GZMB", "PRF1", "TBX21", "GATA3", "FOXP3", "PAX5", "SPI1"]


def human_cells(n_cells: int = 90) -> AnnData:
    """Simulated cells with human gene symbols, so that they pass the checks of training data."""
    cells = simulated_cells(n_cells)
    cells.var_names = GENES
    return cells


def dvc(*words: str) -> str:
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *words], env=environment, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def git(*words: str) -> str:
    author = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    return subprocess.run(["git", *author, *words], check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="session")
def _template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty git and DVC repository, made once and copied."""
    folder = tmp_path_factory.mktemp("template") / "project"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        git("init", "-q", "-b", "main")
        dvc("init", "-q")
        git("commit", "-qm", "Begin")
    return folder


@pytest.fixture
def project(_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new project as the current folder."""
    folder = tmp_path / "project"
    shutil.copytree(_template, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv(DEBUG_VARIABLE, "")
    for key in ("GIT_DIR", "GIT_INDEX_FILE", "AWS_PROFILE"):
        monkeypatch.delenv(key, raising=False)
    return folder


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder outside the project: good, other, bad (not counts), short (truncated) and few (12 cells) .h5ad."""
    folder = tmp_path / "outside"
    folder.mkdir()
    human_cells().write_h5ad(folder / "good.h5ad")
    human_cells(120).write_h5ad(folder / "other.h5ad")
    human_cells(12).write_h5ad(folder / "few.h5ad")
    bad = human_cells()
    bad.X = bad.X * 0.37
    bad.write_h5ad(folder / "bad.h5ad")
    (folder / "short.h5ad").write_bytes((folder / "good.h5ad").read_bytes()[:2000])
    return folder


def everything(project: Path) -> dict[str, bytes | None]:
    """All files and folders, including files of the DVC cache; without .git and temporary files of DVC."""
    found: dict[str, bytes | None] = {}
    for path in sorted(project.rglob("*")):
        parts = path.relative_to(project).parts
        if parts[0] == ".git" or parts[:2] == (".dvc", "tmp") or (parts[:2] == (".dvc", "cache") and path.is_dir()):
            continue
        found["/".join(parts)] = path.read_bytes() if path.is_file() else None
    return found


def refused(outcome: Outcome, *words: str) -> None:
    """Expect exit code 1 and an error of one sentence on standard error."""
    assert outcome.code == 1, outcome
    assert outcome.err.startswith("Error: ")
    assert outcome.err.count("\n") == 1, outcome.err
    for word in words:
        assert word in outcome.err


def out_of(pointer: str) -> dict[str, Any]:
    out: dict[str, Any] = yaml.safe_load(Path(pointer).read_text())["outs"][0]
    return out


def entry(name: str) -> Dataset:
    return read_catalogue()[name]


# ------------------------------------------------------------------------------------------------------- files


def test_a_file_from_outside_the_project_is_copied_tracked_and_added(project: Path, outside: Path, call: Call) -> None:
    cells = human_cells()
    cells.obs["donor, of cells"] = "d1"
    cells.write_h5ad(outside / "good.h5ad")
    words = ("--donor-column", "donor, of cells", "--license", "CC-BY-4.0", "--description", "two\nlines: é")
    outcome = call("data", "add", "kang", outside / "good.h5ad", *LABELS, *words)
    assert outcome.code == 0, outcome
    copy = Path("data/raw/kang.h5ad")
    assert copy.read_bytes() == (outside / "good.h5ad").read_bytes()
    assert out_of("data/raw/kang.h5ad.dvc")["size"] == copy.stat().st_size
    assert entry("kang") == Dataset(
        name="kang",
        cells="data/raw/kang.h5ad",
        label_column=OBS.cell_type,
        donor_column="donor, of cells",
        license="CC-BY-4.0",
        description="two\nlines: é",
    )
    assert "git add data/catalogue.yaml data/raw/kang.h5ad.dvc data/raw/.gitignore" in outcome.out
    git("add", "data/catalogue.yaml", "data/raw/kang.h5ad.dvc", "data/raw/.gitignore")
    assert (
        git("status", "--short", "--untracked-files=all").count("\n") == 3
    )  # these three; the cells are ignored by git
    assert json.loads(dvc("status", "--json")) == {}
    assert sorted(path.name for path in Path("data/raw").iterdir()) == [".gitignore", "kang.h5ad", "kang.h5ad.dvc"]


@pytest.mark.slow
def test_a_file_inside_the_project_is_used_in_place_and_can_be_added_twice(
    project: Path, outside: Path, call: Call
) -> None:
    Path("mine").mkdir()
    shutil.copyfile(outside / "good.h5ad", "mine/cells.h5ad")
    assert call("data", "add", "fine", "mine/cells.h5ad", *LABELS).code == 0
    assert call("data", "add", "coarse", project / "mine/cells.h5ad", *LABELS).code == 0
    assert entry("fine").cells == entry("coarse").cells == "mine/cells.h5ad"
    assert list(read_catalogue()) == ["fine", "coarse"]
    assert Path("mine/cells.h5ad.dvc").is_file()
    assert not Path("data/raw").exists()


@pytest.mark.slow
def test_the_output_of_a_stage_is_added_and_stays_an_output(project: Path, outside: Path, call: Call) -> None:
    Path("dvc.yaml").write_text(f"stages:\n  make:\n    cmd: cp {outside}/good.h5ad made.h5ad\n    outs: [made.h5ad]\n")
    dvc("repro")
    lock = Path("dvc.lock").read_text()
    assert call("data", "add", "made", "made.h5ad", *LABELS).code == 0
    assert not Path("made.h5ad.dvc").exists()
    assert Path("dvc.lock").read_text() == lock
    assert "(dvc.lock, stage make)" in call("data", "show", "made").out
    Path("made.h5ad").unlink()
    assert "missing: dvc repro make" in call("data", "show", "made").out


@pytest.mark.slow
def test_a_zarr_folder_is_added_unchanged(project: Path, outside: Path, call: Call) -> None:
    human_cells().write_zarr(outside / "cells.zarr")
    outcome = call("data", "add", "z", outside / "cells.zarr", *LABELS)
    assert outcome.code == 0, outcome
    assert entry("z").cells == "data/raw/z.zarr"
    assert out_of("data/raw/z.zarr.dvc")["md5"].endswith(".dir")
    assert "90 cells x 24 genes" in call("data", "show", "z").out


# -------------------------------------------------------------------------------------------------------- URLs


@pytest.fixture
def bucket(outside: Path, s3: Any) -> Any:
    """A client of a local S3 server with a bucket `cells` that contains the outside files."""
    s3.create_bucket(Bucket="cells")
    for file in outside.iterdir():
        s3.upload_file(str(file), "cells", f"a folder/{file.name}")
    return s3


@pytest.mark.slow
def test_cells_in_s3_are_imported_and_updated(project: Path, outside: Path, bucket: Any, call: Call) -> None:
    url = "s3://cells/a folder/good.h5ad"
    outcome = call("data", "add", "kang", url, *LABELS)
    assert outcome.code == 0, outcome
    assert Path("data/raw/kang.h5ad").read_bytes() == (outside / "good.h5ad").read_bytes()
    assert entry("kang").url == url
    pointer = yaml.safe_load(Path("data/raw/kang.h5ad.dvc").read_text())
    assert pointer["frozen"] is True
    assert pointer["deps"][0]["path"] == url
    etag = bucket.head_object(Bucket="cells", Key="a folder/good.h5ad")["ETag"].strip('"')
    assert pointer["deps"][0]["etag"] == etag
    assert pointer["deps"][0]["size"] == pointer["outs"][0]["size"]
    assert json.loads(dvc("status", "--json")) == {}

    bucket.upload_file(str(outside / "other.h5ad"), "cells", "a folder/good.h5ad")
    dvc("update", "data/raw/kang.h5ad.dvc")
    assert Path("data/raw/kang.h5ad").read_bytes() == (outside / "other.h5ad").read_bytes()

    # adding it again by its path keeps the import
    assert call("data", "add", "again", "data/raw/kang.h5ad", *LABELS).code == 0
    assert entry("again").url == url
    assert yaml.safe_load(Path("data/raw/kang.h5ad.dvc").read_text())["deps"][0]["path"] == url


@pytest.mark.slow
def test_a_failed_import_from_s3_leaves_no_files(project: Path, bucket: Any, call: Call) -> None:
    before = everything(project)
    refused(call("data", "add", "a", "s3://cells/nothing.h5ad", *LABELS), "s3://cells/nothing.h5ad", "does not exist")
    assert everything(project) == before
    refused(call("data", "add", "a", "s3://cells/a folder/bad.h5ad", *LABELS), "s3://cells/a folder/bad.h5ad: ")
    assert everything(project) == before
    with pytest.MonkeyPatch.context() as patch:
        for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.delenv(key)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(project / "nothing"))
        outcome = call("data", "add", "a", "s3://cells/a folder/good.h5ad", *LABELS)
    refused(outcome, "s3://cells/a folder/good.h5ad: dvc get-url: Unable to locate credentials.")
    assert everything(project) == before


@pytest.fixture
def web(outside: Path) -> Iterator[str]:
    """URL of an HTTP server for the outside folder."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(outside)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_cells_on_the_web_are_imported(project: Path, outside: Path, web: str, call: Call) -> None:
    url = f"{web}/good.h5ad?version=1"
    assert call("data", "add", "kang", url, *LABELS).code == 0
    assert Path("data/raw/kang.h5ad").read_bytes() == (outside / "good.h5ad").read_bytes()
    assert yaml.safe_load(Path("data/raw/kang.h5ad.dvc").read_text())["deps"][0]["path"] == url
    assert entry("kang").url == url


@pytest.mark.slow
def test_a_file_url_is_imported_from_its_path(project: Path, outside: Path, call: Call) -> None:
    shutil.copyfile(outside / "good.h5ad", outside / "a b.h5ad")
    url = (outside / "a b.h5ad").as_uri()
    assert call("data", "add", "kang", url, *LABELS).code == 0
    assert entry("kang").url == url
    assert yaml.safe_load(Path("data/raw/kang.h5ad.dvc").read_text())["deps"][0]["path"] == str(outside / "a b.h5ad")


def test_a_url_with_a_secret_or_an_unknown_scheme_is_refused(project: Path, call: Call) -> None:
    before = everything(project)
    outcome = call("data", "add", "a", "https://me:hush@example.org/a.h5ad", *LABELS)
    refused(outcome, "contains a key or password")
    assert "hush" not in outcome.err
    refused(call("data", "add", "a", "bogus://example.org/a.h5ad", *LABELS), "Unsupported URL type bogus://")
    assert everything(project) == before


# ---------------------------------------------------------------------------------------------------- failures


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["outside", "inside", "web"])
@pytest.mark.parametrize(
    ("file", "message"),
    [("bad.h5ad", "count"), ("short.h5ad", "damaged"), ("few.h5ad", "12"), ("good.h5ad", "no column")],
)
def test_cells_that_fail_the_checks_leave_no_files(
    project: Path, outside: Path, web: str, call: Call, kind: str, file: str, message: str
) -> None:
    source = {"outside": str(outside / file), "inside": file, "web": f"{web}/{file}"}[kind]
    if kind == "inside":
        shutil.copyfile(outside / file, file)
    before = everything(project)
    labels = ("--label-column", "celltype") if file == "good.h5ad" else LABELS
    refused(call("data", "add", "kang", source, *labels), source, message)
    assert everything(project) == before


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--donor-column", "patient", "obs has no column 'patient' (columns: library_size, cell_type)"),
        ("--library-size-column", "umis", "obs has no column 'umis'"),
        ("--gene-column", "symbol", "var has no column 'symbol' (columns: none)"),
        ("--counts", "spliced", "'spliced'"),
    ],
)
def test_columns_of_an_entry_must_be_in_the_file(
    project: Path, outside: Path, call: Call, option: str, value: str, message: str
) -> None:
    before = everything(project)
    refused(call("data", "add", "kang", outside / "good.h5ad", *LABELS, option, value), "good.h5ad: ", message)
    assert everything(project) == before


@pytest.mark.slow
def test_a_file_tracked_by_git_is_refused_with_the_error_of_dvc(project: Path, outside: Path, call: Call) -> None:
    shutil.copyfile(outside / "good.h5ad", "kept.h5ad")
    git("add", "kept.h5ad")
    before = everything(project)
    refused(call("data", "add", "kept", "kept.h5ad", *LABELS), "dvc add: output 'kept.h5ad' is already tracked by SCM")
    assert everything(project) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("Kang", "good.h5ad"), "field name is 'Kang': a name has lower case letters"),
        (("../kang", "good.h5ad"), "field name is '../kang'"),
        (("kang", "absent.h5ad"), "absent.h5ad: no such file or folder; a URL starts with its scheme"),
        (("kang", "good.h5ad", "--organism", "mouse"), "field organism is 'mouse': only human is supported"),
        (("kang", "good.h5ad", "--donor-column", "yes"), "field donor_column is 'yes': YAML reads this"),
    ],
)
def test_invalid_arguments_are_refused_before_any_change(
    project: Path, outside: Path, call: Call, words: tuple[str, ...], message: str
) -> None:
    before = everything(project)
    name, file, *more = words
    refused(call("data", "add", name, outside / file, *LABELS, *more), message)
    assert everything(project) == before


def test_data_add_needs_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call) -> None:
    monkeypatch.chdir(tmp_path)
    refused(call("data", "add", "a", "a.h5ad", *LABELS), "run the command in the project folder")


@pytest.mark.slow
def test_an_existing_name_is_replaced_only_with_force(project: Path, outside: Path, call: Call) -> None:
    assert call("data", "add", "kang", outside / "good.h5ad", *LABELS).code == 0
    before = everything(project)
    refused(call("data", "add", "kang", outside / "other.h5ad", *LABELS), "already has a dataset 'kang'", "--force")
    assert everything(project) == before
    assert call("data", "add", "kang", outside / "other.h5ad", *LABELS, "--force", "--license", "CC0").code == 0
    assert Path("data/raw/kang.h5ad").read_bytes() == (outside / "other.h5ad").read_bytes()
    assert entry("kang").license == "CC0"
    assert out_of("data/raw/kang.h5ad.dvc")["size"] == (outside / "other.h5ad").stat().st_size
    assert json.loads(dvc("status", "--json")) == {}


@pytest.mark.slow
def test_an_existing_file_is_not_overwritten(project: Path, outside: Path, call: Call) -> None:
    Path("data/raw").mkdir(parents=True)
    shutil.copyfile(outside / "other.h5ad", "data/raw/kang.h5ad")
    before = everything(project)
    for force in ((), ("--force",)):
        outcome = call("data", "add", "kang", outside / "good.h5ad", *LABELS, *force)
        refused(outcome, "data/raw/kang.h5ad: already exists")
        assert everything(project) == before
    assert call("data", "add", "kang", "data/raw/kang.h5ad", *LABELS).code == 0


@pytest.mark.slow
@pytest.mark.parametrize("source", ["outside", "web"])
def test_a_failure_at_the_last_step_restores_all_files(
    project: Path, outside: Path, web: str, call: Call, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    assert call("data", "add", "kang", outside / "good.h5ad", *LABELS).code == 0

    def fails(entry: Dataset) -> None:
        raise UserError("data/catalogue.yaml: the disk is full.")

    def without_cache() -> dict[str, bytes | None]:  # the DVC cache keeps files until `dvc gc`
        return {path: content for path, content in everything(project).items() if not path.startswith(".dvc/cache")}

    before = without_cache()
    monkeypatch.setattr(adding_module, "write_entry", fails)
    origin = web if source == "web" else outside
    refused(call("data", "add", "kang", f"{origin}/other.h5ad", *LABELS, "--force"), "the disk is full")
    assert without_cache() == before
    refused(call("data", "add", "new", f"{origin}/other.h5ad", *LABELS), "the disk is full")
    assert without_cache() == before


@pytest.mark.slow
def test_an_interrupted_download_leaves_no_files(project: Path) -> None:
    asked = threading.Event()

    class Endless(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "100000000")
            self.send_header("ETag", '"one"')
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            try:
                for _ in range(1000):
                    self.wfile.write(b"x" * 100_000)
                    asked.set()
                    time.sleep(0.1)
            except OSError:
                pass

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Endless)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    before = everything(project)
    words = ["data", "add", "kang", f"http://127.0.0.1:{server.server_port}/a.h5ad", *LABELS]
    process = subprocess.Popen([sys.executable, "-m", "sctransformer.cli.main", *words], cwd=project)
    try:
        assert asked.wait(timeout=180)
        time.sleep(1)
        assert list(project.glob("data/raw/.kang.h5ad.*/*")), "the download goes to a scratch folder"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == TERMINATED
    finally:
        process.kill()
        server.shutdown()
        server.server_close()
    assert everything(project) == before


# ------------------------------------------------------------------------------------------------- list and show


@pytest.mark.slow
def test_list_and_show_tell_which_cells_exist(project: Path, outside: Path, call: Call) -> None:
    assert "no dataset yet" in call("data", "list").out
    assert call("data", "add", "kang", outside / "good.h5ad", *LABELS, "--license", "CC0 [really]").code == 0
    shown = call("data", "show", "kang").out
    assert f"md5 {out_of('data/raw/kang.h5ad.dvc')['md5']} (data/raw/kang.h5ad.dvc)" in shown
    assert "90 cells x 24 genes" in shown
    assert [line.split() for line in shown.splitlines() if line.startswith("  alpha")] == [["alpha", "30"]]
    table = call("data", "list").out
    assert "kang" in table
    assert "CC0 [really]" in table
    Path("data/raw/kang.h5ad").unlink()
    assert "missing: dvc pull data/raw/kang.h5ad.dvc" in call("data", "show", "kang").out
    listed = call("data", "list").out
    assert "missing: dvc pull" in " ".join(listed.split())
    assert "kB" in listed  # the size that DVC recorded
    refused(call("data", "show", "kong"), "has no dataset 'kong'; did you mean kang?")
    CATALOGUE.write_text("datasets: 1\n")
    refused(call("data", "list"), "data/catalogue.yaml: `datasets` must hold datasets by name")


# --------------------------------------------------------------------------------------------------------- train


@pytest.fixture
def pipeline(project: Path) -> Path:
    """A committed pipeline whose last stage writes the parameters that it was given to a file."""
    defaults = DataSettings().model_dump(mode="json")
    params = {"data": {**defaults, "cells": "first.txt"}, "prior": {"network": "first.txt"}}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    Path("first.txt").write_text("first")
    layout.LINEAGE.parent.mkdir(parents=True)
    layout.LINEAGE.write_text('{"run_id": "0123"}')  # of the training stage, which this pipeline does not have
    stage = {
        "cmd": 'cp "$SCTRANSFORMER_PARAMS" seen.yaml || cp params.yaml seen.yaml',
        "deps": ["${data.cells}", "${prior.network}"],
        "params": ["data", "prior"],
        "outs": [{"seen.yaml": {"cache": False}}],
    }
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"export": stage}}))
    git("add", ".")
    git("commit", "-qm", "Pipeline")
    return project


@pytest.mark.slow
def test_training_on_a_dataset_by_name_sets_all_its_parameters(
    pipeline: Path, outside: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Test")
    monkeypatch.setenv("GIT_AUTHOR_EMAIL", "test@example.org")
    monkeypatch.setenv("GIT_COMMITTER_NAME", "Test")
    monkeypatch.setenv("GIT_COMMITTER_EMAIL", "test@example.org")
    cells: AnnData = human_cells()
    cells.obs[ODD_COLUMN.replace("/", "|")] = cells.obs[OBS.cell_type]
    cells.write_h5ad(outside / "odd.h5ad")
    column = ODD_COLUMN.replace("/", "|")  # h5ad uses column names as HDF5 paths, so / would be a group
    assert call("data", "add", "odd", outside / "odd.h5ad", "--label-column", column).code == 0
    Path("data/networks").mkdir()
    Path("data/networks/mine.tsv").write_text("regulator\ttarget\n")

    before = Path("params.yaml").read_text()
    words = ("-S", "data=odd", "-S", "data.new_cells_fraction=0.25", "-S", "prior=mine")
    outcome = call("train", *words)
    assert outcome.code == 0, outcome
    seen = yaml.safe_load(Path("seen.yaml").read_text())
    expected = read_catalogue()["odd"].parameters(DataSettings.model_fields)
    assert Path("params.yaml").read_text() == before
    assert seen["data"] == {**DataSettings().model_dump(mode="json"), **expected, "new_cells_fraction": 0.25}
    assert seen["data"]["label_column"] == column
    assert seen["prior"]["network"] == "data/networks/mine.tsv"

    # a later override takes precedence
    assert call("train", "-S", "data=odd", "-S", "data.label_column=cell_type").code == 0
    assert yaml.safe_load(Path("seen.yaml").read_text())["data"]["label_column"] == OBS.cell_type

    # params.yaml holds again, because the overrides were for one run
    assert call("train").code == 0
    assert yaml.safe_load(Path("seen.yaml").read_text())["data"]["cells"] == "first.txt"
    assert Path("params.yaml").read_text() == before

    # a wrong name or value stops before DVC runs
    written = Path("seen.yaml").stat().st_mtime_ns
    refused(call("train", "-S", "data=od"), "has no dataset 'od'; did you mean odd?")
    refused(call("train", "-S", "prior=yours"), "data/networks/yours.tsv: no such network")
    refused(call("train", "-S", "train.lr=fast"), "train.lr is 'fast'")
    refused(call("train", "-S", "train.epoch=3"), "the most similar name is train.epochs")
    refused(call("train", "-S", "train.epochs=["), "is not valid YAML")
    assert Path("seen.yaml").stat().st_mtime_ns == written
