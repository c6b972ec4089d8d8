"""The command `sctransformer data simulate`, and its errors."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import anndata
import pytest

from sctransformer._constants import OBS, UNS
from sctransformer.data.simulated_network import SimulationConfig
from sctransformer.errors import DEBUG_VARIABLE
from sctransformer.prior.network import read_network_table
from tests.integration.conftest import Call

SCTRANSFORMER = (sys.executable, "-m", "sctransformer.cli.main")
PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def call(call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """The shared `call`, in a new folder."""
    monkeypatch.setenv(DEBUG_VARIABLE, "")
    monkeypatch.chdir(tmp_path)
    return call


def test_written_files_and_next_steps_are_printed(call: Call, tmp_path: Path) -> None:
    outcome = call(
        *("data", "simulate", "--cells", 300, "--genes", 80, "--regulators", 9, "--types", 3, "--donors", 2),
        *("--seed", 4, "-o", "data/simulated/cells.h5ad"),
    )
    assert (outcome.code, outcome.err) == (0, "")
    cells = anndata.read_h5ad(tmp_path / "data/simulated/cells.h5ad")
    network = read_network_table(tmp_path / "data/simulated/cells.edges.tsv", {})
    assert cells.shape == (300, 80)
    assert cells.obs[OBS.cell_type].nunique() == 3
    assert cells.obs[OBS.donor].nunique() == 2
    assert set(network.regulators) == set(cells.var_names[:9])
    assert cells.uns[UNS.simulation]["seed"] == 4
    for words in (
        "300 of 3 types and 2 donors x 80 genes",
        f"{len(network):,} true edges of 9 regulators",
        "data/simulated/cells.h5ad (",
        "sctransformer data check data/simulated/cells.h5ad --gene-column var_names",
        "-S prior.network=data/simulated/cells.edges.tsv -S data.gene_column=var_names -S validate.min_symbol_share=0",
    ):
        assert words in outcome.out


def test_the_suggested_check_passes(call: Call) -> None:
    call("data", "simulate", "--cells", 300, "--genes", 600, "-o", "cells.h5ad")
    outcome = call("data", "check", "cells.h5ad", "--gene-column", "var_names")
    assert outcome.code == 0, outcome.err
    assert "obs['library_size']" in outcome.out
    assert "8 types; 0 cells without" in outcome.out


def test_the_defaults_are_those_of_the_library(call: Call, tmp_path: Path) -> None:
    call("data", "simulate", "-o", "cells.h5ad")
    settings = anndata.read_h5ad(tmp_path / "cells.h5ad").uns[UNS.simulation]
    assert SimulationConfig(**{name: float(value) for name, value in settings.items()}) == SimulationConfig()


def test_other_settings_and_real_symbols_can_be_given(call: Call, tmp_path: Path) -> None:
    (tmp_path / "symbols.txt").write_text("SPI1\nGATA3\n\nCD3E\nLYZ\nCD8A\n")
    outcome = call(
        *("data", "simulate", "--cells", 50, "--gene-symbols", "symbols.txt", "--regulators", 2),
        *("-S", "dispersion=0", "--set", "max_regulators=1", "--compression", "lzf", "-o", "cells.h5ad"),
    )
    assert outcome.code == 0
    assert outcome.out.endswith("-S prior.network=cells.edges.tsv\n")
    cells = anndata.read_h5ad(tmp_path / "cells.h5ad")
    assert cells.var_names.tolist() == ["SPI1", "GATA3", "CD3E", "LYZ", "CD8A"]
    assert (cells.uns[UNS.simulation]["dispersion"], cells.uns[UNS.simulation]["max_regulators"]) == (0, 1)


def test_files_are_overwritten_only_with_force(call: Call, tmp_path: Path) -> None:
    words = ("data", "simulate", "--cells", 50, "--genes", 40, "-o", "cells.h5ad")
    call(*words)
    before = (tmp_path / "cells.h5ad").read_bytes()
    refused = call(*words, "--seed", 1)
    assert refused.code == 1
    assert refused.err == (
        "Error: cells.h5ad and cells.edges.tsv: already exists; choose another name, or overwrite it with --force.\n"
    )
    assert (tmp_path / "cells.h5ad").read_bytes() == before
    assert call(*words, "--seed", 1, "--force").code == 0
    assert anndata.read_h5ad(tmp_path / "cells.h5ad").uns[UNS.simulation]["seed"] == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--genes", 10, "--regulators", 6), "regulators is 6; expected at most 5, half of the 10 genes"),
        (("--cells", 0), "cells is 0; expected at least 1"),
        (("--cells", 10**13), "cells of 1,000 genes need about"),
        (("-S", "dropout=much"), "'much' is not a number; write dropout=NUMBER"),
        (("-S", "family_size=1.5"), "'1.5' is not a whole number"),
        (("-S", "genes=5"), "use --genes"),
        (("-S", "nonsense=5"), "'nonsense' is not a setting for --set; expected one of max_regulators"),
        (("--gene-symbols", "nowhere.txt"), "nowhere.txt: no such file"),
        (("-o", "cells.txt"), "cells.txt: expected a file name that ends in .h5ad"),
    ],
)
def test_invalid_options_give_an_error_of_one_sentence_and_write_nothing(
    call: Call, tmp_path: Path, words: tuple[object, ...], sentence: str
) -> None:
    outcome = call("data", "simulate", "-o", "cells.h5ad", *words)
    assert outcome.code == 1
    assert sentence in outcome.err
    assert outcome.err.startswith("Error: ")
    assert outcome.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_interrupted_simulation_leaves_no_files(tmp_path: Path) -> None:
    command = [*SCTRANSFORMER, "data", "simulate", "--cells", "2000000", "-o", str(tmp_path / "cells.h5ad")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 180
    while not list(tmp_path.glob(".cells.h5ad.*/cells.h5ad")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(tmp_path.iterdir())
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) == 143
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_speed_table_lists_time_per_step_and_its_growth(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipelines.speed.preparation", "--cells", "300", "600", "--genes", "600"]
    found = subprocess.run(
        [*command, "--steps", "data check", "--folder", str(tmp_path)],
        cwd=PROJECT, env={**os.environ, "PYTHONPATH": ""}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = [line.split() for line in found.stdout.splitlines()]
    assert [line[:2] for line in lines[1:5]] == [
        ["300", "simulate"],
        ["300", "data"],
        ["600", "simulate"],
        ["600", "data"],
    ]
    assert "from 300 to 600 cells (2.0 times as many)" in found.stdout
    assert all(float(line[-1]) > 50 for line in lines[1:5])
    assert list(tmp_path.iterdir()) == []
