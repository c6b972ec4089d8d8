"""Checkpoints within an epoch: a run resumed after any step gives the result of an uninterrupted one."""

from pathlib import Path

import pytest

from sctransformer.errors import UserError
from sctransformer.training.checkpoint import BEST, Checkpoint, load_checkpoint, save_checkpoint
from sctransformer.training.config import TrainConfig
from sctransformer.training.execution import Execution
from sctransformer.training.run_folder import RunFolder
from tests.unit.training.training_runs import FROZEN, PRETRAINED, Run, assert_same_weights, trained

SEVERAL_PASSES = PRETRAINED.replace(pretrain_epochs=1, epochs=2, min_steps=10)
"""Two epochs of classification of two passes each, three steps a pass."""
FEW_FROZEN = FROZEN.replace(epochs=2)


def with_checkpoints(config: TrainConfig, every: int, resume: Checkpoint | None = None) -> tuple[Run, list[Checkpoint]]:
    """A run, and its checkpoints within epochs."""
    run = trained(config, resume=resume, execution=Execution(checkpoint_steps=every))
    return run, run.within_epochs


@pytest.mark.parametrize("config", [SEVERAL_PASSES, FEW_FROZEN], ids=["all", "frozen"])
def test_a_run_resumes_within_any_epoch_and_pass(config: TrainConfig, tmp_path: Path) -> None:
    """Weights, optimizer and all metrics but speed and memory are the same; every second step is tried."""
    whole = trained(config)
    _, midway = with_checkpoints(config, every=1)
    steps_of_epochs = [3] * config.pretrain_epochs + [3 * (2 if config is SEVERAL_PASSES else 1)] * config.epochs
    expected = [(epoch, step) for epoch, steps in enumerate(steps_of_epochs) for step in range(1, steps)]
    assert [state.progress.position for state in midway] == expected
    for number, state in list(enumerate(midway))[::2]:
        (tmp_path / str(number)).mkdir()
        save_checkpoint(state, tmp_path / str(number))
        resumed, left = with_checkpoints(config, every=1, resume=load_checkpoint(tmp_path / str(number)))
        assert [later.progress.position for later in left] == expected[number + 1 :]
        assert_same_weights(resumed.weights, whole.weights)
        assert_same_weights(resumed.checkpoints[-1].optimizer, whole.checkpoints[-1].optimizer)
        first = state.progress.epochs_done
        for ours, theirs in zip(resumed.checkpoints[-1].history, whole.checkpoints[-1].history, strict=True):
            timed = ("cells_per_second", "memory_mib")
            assert {k: v for k, v in ours.items() if k not in timed} == {
                k: v for k, v in theirs.items() if k not in timed
            }
        assert [report.epoch for report in resumed.reports] == list(range(first, len(whole.reports)))


def test_checkpoint_steps_are_counted_within_an_epoch() -> None:
    _, midway = with_checkpoints(PRETRAINED, every=2)
    assert [state.progress.position for state in midway] == [(epoch, 2) for epoch in range(7)]
    assert with_checkpoints(PRETRAINED, every=0)[1] == []


def test_incomplete_and_changed_checkpoints_are_skipped(tmp_path: Path) -> None:
    """The newest valid checkpoint is found, and pruning removes all others."""
    states = trained().checkpoints
    folder = RunFolder(tmp_path, "run")
    places = [tmp_path / "run" / f"attempt-{1 + number % 2}" / f"checkpoint_{number}" for number in range(4)]
    for state, place in zip(states, places, strict=False):
        place.mkdir(parents=True)
        save_checkpoint(state, place)
    content = bytearray((places[3] / BEST).read_bytes())
    content[-1] ^= 1
    (places[3] / BEST).write_bytes(content)
    with pytest.raises(UserError, match=r"best\.safetensors: the checksum does not match"):
        load_checkpoint(places[3])
    (places[2] / BEST).unlink()
    with pytest.raises(UserError, match="not a complete checkpoint"):
        load_checkpoint(places[2])
    found = folder.newest_checkpoint()
    assert found is not None
    assert found[0] == str(places[1])
    assert found[1].progress == states[1].progress
    assert folder.prune_checkpoints() == str(places[1])
    assert [path for path in places if path.exists()] == [places[1]]
    assert folder.new_attempt() == "attempt-3"


@pytest.mark.parametrize("storage", ["file", "memory"])
def test_the_newest_checkpoint_is_claimed_while_others_replace_it(
    tmp_path: Path, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers of a killed process may replace a checkpoint while it is claimed: then the new one is claimed."""
    folder = RunFolder(tmp_path if storage == "file" else f"memory://{tmp_path.name}", "run")
    assert folder.claim_newest_checkpoint() is None
    for number, state in enumerate(trained().checkpoints[:2]):
        here = tmp_path / "here" / str(number)
        here.mkdir(parents=True)
        save_checkpoint(state, here)
        folder.filesystem.put(f"{here}/", f"{folder.path}/attempt-1/checkpoint_{number}", recursive=True)
    first = folder.newest_checkpoint()
    assert first is not None
    found = folder.claim_newest_checkpoint()
    assert found is not None
    assert found[0].endswith("attempt-2/checkpoint_1")
    assert not folder.filesystem.exists(first[0])
    assert folder.read_checkpoint(found[0]).progress == first[1].progress

    stale = [first, folder.newest_checkpoint()]
    monkeypatch.setattr(folder, "newest_checkpoint", lambda: stale.pop(0))
    found = folder.claim_newest_checkpoint()
    assert found is not None
    assert found[1].progress == first[1].progress
