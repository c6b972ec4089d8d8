"""The folder of a run, while another process writes to it."""

import threading
from pathlib import Path

from sctransformer.training.run_folder import RunFolder
from tests.unit.training.training_runs import trained


def test_the_newest_checkpoint_is_found_while_it_is_replaced(tmp_path: Path) -> None:
    """The workers of a killed process run on for a moment; each of their checkpoints replaces the one before."""
    folder, checkpoint, done = RunFolder(tmp_path, "run"), trained().checkpoints[0], threading.Event()
    previous = folder.replace_checkpoint("attempt-1", checkpoint, None)

    def replace() -> None:
        last = previous
        while not done.is_set():
            last = folder.replace_checkpoint("attempt-1", checkpoint, last)

    writer = threading.Thread(target=replace)
    writer.start()
    try:
        found = [folder.newest_checkpoint() for _ in range(8)]
    finally:
        done.set()
        writer.join()
    assert all(one is not None for one in found)


def test_a_folder_whose_only_checkpoint_is_damaged_has_none(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "run")
    path = folder.replace_checkpoint("attempt-1", trained().checkpoints[0], None)
    next(Path(path).glob("*.safetensors")).write_bytes(b"")
    assert folder.newest_checkpoint() is None
