"""The trainer: reproducible, resumable, the same result on several processes."""

import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression
from torch.distributed.tensor import DTensor

from sctransformer.data.arrays import NO_LABEL, TrainingCells
from sctransformer.errors import UserError
from sctransformer.training import trainer
from sctransformer.training.batches import Corruption, batches
from sctransformer.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from sctransformer.training.classification import Classification
from sctransformer.training.config import TrainConfig
from sctransformer.training.distributed import ProcessGroup
from sctransformer.training.execution import Execution
from sctransformer.training.objectives import warmup_cosine
from sctransformer.training.report import EpochReport, NonFiniteLossError
from sctransformer.training.trainer import Callbacks, Trainer
from sctransformer.typed_yaml import first_problem
from tests.conftest import arrays, simulated_cells, small_model
from tests.unit.training.training_runs import (
    AUGMENTED,
    CONFIG,
    FROZEN,
    PRETRAINED,
    assert_same_weights,
    trained,
    with_other_labels,
)

IMPATIENT = CONFIG.replace(epochs=30, patience=2)


def test_training_learns() -> None:
    reports = trained().reports
    assert reports[-1].train_loss < reports[0].train_loss
    assert max(report.val_macro_f1 for report in reports) > 0.9


@pytest.mark.parametrize("config", [CONFIG, FROZEN, AUGMENTED], ids=["all", "pretrained, frozen", "augmented"])
def test_two_runs_with_one_seed_give_the_same_weights(config: TrainConfig) -> None:
    assert_same_weights(trained(config).weights, trained(config).weights)


@pytest.mark.parametrize(
    ("config", "epochs_before"),
    [
        (CONFIG, 1),
        (CONFIG, 5),
        (PRETRAINED, 1),
        (PRETRAINED, 3),
        (PRETRAINED, 5),
        (FROZEN, 1),
        (FROZEN, 2),
        (FROZEN, 4),
    ],
)
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(
    tmp_path: Path, config: TrainConfig, epochs_before: int
) -> None:
    """During pretraining, between the phases, and during classification."""
    whole = trained(config)
    save_checkpoint(whole.checkpoints[epochs_before - 1], tmp_path)
    resumed = trained(config, resume=load_checkpoint(tmp_path))
    assert_same_weights(resumed.weights, whole.weights)
    assert_same_weights(resumed.checkpoints[-1].weights, whole.checkpoints[-1].weights)
    assert_same_weights(resumed.checkpoints[-1].decoder, whole.checkpoints[-1].decoder)
    assert [report.epoch for report in resumed.reports] == list(range(epochs_before, len(whole.reports)))
    assert resumed.reports[-1].val_loss == whole.reports[-1].val_loss


def test_the_best_epoch_is_kept_not_the_last() -> None:
    weights, reports, checkpoints, _ = trained()
    best = max(reports, key=lambda report: (report.val_macro_f1, -report.val_loss))
    assert checkpoints[-1].progress.best_epoch == best.epoch
    assert_same_weights(weights, checkpoints[best.epoch].weights)


@pytest.mark.parametrize(("part", "rate"), [("classifier", "head_lr"), ("layers", "layer_lr")])
def test_classifier_and_layers_have_their_own_learning_rate(part: str, rate: str) -> None:
    fresh = small_model(CONFIG.seed).state_dict()
    slow = {"lr": 1e-12, "head_lr": 1e-12, "layer_lr": 1e-12}
    run = trained(CONFIG.replace(epochs=1, weight_decay=0.0, **(slow | {rate: 1e-2})))
    for name, tensor in run.checkpoints[-1].weights.items():
        moved = float((tensor - fresh[name]).abs().max())
        assert (moved > 1e-3) if name.startswith(part) else (moved < 1e-9), name
    assert run.reports[0].learning_rate == pytest.approx(1e-12 * warmup_cosine(2, 3, CONFIG.warmup_fraction))


def test_few_cells_are_repeated_within_an_epoch() -> None:
    """90 cells in batches of 32 are 3 steps per pass; two epochs of two passes are 12 steps of the schedule."""
    run = trained(CONFIG.replace(epochs=2, min_steps=10))
    assert len(run.reports) == 2
    assert {report.epochs for report in run.reports} == {2}
    assert run.reports[0].learning_rate == pytest.approx(CONFIG.lr * warmup_cosine(5, 12, CONFIG.warmup_fraction))
    assert run.reports[-1].learning_rate == pytest.approx(CONFIG.lr * warmup_cosine(11, 12, CONFIG.warmup_fraction))
    steps = {name: tensor for name, tensor in run.checkpoints[-1].optimizer.items() if name.endswith(".step")}
    assert {float(tensor) for tensor in steps.values()} == {12.0}
    # both passes of an epoch are different: the same as four epochs of one pass
    four = trained(CONFIG.replace(epochs=4))
    assert_same_weights(run.checkpoints[-1].weights, four.checkpoints[-1].weights)


def test_training_stops_early_with_patience() -> None:
    """With shuffled labels, what is learned on training cells does not carry over to validation cells."""
    noise = {
        "cells": with_other_labels(arrays(simulated_cells())),
        "validation": with_other_labels(arrays(simulated_cells(seed=1))),
    }
    whole = trained(IMPATIENT, **noise)
    best = whole.checkpoints[-1].progress.best_epoch
    assert len(whole.reports) < IMPATIENT.epochs
    assert whole.reports[-1].epoch == best + IMPATIENT.patience
    assert_same_weights(whole.weights, whole.checkpoints[best].weights)
    for before in (best, best + 1):
        resumed = trained(IMPATIENT, resume=whole.checkpoints[before], **noise)
        assert [report.epoch for report in resumed.reports] == list(range(before + 1, len(whole.reports)))
        assert_same_weights(resumed.weights, whole.weights)
    ended = trained(IMPATIENT, resume=whole.checkpoints[-1], **noise)
    assert ended.reports == []
    assert_same_weights(ended.weights, whole.weights)


def test_patience_applies_to_classification_only() -> None:
    """The best epoch of pretraining does not count for the patience of classification."""
    config = PRETRAINED.replace(pretrain_epochs=5, pretrain_lr=1.0, epochs=3, patience=3)
    phases = [report.phase for report in trained(config).reports]
    assert phases == ["pretraining"] * 5 + ["supervised"] * 3


class _WithoutCache(Classification):
    """The definition of `frozen`: all cells are embedded again in every step."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        return super().parameter_groups()[:1]


def test_frozen_trains_the_classifier_alone_with_the_result_of_uncached_embeddings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cached = trained(FROZEN)
    pretrained = cached.checkpoints[FROZEN.pretrain_epochs - 1].best
    for name, tensor in cached.weights.items():
        assert torch.equal(tensor, pretrained[name]) == (not name.startswith("classifier")), name
    monkeypatch.setattr(trainer, "LinearProbe", _WithoutCache)
    uncached = trained(FROZEN)
    for name, tensor in uncached.weights.items():
        torch.testing.assert_close(cached.weights[name], tensor, atol=1e-5, rtol=1e-5, msg=name)
    losses = [[report.val_loss for report in run.reports] for run in (cached, uncached)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.slow
def test_frozen_converges_to_logistic_regression() -> None:
    """`head_penalty` is 1/C of scikit-learn, which gives the same probabilities on the same embeddings."""
    cells = arrays(simulated_cells(60))
    config = TrainConfig(
        finetune="frozen",
        batch_size=60,
        min_steps=800,
        head_lr=0.1,
        weight_decay=0.0,
        label_smoothing=0.0,
        class_weight_power=0.0,
        head_penalty=5.0,
        clip_norm=1e6,
    )
    model = small_model()
    Trainer(model, TrainingCells(cells), config).fit()
    with torch.no_grad():
        output = model(torch.from_numpy(cells.counts_NG), torch.from_numpy(cells.library_size_N))
    peer = LogisticRegression(C=1 / 5.0, max_iter=5000, tol=1e-8).fit(output.embedding_NE.numpy(), cells.labels_N)
    expected = peer.predict_proba(output.embedding_NE.numpy())
    np.testing.assert_allclose(output.logits_NC.softmax(dim=1).numpy(), expected, atol=2e-3)
    assert expected.max() < 0.99  # the penalty matters


@pytest.mark.parametrize("size", [1, 2, 4])
def test_losses_of_all_processes_add_up_to_the_objective(size: int) -> None:
    """Loss and gradient of a batch with the penalty; 4 processes share its 10 cells unevenly."""
    model, cells = small_model(), arrays(simulated_cells(10))
    plain = Classification(model, cells, cells, CONFIG.replace(head_penalty=0.0))
    penalised = Classification(model, cells, cells, CONFIG.replace(head_penalty=3.0))
    weight_CE = model.classifier.weight

    def objective(phase: Classification, size: int) -> torch.Tensor:
        losses = []
        for rank in range(size):
            (batch,) = batches(phase.parts, len(cells), Corruption(), (0,), ProcessGroup(rank, size))
            losses.append(phase.loss(phase.module, batch, torch.device("cpu")))
        return torch.stack(losses).sum()

    difference = objective(penalised, size) - objective(plain, 1)
    torch.testing.assert_close(difference, 3.0 / (2 * len(cells)) * weight_CE.square().sum(), atol=1e-6, rtol=1e-5)
    (gradient_CE,) = torch.autograd.grad(difference, weight_CE)
    torch.testing.assert_close(gradient_CE, 3.0 / len(cells) * weight_CE, atol=1e-6, rtol=1e-5)


def test_a_non_finite_loss_names_epoch_and_step() -> None:
    cells = arrays(simulated_cells())
    cells.counts_NG[5, 5] = np.nan
    with pytest.raises(NonFiniteLossError, match=r"epoch 0, step \d"):
        trained(CONFIG.replace(start="random"), cells=cells)


@pytest.mark.parametrize("broken", ["training", "validation"])
def test_training_resumes_from_the_checkpoint_before_a_non_finite_loss(tmp_path: Path, broken: str) -> None:
    """Counts become NaN after the second epoch; the checkpoint of that epoch is valid."""
    whole = trained(PRETRAINED)
    cells = {"training": arrays(simulated_cells()), "validation": arrays(simulated_cells(seed=1))}
    saved: list[int] = []

    def save(report: EpochReport, state: Checkpoint) -> None:
        save_checkpoint(state, tmp_path)
        saved.append(report.epoch)
        if report.epoch == 1:
            cells[broken].counts_NG[:] = np.nan

    with pytest.raises(NonFiniteLossError, match="epoch 2") as caught:
        Trainer(small_model(PRETRAINED.seed), TrainingCells(**cells), PRETRAINED, callbacks=Callbacks(save)).fit()
    assert ("step" in str(caught.value)) == (broken == "training")
    assert saved == [0, 1]
    kept = load_checkpoint(tmp_path)
    assert kept.progress.epochs_done == 2
    for tensors in (kept.weights, kept.best, kept.decoder, kept.optimizer):
        assert all(tensor.isfinite().all() for tensor in tensors.values())
    assert_same_weights(trained(PRETRAINED, resume=kept).weights, whole.weights)


def test_labelled_cells_need_labels() -> None:
    cells = arrays(simulated_cells())
    cells.labels_N[3] = -1
    with pytest.raises(UserError, match="cells without a label; pass them as unlabelled cells"):
        trained(cells=cells)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"pretrain_batch_size": 0}, "pretrain_batch_size is 0"),
        ({"pretrain_epochs": -1}, "pretrain_epochs is -1"),
        ({"patience": -1}, "patience is -1"),
        ({"min_steps": -1}, "min_steps is -1"),
        ({"gene_dropout": 1.0}, "gene_dropout is 1.0"),
        ({"thinning": 1.0}, "thinning is 1.0"),
        ({"finetune": "frozen", "thinning": 0.1}, "finetune is 'frozen' and thinning 0.1"),
        ({"hidden_share": 0.0}, "hidden_share is 0.0"),
        ({"hidden_share": 1.0}, "hidden_share is 1.0"),
        ({"head_lr": 0.0}, "head_lr is 0.0: Input should be greater than 0"),
        ({"layer_lr": 0.0}, "layer_lr is 0.0"),
        ({"head_penalty": -0.1}, "head_penalty is -0.1"),
        ({"finetune": "some"}, "finetune is 'some': Input should be 'all' or 'frozen'"),
        ({"start": "warm"}, "start is 'warm': Input should be 'principal' or 'random'"),
        ({"finetune": "frozen", "gene_dropout": 0.1}, "finetune is 'frozen' and gene_dropout 0.1"),
        ({"finetune": "frozen", "start": "random"}, "the classifier would learn from random weights"),
    ],
)
def test_invalid_settings_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TrainConfig(**changed)
    assert message in first_problem(caught.value)


SHARED = Execution(shared_weights=True, accumulate=2)
REPLICATED = {"all": CONFIG, "pretrained": PRETRAINED, "frozen": FROZEN, "augmented": AUGMENTED}
TOGETHER = REPLICATED | {"shared": PRETRAINED, "resumed": PRETRAINED}
"""`shared`: weights sharded over processes; `resumed`: such a run, resumed after its fourth epoch."""
PROCESSES = {2: tuple(TOGETHER), 3: ("pretrained",)}
"""Runs by number of processes; with three there is one, since it takes longest."""


def _worker(rank: int, size: int, port: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=size)
    torch.set_num_threads(1)
    for name in PROCESSES[size]:
        config = TOGETHER[name]
        resume = load_checkpoint(Path(folder) / "fourth epoch") if name == "resumed" else None
        run = trained(config, resume=resume, execution=None if name in REPLICATED else SHARED)
        held = run.weights["readout.score_weight_GE"]
        assert isinstance(held, DTensor) == (name not in REPLICATED)
        assert not isinstance(held, DTensor) or held.to_local().numel() < held.numel()
        if rank == 0:
            (Path(folder) / name).mkdir()
            save_checkpoint(run.checkpoints[-1], Path(folder) / name)
            if name == "shared":
                (Path(folder) / "fourth epoch").mkdir()
                save_checkpoint(run.checkpoints[3], Path(folder) / "fourth epoch")
        dist.barrier()
    dist.destroy_process_group()


def run_together(size: int, folder: Path) -> Path:
    """A folder with the last checkpoint of each run for this number of processes."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    mp.spawn(_worker, args=(size, port, str(folder)), nprocs=size)
    return folder


@pytest.fixture(scope="module")
def by_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of TOGETHER on two processes."""
    return run_together(2, tmp_path_factory.mktemp("two"))


def assert_same_result(name: str, folder: Path) -> None:
    alone = trained(TOGETHER[name]).checkpoints[-1]
    found = load_checkpoint(folder / name)
    assert found.progress.best_epoch == alone.progress.best_epoch
    for kept in ("weights", "decoder"):
        for tensor_name, tensor in getattr(alone, kept).items():
            other = getattr(found, kept)[tensor_name]
            torch.testing.assert_close(other, tensor, atol=2e-4, rtol=2e-3, msg=tensor_name)


@pytest.mark.slow
@pytest.mark.parametrize("name", TOGETHER)
def test_two_processes_give_the_result_of_one(by_two: Path, name: str) -> None:
    assert_same_result(name, by_two)


@pytest.mark.slow
def test_three_processes_which_share_batches_unevenly_give_the_result_of_one(tmp_path: Path) -> None:
    """The last batch has 26 of 90 cells."""
    (name,) = PROCESSES[3]
    assert_same_result(name, run_together(3, tmp_path))


def test_without_validation_cells_the_last_epoch_is_kept() -> None:
    cells = TrainingCells(arrays(simulated_cells()), unlabelled=arrays(simulated_cells(seed=2)))
    model = small_model(PRETRAINED.seed)
    last = Trainer(model, cells, PRETRAINED).fit()
    assert_same_weights(model.state_dict(), last.weights)
    assert last.progress.best_epoch == PRETRAINED.pretrain_epochs + PRETRAINED.epochs - 1
    assert {report["val_loss"] for report in last.history} == {None}
    with pytest.raises(ValueError, match="early stopping needs validation cells"):
        Trainer(model, cells, IMPATIENT)


def test_pretraining_alone_uses_no_labels_and_can_be_resumed() -> None:
    cells, validation = arrays(simulated_cells()), arrays(simulated_cells(seed=1))
    unlabelled = replace(cells, labels_N=np.full(len(cells), NO_LABEL))
    model = small_model(PRETRAINED.seed)
    pretrained = Trainer(model, TrainingCells(unlabelled, validation), PRETRAINED, pretrain_only=True).fit()
    assert pretrained.progress.position == (PRETRAINED.pretrain_epochs, 0)
    assert_same_weights(model.state_dict(), pretrained.best)
    assert_same_weights(trained(PRETRAINED, resume=pretrained).weights, trained(PRETRAINED).weights)
    with pytest.raises(ValueError, match="pretrain_only needs pretrain_epochs above 0"):
        Trainer(model, TrainingCells(cells), CONFIG, pretrain_only=True)
