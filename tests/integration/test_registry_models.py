"""Registering and finding models in a real store: once, without pickles, and with clear errors."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from sctransformer._constants import BUNDLE
from sctransformer.errors import UserError
from sctransformer.export.bundle import read_bundle
from sctransformer.files import read_json, sha256_file, write_json
from sctransformer.registry.models import bundle_of, resolve
from sctransformer.registry.registration import register_bundle
from sctransformer.tracking import runs


def changed(bundle_folder: Path, target: Path, **contents: dict[str, object]) -> Path:
    """A copy of a bundle with other values in its JSON files and matching checksums: another model."""
    shutil.copytree(bundle_folder, target)
    for member, values in contents.items():
        path = target / f"{member}.json"
        write_json(path, read_json(path) | values)
    sum_again(target)
    return target


def write_member(folder: Path, member: str, content: str) -> None:
    """Replace the content of a text file, with a matching checksum."""
    (folder / member).write_text(content)
    sum_again(folder)


def sum_again(folder: Path) -> None:
    """Make checksums.txt match the files of the folder."""
    listing = folder / BUNDLE.checksums
    names = [line.split("  ", maxsplit=1)[1] for line in listing.read_text().splitlines()]
    listing.write_text(
        "".join(f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names)
    )


def test_the_same_bundle_is_registered_once(store: MlflowClient, project: Path, bundle_folder: Path) -> None:
    run_id = runs.start_run("training", "one", {}, {})
    first = register_bundle(bundle_folder, "celltype", run_id)
    again = register_bundle(bundle_folder, "celltype", run_id)
    assert (first.version, first.created, again.version, again.created) == (1, True, 1, False)
    # The same weights with other evidence are another version: its gates may come out differently.
    later = changed(bundle_folder, project / "later", lineage={"git": {"commit": "1" * 40, "dirty": False}})
    second = register_bundle(later, "celltype")
    assert (second.version, second.created, second.identity) == (2, True, first.identity)
    assert register_bundle(bundle_folder, "celltype").version == 1
    assert resolve("celltype@candidate").version == 1

    other = changed(bundle_folder, project / "other", calibration={"rejection_threshold": 0.7})
    third = register_bundle(other, "celltype")
    assert (third.version, third.created) == (3, True)
    assert third.identity != first.identity
    assert resolve("celltype@candidate").version == 3
    assert register_bundle(other, "elsewhere").version == 1


def test_a_bundle_that_the_store_has_lost_becomes_a_new_version(
    store: MlflowClient, bundle_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    register_bundle(bundle_folder, "celltype")
    (resolve("celltype/1").folder / BUNDLE.graph).unlink()
    again = register_bundle(bundle_folder, "celltype")
    assert (again.version, again.created) == (2, True)
    assert "celltype/1 held this bundle, but its files in the store are damaged" in caplog.text
    assert resolve("celltype@candidate").version == 2
    assert register_bundle(bundle_folder, "celltype").created is False


def test_a_version_of_an_earlier_release_is_known_by_what_it_holds(
    store: MlflowClient, project: Path, bundle_folder: Path
) -> None:
    register_bundle(bundle_folder, "celltype")
    store.delete_model_version_tag("celltype", "1", "bundle_digest")
    assert register_bundle(bundle_folder, "celltype").created is False
    later = changed(bundle_folder, project / "later", lineage={"when": "tomorrow"})
    assert register_bundle(later, "celltype").version == 2


def test_nothing_is_left_under_the_name_where_the_upload_fails(
    store: MlflowClient, bundle_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(MlflowClient, "log_model_artifacts", full)
    with pytest.raises(OSError, match="No space left"):
        register_bundle(bundle_folder, "celltype")
    assert store.search_registered_models() == []


def test_tags_and_description_of_a_version(store: MlflowClient, project: Path, bundle_folder: Path) -> None:
    run_id = runs.start_run("training", "one", {}, {})
    register_bundle(bundle_folder, "celltype", run_id)
    version = store.get_model_version("celltype", "1")
    assert version.run_id == run_id
    card = (bundle_folder / "card.md").read_text()
    assert version.description == card.replace("# Model card", "# celltype", 1)  # the name that it is registered under
    tags = dict(version.tags)
    assert json.loads(tags.pop("lineage")) == read_bundle(bundle_folder).lineage
    run_tags = store.get_run(run_id).data.tags
    assert {key: run_tags[key] for key in ("git_commit", "data_sha256")} == {
        key: tags[key] for key in ("git_commit", "data_sha256")
    }
    assert tags == {
        "bundle_identity": read_bundle(bundle_folder).identity,
        "bundle_digest": hashlib.sha256((bundle_folder / BUNDLE.checksums).read_bytes()).hexdigest(),
        "git_commit": "0" * 40,
        "git_dirty": "false",
        "dvc_lock_sha256": sha256_file(bundle_folder / "dvc.lock"),
        "data_sha256": "2" * 64,
        "prior_sha256": "3" * 64,
        "run_id": run_id,
        "who": "Ada <ada@example.org>",
        "when": "2026-01-01T00:00:00+00:00",
        "macro_f1": "0.9",
    }
    store.delete_run(run_id)
    assert resolve("celltype/1").tags["git_commit"] == "0" * 40


def test_the_model_folder_holds_no_pickle_and_little_to_install(
    store: MlflowClient, project: Path, bundle_folder: Path
) -> None:
    register_bundle(bundle_folder, "celltype")
    model = resolve("celltype/1").folder.parents[1]
    names = [path.name for path in model.rglob("*")]
    assert "MLmodel" in names
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".joblib", ".pt", ".pyc"))]
    requirements = (model / "requirements.txt").read_text().split()
    assert all("==" in line for line in requirements)
    packages = {line.partition("==")[0] for line in requirements}
    assert packages - {"onnxruntime", "onnxruntime-gpu"} == {"mlflow", "numpy", "pandas", "pyarrow", "scipy"}


def test_a_run_of_another_store_is_noted_but_not_linked(
    store: MlflowClient, bundle_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    register_bundle(bundle_folder, "celltype", "f" * 32)
    version = store.get_model_version("celltype", "1")
    assert not version.run_id
    assert version.tags["run_id"] == "f" * 32
    assert "registered without a link to its run" in caplog.text


def test_unknown_references(store: MlflowClient, bundle_folder: Path) -> None:
    register_bundle(bundle_folder, "celltype")
    for reference, message in (
        ("nothing@champion", r"has no model 'nothing' \(models: celltype\)"),
        ("celltype@champion", r"no alias 'champion' \(aliases: candidate = 1\)"),
        ("celltype@latest", r"no alias 'latest' \(aliases: candidate = 1\)"),
        ("models:/celltype@v3", r"no alias 'v3' \(aliases: candidate = 1\)"),
        ("celltype/2", r"no version 2 \(versions: 1\)"),
        ("celltype", "is not a model reference; write NAME@ALIAS"),
        ("../celltype/1", "is not a model reference"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            resolve(reference)
        assert "\n" not in str(caught.value)
    store.delete_model_version("celltype", "1")
    with pytest.raises(UserError, match=r"no alias 'candidate' \(aliases: none\)"):
        resolve("celltype@candidate")


def test_no_store_no_model_no_bundle(project: Path, bundle_folder: Path) -> None:
    with pytest.raises(UserError, match="no registry at"):
        resolve("celltype@champion")
    with pytest.raises(UserError, match="is not a model name"):
        register_bundle(bundle_folder, "../celltype")
    with pytest.raises(UserError, match="is not a model bundle"):
        register_bundle(project, "celltype")
    assert list(project.iterdir()) == []


def test_a_bundle_that_changed_after_it_was_registered(store: MlflowClient, project: Path, bundle_folder: Path) -> None:
    register_bundle(bundle_folder, "celltype")
    folder = resolve("models:/celltype/1").folder
    assert folder.is_relative_to(project / "mlartifacts")
    (folder / BUNDLE.card).write_text("changed")
    with pytest.raises(UserError, match=r"card\.md: does not match its checksum"):
        resolve("celltype/1")
    other = changed(bundle_folder, project / "other", calibration={"rejection_threshold": 0.7})
    graph = shutil.copytree(bundle_folder, project / "graph") / BUNDLE.graph  # no part of the identity
    graph.write_bytes(graph.read_bytes()[:-1] + b"\0")
    sum_again(graph.parent)
    for replaced in (other, graph.parent):
        shutil.rmtree(folder)
        shutil.copytree(replaced, folder)
        with pytest.raises(UserError, match="is not the bundle that was registered as celltype/1, files were replaced"):
            resolve("celltype/1")
        damage = bundle_of(store, store.get_model_version("celltype", "1"))
        assert isinstance(damage, str)
        assert "is not the bundle that was registered as celltype/1" in damage
    shutil.rmtree(folder)
    with pytest.raises(UserError, match="contains no bundle, so celltype/1 cannot be used"):
        resolve("celltype/1")
