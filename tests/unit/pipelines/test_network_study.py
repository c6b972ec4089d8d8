"""The study of the network, from its file to the tables, on simulated cells."""

from pathlib import Path

import pandas as pd
import pytest
import yaml

from pipelines.study.network import load_network_study, main, runs_of
from sctransformer.errors import UserError
from sctransformer.files import read_json
from tests.unit.pipelines.study_files import study_content


def write_network_study(folder: Path, factors: tuple[int, ...] = (2,)) -> Path:
    small = study_content(folder)
    labels = "alpha", "beta"
    effects = pd.read_csv(folder / "network.tsv", sep="\t").iloc[::2][["regulator", "target"]]
    effects.to_csv(folder / "effects.tsv", sep="\t", index=False)
    known = pd.DataFrame({"population": labels, "regulator": ["SPI1", "CEBPB"]})
    known.to_csv(folder / "known.tsv", sep="\t", index=False)
    cells = {
        "file": small["dataset"]["cells"],
        "group_column": "cell_type",
        "high_group": labels[0],
        "expected": ["SPI1"],
        "known_regulators": str(folder / "known.tsv"),
        "knock_out": True,
    }
    content = {
        "network": small["network"],
        "cells": {"simulated": cells},
        "knock_out": str(folder / "effects.tsv"),
        "parameters": {"train.pretrain_min_steps": 4, "model.embedding": 8},
        "factors": list(factors),
        "seeds": [0, 1],
        "validation_cells": 40,
    }
    path = folder / "network.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.slow
def test_a_network_study_compares_the_network_with_its_controls_and_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(write_network_study(tmp_path)), "--out", str(tmp_path / "out")]

    main(words)

    printed = capsys.readouterr().out
    assert "auroc SPI1 activity" in printed
    summary = read_json(tmp_path / "out" / "summary.json")
    assert {(row["control"], row["factors"]) for row in summary["r2_differences"]} == {("shuffled", 2), ("factors", 2)}
    assert all(row["cells_low"] <= row["mean"] <= row["cells_high"] for row in summary["r2_differences"])
    page = (tmp_path / "out" / "report.html").read_text()
    assert "real network minus control" in page
    assert page.count("<svg") > 2
    values = pd.read_csv(tmp_path / "out" / "results.csv")
    assert set(values["arm"]) == {"real", "shuffled", "factors", "untrained", "held_out"}
    untrained = values[(values["arm"] == "untrained") & (values["metric"] == "agreement")]["value"]
    assert untrained.to_numpy() == pytest.approx(1.0, abs=1e-4)
    files = {file: file.stat().st_mtime_ns for file in (tmp_path / "out" / "results").iterdir()}

    main([*words, "--only", "real"])

    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "out" / "results").iterdir()} == files


def test_runs_that_do_not_depend_on_the_factors_are_done_once(tmp_path: Path) -> None:
    runs = runs_of(load_network_study(write_network_study(tmp_path, (0, 2))))

    assert len(set(runs)) == len(runs)
    assert {run.factors for run in runs if run.arm in ("untrained", "held_out")} == {0}
    assert {run.factors for run in runs if run.arm == "factors"} == {2}


def test_an_unknown_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--only nothing: neither cells nor arm"):
        main([str(write_network_study(tmp_path)), "--only", "nothing"])
