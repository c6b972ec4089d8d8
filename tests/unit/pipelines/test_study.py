"""The study: its file, cells, tasks and training."""

import dataclasses
import os
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from scipy import sparse

from pipelines.study import held_out_donors
from pipelines.study.cells import (
    CELLS,
    MORE_CELLS,
    all_genes,
    assign_splits,
    most_variable,
    panel_cells,
    prepare,
    unlabelled_arrays,
)
from pipelines.study.command import make_grid, run_study, unfinished
from pipelines.study.config import load_study, with_arm_values
from pipelines.study.grid import Filter, Grid
from pipelines.study.models import pretrain, train
from pipelines.study.pool import WorkerPool, lock_folder
from pipelines.study.record import Record
from sctransformer._constants import OBS
from sctransformer.data.arrays import CellArrays, TrainingCells
from sctransformer.data.cells import CellFile
from sctransformer.errors import UserError
from sctransformer.evaluation.baselines import fit_celltypist, fit_logistic_regression
from sctransformer.files import write_json
from sctransformer.training.config import TrainConfig
from sctransformer.training.trainer import Trainer
from tests.conftest import arrays, reference_folder, simulated_cells, small_model
from tests.unit.pipelines.study_files import SYMBOLS, study_content, write_study
from tests.unit.pipelines.study_tasks import half


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"percents": [0]}, "percents: 0.0 is not a percentage"),
        ({"percents": [1, 1]}, "percents: a percentage is listed twice"),
        (
            {"arms": {"a": {"model.widht": 8}}},
            "arm a, point 0 of the search: model.widht: is not a parameter",
        ),
        ({"arms": {"a": {"prepare.gene_budget": 8}}}, "cannot be set in a study, only model, train and prior.control"),
        ({"arms": {"a": {"model.width": -1}}}, "model.width is -1"),
        ({"arms": {"a": {"model.width": 9}}}, "width 9 is not a multiple of heads 2"),
        (
            {"arms": {"celltypist": {}}, "baselines": ["celltypist"]},
            "an arm cannot have the name of a baseline, celltypist",
        ),
        ({"search": []}, "search has no point"),
        ({"arms": {"a": {"train.lr": 1.0}}, "search": [{"train.lr": 0.1}]}, "both set train.lr"),
        ({"seeds": {10: [0]}}, "seeds has no entry for 50 percent"),
        ({"color": "red"}, "color is unknown"),
        ({"arms": {}, "baselines": []}, "neither arms nor baselines"),
    ],
)
def test_an_invalid_study_is_refused_in_one_sentence(changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    path = write_study(tmp_path, **changes)
    with pytest.raises(UserError) as caught:
        load_study(path)
    assert sentence in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_study_names_files_by_environment_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_study(tmp_path)
    path.write_text(path.read_text().replace(str(tmp_path), "${oc.env:STUDY_FILES}"))
    monkeypatch.setenv("STUDY_FILES", str(tmp_path))
    assert load_study(path).dataset.cells == tmp_path / "cells.h5ad"
    monkeypatch.delenv("STUDY_FILES")
    with pytest.raises(UserError, match="STUDY_FILES"):
        load_study(path)


STUDIES = sorted(path for path in Path("pipelines/study").glob("*.yaml") if path.stem != "network")
"""The studies of labels; that of the network has a format of its own, see test_network_study.py."""


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_the_studies_of_the_project_are_valid(path: Path) -> None:
    reference_folder()
    study = load_study(path)
    assert study.name == path.stem
    assert study.dataset.cells.is_file()
    assert study.name not in ("kang", "mudan") or set(study.arms) == {
        "mask", "bias", "regulators", "dense", "shuffled", "random",
    }  # fmt: skip


def test_arms_differ_only_in_the_parameters_that_they_set(tmp_path: Path) -> None:
    study = load_study(write_study(tmp_path, search=[{"train.lr": 0.1}, {"train.lr": 0.2}]))
    mask, dense = study.params_of("mask", 1), study.params_of("dense", 1)
    assert mask.train.lr == dense.train.lr == 0.2
    assert with_arm_values(mask, {"model.mode": "dense"}) == dense


@pytest.mark.slow
def test_each_donor_is_predicted_by_a_method_fitted_without_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a scikit-learn estimator and with the model; the test donor is not used."""
    seen: list[tuple[set[str], set[str]]] = []
    whole = held_out_donors.predict_held_out_donors

    def watched(method: held_out_donors.Method, donors_N: np.ndarray, labelled_N: np.ndarray) -> np.ndarray:
        def noted(training_N: np.ndarray, scored_N: np.ndarray) -> np.ndarray:
            seen.append((set(donors_N[training_N]), set(donors_N[scored_N])))
            return method(training_N, scored_N)

        return whole(noted, donors_N, labelled_N)

    monkeypatch.setattr(held_out_donors, "predict_held_out_donors", watched)
    path, out = str(write_study(tmp_path)), str(tmp_path / "prepared")
    held_out_donors.main([path, "--out", out, "--only", "kernel", "model"])
    donors = {"donor0", "donor1", "donor2"}
    assert seen == [(donors - {donor}, {donor}) for donor in sorted(donors)] * 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "90 cells of 3 donors, each donor held out in turn"
    found = {line.rsplit(maxsplit=5)[0].strip(): float(line.split()[-5]) for line in lines[2:]}
    assert set(found) == {"components, kernel", "model, point 0"}
    assert min(found.values()) > 0.8


def test_held_out_donors_need_donors(tmp_path: Path) -> None:
    dataset = study_content(tmp_path)["dataset"]
    without = {name: value for name, value in dataset.items() if name != "donor_column"}
    with pytest.raises(UserError, match=r"dataset\.donor_column is not set"):
        held_out_donors.main([str(write_study(tmp_path, dataset=without))])
    with pytest.raises(UserError, match="no such method; choose from logistic regression, "):
        held_out_donors.main([str(write_study(tmp_path)), "--out", str(tmp_path / "prepared"), "--only", "oracle"])


def test_the_panel_does_not_depend_on_test_cells(tmp_path: Path) -> None:
    study = load_study(write_study(tmp_path))
    sources = prepare(study, [0, 1], tmp_path / "prepared")
    assert sources.panels[0] == sources.panels[1]  # the same test cells
    prepared = panel_cells(sources.cells, sources.panels[0])
    split = assign_splits(study, prepared.cells.obs, 10, 0)
    tested_N = np.asarray(split == "test")
    assert set(prepared.cells.obs.loc[tested_N, OBS.donor]) == {"donor3"}
    assert (split == "train").sum() == 9
    free = unlabelled_arrays(prepared, split)
    assert len(free) == (~tested_N).sum()
    assert set(free.labels_N) == {-1}
    expression_NG = np.log1p(free.counts_NG / free.library_size_N[:, None] * 1e4)
    assert np.allclose(expression_NG.mean(axis=0), prepared.panel["mean"], atol=1e-4)
    assert all_genes(sources.cells).shape == (120, 24)


def test_prepared_cells_are_reused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = load_study(write_study(tmp_path))
    first = prepare(study, [0], tmp_path / "prepared")
    monkeypatch.setattr("pipelines.study.cells._write_panel", lambda *words: pytest.fail("prepared again"))
    monkeypatch.setattr("pipelines.study.cells._read_labelled", lambda *words: pytest.fail("read again"))
    assert prepare(study, [0, 1], tmp_path / "prepared").panels[1] == first.panels[0]


def test_the_most_variable_genes_depend_on_training_cells_only() -> None:
    cells, other = simulated_cells(60), simulated_cells(60)
    trained_N = np.arange(60) < 30
    counts_NG = other.X.toarray()
    counts_NG[~trained_N] = np.random.default_rng(0).poisson(30, counts_NG[~trained_N].shape)
    other.X = sparse.csr_matrix(counts_NG)
    found = most_variable(cells, trained_N, 4)
    assert len(found) == 4
    assert most_variable(other, trained_N, 4) == found
    assert most_variable(other, ~trained_N, 4) != found
    assert most_variable(cells, trained_N, 100) == cells.var_names.tolist()


def test_unlabelled_cells_share_the_genes_of_both_files(tmp_path: Path) -> None:
    more = simulated_cells(30, seed=3)[:, :20].copy()
    more.var_names = SYMBOLS[:20]
    del more.obs["cell_type"]
    more.write_h5ad(tmp_path / "more.h5ad")
    path = write_study(tmp_path)
    content = yaml.safe_load(path.read_text())
    content["dataset"]["unlabelled"] = str(tmp_path / "more.h5ad")
    path.write_text(yaml.safe_dump(content))
    study = load_study(path)
    sources = prepare(study, [0], tmp_path / "prepared")
    prepared = panel_cells(sources.cells, sources.panels[0])
    assert set(prepared.panel["gene"]) <= set(SYMBOLS[:20])
    assert (sources.panels[0] / MORE_CELLS).is_file()
    split = assign_splits(study, prepared.cells.obs, 10, 0)
    free = unlabelled_arrays(prepared, split)
    assert len(free) == 90 + 30
    columns = [SYMBOLS.index(gene) for gene in prepared.panel["gene"]]
    assert np.array_equal(free.counts_NG[90:], more.X.toarray()[:, columns])
    with CellFile(sources.cells / CELLS) as file:
        assert len(file.genes) == 24  # baselines keep all genes


def grid_of(folder: Path, **changes: Any) -> Grid:
    return make_grid(load_study(write_study(folder, **changes)), [], folder / "out")


def test_the_grid_has_each_arm_baseline_percentage_and_seed_once(tmp_path: Path) -> None:
    grid, out = grid_of(tmp_path), tmp_path / "out"
    tasks = [*grid.baselines(), *grid.arms(out)]
    assert len(tasks) == len({task.digest for task in tasks}) == grid.size() == 12
    assert not list(grid.searches())
    assert not list(grid.pretrainings())
    assert len(unfinished(tasks, out)) == 12
    write_json(tasks[0].result(out), {})
    assert len(unfinished(tasks, out)) == 11


def test_a_digest_depends_only_on_what_decides_the_result(tmp_path: Path) -> None:
    def digests(**changes: Any) -> dict[str, str]:
        grid = grid_of(tmp_path, **changes)
        return {task.label: task.digest for task in (*grid.baselines(), *grid.arms(tmp_path / "out"))}

    before = digests()
    assert digests(references=[]) == before
    renamed = digests(arms={"other name": {}, "dense": {"model.mode": "dense"}})
    assert renamed["other name 10% s0"] == before["mask 10% s0"]
    slower = digests(arms={"mask": {"train.lr": 0.5}, "dense": {"model.mode": "dense"}})
    assert {label for label in before if slower[label] != before[label]} == {
        f"mask {percent}% s{seed}" for percent in (10, 50) for seed in (0, 1)
    }
    smaller = digests(gene_budget=20)
    assert {label for label in before if smaller[label] == before[label]} == {
        f"logistic_regression {percent}% s{seed}" for percent in (10, 50) for seed in (0, 1)
    }
    unused = digests(arms={"mask": {}, "dense": {"model.mode": "dense", "prior.control": "random"}})
    assert unused == before  # dense attention does not use edges, so the control does not matter


def test_all_arms_are_searched_on_the_same_splits_and_seeds_choose_together(tmp_path: Path) -> None:
    grid, out = grid_of(tmp_path, search=[{}, {"train.epochs": 3}], search_repeats={10: 2, 50: 1}), tmp_path / "out"
    searches = list(grid.searches())
    assert len(searches) == 2 * 2 * (2 * 2 + 2 * 1)
    by_arm = {
        arm: [(task.percent, task.seed, task.point, task.repeat) for task in searches if task.name == arm]
        for arm in ("mask", "dense")
    }
    assert by_arm["mask"] == by_arm["dense"]
    assert not list(grid.arms(out))  # no point is chosen before the scores exist
    for task in searches:
        good = task.point == 1 and task.seed == 0 and task.percent == 10
        write_json(task.result(out), {"figures": {"macro_f1": 0.9 if good else 0.5}})
    points = {(task.percent, task.seed): task.point for task in grid.arms(out)}
    assert points == {(10, 0): 1, (10, 1): 1, (50, 0): 0, (50, 1): 0}
    alone = dataclasses.replace(grid, together={10: [(0,), (1,)], 50: [(0,), (1,)]})
    points = {(task.percent, task.seed): task.point for task in alone.arms(out)}
    assert points == {(10, 0): 1, (10, 1): 0, (50, 0): 0, (50, 1): 0}


def test_only_selects_tasks(tmp_path: Path) -> None:
    grid = grid_of(tmp_path)
    chosen = dataclasses.replace(grid, filter=Filter.of(["mask", "10%", "s1"], grid.study))
    assert [task.label for task in (*chosen.baselines(), *chosen.arms(tmp_path / "out"))] == ["mask 10% s1"]
    with pytest.raises(UserError, match="--only bias: study small has mask, dense, logistic_regression, 10%"):
        Filter.of(["bias"], grid.study)


def test_a_folder_is_locked_by_one_run(tmp_path: Path) -> None:
    with (
        lock_folder(tmp_path / "out"),
        pytest.raises(UserError, match="another process is running this study"),
        lock_folder(tmp_path / "out"),
    ):
        pass
    with lock_folder(tmp_path / "out"):
        pass


@pytest.mark.slow
def test_a_failed_task_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with WorkerPool(2) as pool:
        found = dict(pool.map(half, [1, 2, 3, 4]))
        assert isinstance(found.pop(3), ValueError)
        assert found == {1: (0.5, "1"), 2: (1.0, "1"), 4: (2.0, "1")}
        assert isinstance(dict(pool.map(os._exit, [1]))[1], BrokenProcessPool)
        assert dict(pool.map(half, [4])) == {4: (2.0, "1")}  # by another worker
    assert "OMP_NUM_THREADS" not in os.environ


def test_ctrl_c_stops_a_study_while_mlflow_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupted write may lock the database."""
    study = load_study(write_study(tmp_path))
    statuses: list[str] = []

    def interrupted(*arguments: object) -> list[str]:
        raise KeyboardInterrupt

    def locked(record: Record, status: str, files: list[Path]) -> None:
        statuses.append(status)
        raise UserError("the database is locked")

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setattr("pipelines.study.command.run_tasks", interrupted)
    monkeypatch.setattr(Record, "close", locked)
    with pytest.raises(KeyboardInterrupt):
        run_study(study, tmp_path / "out", [], 1)
    assert statuses == ["KILLED"]


def test_celltypist_predicts_easy_cells_and_writes_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    test = arrays(simulated_cells(seed=1))
    label = fit_celltypist(arrays(simulated_cells()), SYMBOLS)
    assert (label(test) == test.labels_N).mean() > 0.95
    assert (label(test) == label(test)).all()
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


def test_wide_logistic_regression_returns_its_choices() -> None:
    test = arrays(simulated_cells(seed=1))
    label, chosen = fit_logistic_regression(arrays(simulated_cells()), 3, seed=0, wide=True)
    assert (label(test) == test.labels_N).mean() > 0.95
    assert set(chosen) == {"C", "folds", "standardised", "balanced"}


def test_one_pretraining_is_used_for_any_number_of_labels() -> None:
    cells = arrays(simulated_cells())
    config = TrainConfig(seed=3, epochs=2, batch_size=16, lr=0.01, pretrain_epochs=2, min_steps=0)
    pretrained = pretrain(small_model(), cells, config)
    assert pretrained.progress.epochs_done == 2
    again = pretrain(small_model(), dataclasses.replace(cells, labels_N=np.full(len(cells), -1)), config)
    assert all(torch.equal(pretrained.weights[name], again.weights[name]) for name in again.weights)
    few = CellArrays(cells.counts_NG[:9], cells.library_size_N[:9], cells.labels_N[:9])
    for training in (few, cells):
        model = small_model()
        train(model, training, cells, config, pretrained)
        fresh = small_model()
        train(fresh, training, cells, config.replace(pretrain_epochs=0))
        assert not torch.equal(model.classifier.weight, fresh.classifier.weight)


def test_training_ends_with_the_weights_of_the_last_epoch() -> None:
    cells, model = arrays(simulated_cells()), small_model()
    config = TrainConfig(seed=3, epochs=3, batch_size=16, lr=0.01, min_steps=0)
    others = arrays(simulated_cells(seed=1))
    last = Trainer(small_model(), TrainingCells(cells, cells, others), config).fit().weights
    train(model, cells, others, config)
    assert all(torch.equal(last[name], tensor) for name, tensor in model.state_dict().items())
