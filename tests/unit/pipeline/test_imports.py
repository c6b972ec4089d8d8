"""Stages import no library that takes seconds and that they do not use."""

import subprocess
import sys

import pytest

UNUSED = ("ray", "scipy.stats", "sklearn", "torch.distributed.fsdp")


@pytest.mark.slow
def test_training_and_export_start_without_the_libraries_of_other_stages() -> None:
    """Ray is imported if the workers are more than zero, FSDP where gradients are computed."""
    stages = "sctransformer.pipeline.stages.export, sctransformer.pipeline.stages.train"
    code = f"import sys, {stages}; print(*(name for name in sys.argv[1:] if name in sys.modules))"
    command = [sys.executable, "-c", code, *UNUSED]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == []
