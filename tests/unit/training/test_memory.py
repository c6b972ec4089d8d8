"""Peak memory is that of this process alone."""

import subprocess
import sys

import torch

from sctransformer.training.memory import peak_gpu_mib, peak_resident_mib


def test_peak_memory_does_not_include_that_of_the_parent() -> None:
    """A child process that holds nothing reports little memory, even if its parent holds much."""
    code = "from sctransformer.training.memory import peak_resident_mib; print(peak_resident_mib())"
    held = torch.ones(300 * 2**18)  # 300 MiB
    child = float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout)
    assert peak_resident_mib() > float(held.nbytes) / 2**20
    assert 5 < child < 100


def test_a_cpu_has_no_gpu_memory() -> None:
    assert peak_gpu_mib(torch.device("cpu")) is None
