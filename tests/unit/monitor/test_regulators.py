"""Regulators of a batch compared with the training cells, by label."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from sctransformer.evaluation.profile import Profile
from sctransformer.monitor.drift import judge as judge_batch
from sctransformer.monitor.regulators import (
    RegulatorShift,
    discoveries,
    regulator_shifts,
    sentence,
    why_not_compared,
)
from sctransformer.monitor.settings import Limits
from tests.conftest import LABELS, arrays, simulated_cells
from tests.unit.monitor.test_drift import batch, reference, vocabulary

NAMES = ["STAT1", "STAT2", "IRF9", "SPI1", "WEAK"]


def table(donors: float | None = None) -> pd.DataFrame:
    """Five regulators, of which one does not beat its shuffles; activities have the mean 2 and deviation 0.5."""
    columns = {"regulator": NAMES, "mean": 0.0, "std": 1.0, "evidence": [1.0, 0.97, 0.95, 1.0, 0.9]}
    for name in LABELS:
        columns |= {f"mean:{name}": 2.0, f"std:{name}": 0.5}
        if donors is not None:
            columns[f"donors:{name}"] = donors
    return pd.DataFrame(columns)


def profile(shift: dict[str, list[float]], n_cells: int = 300) -> Profile:
    """A batch like the training cells, with activities shifted by these numbers of standard deviations."""
    found = Profile.from_json(batch(arrays(simulated_cells(n_cells, seed=4))))
    activity = {name: 2.0 + 0.5 * np.array(shift.get(name, [0.0] * 5)) for name in LABELS}
    return replace(found, activity_by_label=activity)


def shifts(shift: dict[str, list[float]], donors: float | None = None, n_cells: int = 300) -> list[RegulatorShift]:
    return regulator_shifts(table(donors), reference()["profile"], profile(shift, n_cells), 1.0).listed()


def test_regulators_that_shift_are_named_by_label() -> None:
    found = shifts({"beta": [2.0, 3.0, 2.5, 0.3, 9.0], "gamma": [0.0, 0.0, 0.0, -2.0, 0.0]})
    assert [(one.label, one.regulator, one.shift) for one in found] == [
        ("beta", "STAT2", 3.0),
        ("beta", "IRF9", 2.5),
        ("beta", "STAT1", 2.0),
        ("gamma", "SPI1", -2.0),
    ]
    assert sentence(found) == "STAT2, IRF9, STAT1 up in beta (stimulation?); SPI1 down in gamma"


def test_one_regulator_is_no_stimulation_and_more_labels_are_counted() -> None:
    found = [RegulatorShift(label, "STAT1", 2.0, 1.0) for label in ("a", "b", "c", "d")]
    assert sentence(found) == "STAT1 up in a; STAT1 up in b; more in 2 other labels"
    many = [RegulatorShift("a", f"R{number}", 2.0, 1.0) for number in range(7)]
    assert sentence(many) == "R0, R1, R2, R3, R4 and 2 more up in a (stimulation?)"


def test_a_small_shift_is_none_however_many_cells_there_are() -> None:
    assert shifts({"beta": [0.9, 0.9, 0.0, 0.0, 0.0]}, n_cells=9000) == []


def test_what_donors_differ_by_is_no_shift() -> None:
    assert shifts({"beta": [2.0, 0.0, 0.0, 0.0, 0.0]}, donors=0.1)
    assert shifts({"beta": [2.0, 0.0, 0.0, 0.0, 0.0]}, donors=0.4) == []
    assert shifts({"beta": [2.0, 0.0, 0.0, 0.0, 0.0]}, donors=np.nan)


def test_few_cells_need_a_larger_shift() -> None:
    assert shifts({"beta": [1.2, 0.0, 0.0, 0.0, 0.0]}, n_cells=9000)
    assert shifts({"beta": [1.2, 0.0, 0.0, 0.0, 0.0]}, n_cells=90) == []


def test_a_regulator_without_a_measured_activity_is_not_compared() -> None:
    assert shifts({"beta": [np.nan, 3.0, 0.0, 0.0, 0.0]})[0].regulator == "STAT2"


def test_discoveries_of_a_known_example() -> None:
    """The 15 p-values of Benjamini and Hochberg 1995, section 3.2, of which four are discoveries at 5 %."""
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528]
    p += [0.7590, 1.0]
    assert discoveries(np.array([*p, np.nan]), 0.05).tolist() == [True] * 4 + [False] * 12
    assert not discoveries(np.array([0.9, np.nan]), 0.05).any()


def test_noise_gives_false_discoveries_at_most_at_the_rate() -> None:
    rng = np.random.default_rng(0)
    assert np.mean([discoveries(rng.uniform(size=(8, 100)), 0.05).any() for _ in range(500)]) < 0.08


@pytest.mark.parametrize(
    ("regulators", "found", "why"),
    [
        (None, profile({}), "has no activities"),
        (table().filter(regex="^(?!std:)"), profile({}), "no spread of activities within labels"),
        (table().drop(columns="evidence"), profile({}), "no evidence"),
        (table(), replace(profile({}), activity_by_label={}), "no label has enough cells"),
        (table(), profile({}), ""),
    ],
)
def test_what_cannot_be_compared_says_why(regulators: pd.DataFrame | None, found: Profile, why: str) -> None:
    note = why_not_compared(regulators, found)
    assert why in note
    assert bool(note) == bool(why)
    verdict = judge_batch(reference(), vocabulary(), found.to_json(), Limits(), regulators)
    assert verdict.regulators_note == note
    assert ("regulators" in verdict.values) == (not why)
    assert not verdict.drifted


def test_shifted_regulators_are_drift_and_in_the_sentence() -> None:
    content = profile({"beta": [2.0, 3.0, 2.5, 0.0, 0.0]}).to_json()
    verdict = judge_batch(reference(), vocabulary(), content, Limits(), table())
    assert verdict.exceeded == ["regulators"]
    expected = "drifted: regulators 3 (limit 0); regulators: STAT2, IRF9, STAT1 up in beta (stimulation?)"
    assert verdict.sentence() == expected
    allowed = judge_batch(reference(), vocabulary(), content, Limits(regulators=3), table())
    assert not allowed.drifted
    assert len(allowed.regulators) == 3
