"""Splits: each class is in each set, no cell or donor is in two sets, and split tables are used as given."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sctransformer._constants import OBS
from sctransformer.data import split_choice
from sctransformer.data.cells import CellFile
from sctransformer.data.settings import PrepareSettings
from sctransformer.data.split_choice import choose_splits, split_problem
from sctransformer.data.split_table import read_split_table, table_splits
from sctransformer.data.splits import (
    donor_splits,
    hide_labels,
    require_no_leakage,
    stratified_splits,
    validation_from_training,
)
from sctransformer.errors import UserError
from tests.conftest import reference_folder


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(3, 40), min_size=2, max_size=6),
    validation=st.floats(0.05, 0.4),
    test=st.floats(0.05, 0.5),
    seed=st.integers(0, 99),
)
def test_every_class_is_in_every_set(sizes: list[int], validation: float, test: float, seed: int) -> None:
    labels = pd.Series([f"type{index}" for index, size in enumerate(sizes) for _ in range(size)])
    split = stratified_splits(labels, validation, test, seed)
    table = pd.crosstab(labels, np.asarray(split))
    assert (table[["train", "validation", "test"]] >= 1).all().all()
    assert list(split) == list(stratified_splits(labels, validation, test, seed))
    for index, size in enumerate(sizes):
        if size >= 20:
            assert table.loc[f"type{index}", "test"] == pytest.approx(test * size, abs=1)


def test_the_error_names_a_class_that_is_too_small_to_split() -> None:
    with pytest.raises(UserError, match="cell type 'rare' has 2 cells"):
        stratified_splits(["common"] * 9 + ["rare"] * 2, 0.2, 0.2, 0)


def test_fractions_that_leave_no_training_cells_are_refused() -> None:
    with pytest.raises(UserError, match="leave nothing to train on"):
        stratified_splits(["a"] * 9, 0.5, 0.5, 0)


def labels_and_donors(n_cells: int = 240, n_donors: int = 6) -> tuple[pd.Series, pd.Series]:
    names = [f"cell{index}" for index in range(n_cells)]
    labels = pd.Series([f"type{index % 3}" for index in range(n_cells)], index=names)
    donors = pd.Series([f"donor{index // 3 % n_donors}" for index in range(n_cells)], index=names)
    return labels, donors


@settings(max_examples=40, deadline=None)
@given(n_donors=st.integers(3, 9), validation=st.floats(0.05, 0.4), test=st.floats(0.05, 0.5), seed=st.integers(0, 99))
def test_each_donor_is_in_one_set_only(n_donors: int, validation: float, test: float, seed: int) -> None:
    labels, donors = labels_and_donors(n_donors=n_donors)
    split = donor_splits(labels, donors, validation, test, seed)
    assert (pd.crosstab(donors, np.asarray(split)) > 0).sum(axis=1).eq(1).all()
    assert set(split) == {"train", "validation", "test"}
    assert set(labels[split == "train"]) == set(labels)
    require_no_leakage(split, donors)


def test_a_type_of_a_single_donor_is_in_the_training_set() -> None:
    labels, donors = labels_and_donors()
    labels[donors == "donor2"] = "rare"
    for seed in range(8):
        assert (labels[donor_splits(labels, donors, 0.2, 0.2, seed) == "train"] == "rare").any()


def test_the_error_names_types_that_no_choice_of_donors_keeps_in_training() -> None:
    labels, donors = labels_and_donors(n_donors=3)
    labels[:] = donors.str.replace("donor", "only in ").to_numpy()
    with pytest.raises(UserError, match=r"'only in \d' occurs in 1 of 3 donors"):
        donor_splits(labels, donors, 0.2, 0.2, 0)


def test_too_few_donors_and_cells_without_a_donor_are_refused() -> None:
    labels, donors = labels_and_donors(n_donors=2)
    with pytest.raises(UserError, match="there are 2 donors"):
        donor_splits(labels, donors, 0.2, 0.2, 0)
    donors.iloc[5] = None
    with pytest.raises(UserError, match="cell 'cell5' has no donor"):
        donor_splits(labels, donors, 0.2, 0.2, 0)


def test_a_donor_in_training_and_test_is_refused() -> None:
    labels, donors = labels_and_donors()
    split = stratified_splits(labels, 0.2, 0.2, 0)
    with pytest.raises(UserError, match="donor 'donor0' and 5 more would have cells in test and in training"):
        require_no_leakage(split, donors)


def test_cells_without_a_label_are_never_scored() -> None:
    labels, donors = labels_and_donors()
    labels[donors == "donor1"] = None
    for split in (stratified_splits(labels, 0.2, 0.2, 1), donor_splits(labels, donors, 0.2, 0.2, 1)):
        sides = pd.Series(split, index=labels.index)[labels.isna()]
        assert not sides.isin(["train", "validation", "test"]).any()
    for seed in range(6):  # cells of test donors are not used for training, even without labels
        split = donor_splits(labels, donors, 0.2, 0.2, seed)
        require_no_leakage(split, donors)


@settings(max_examples=40, deadline=None)
@given(fraction=st.floats(0.001, 1.0), seed=st.integers(0, 99))
def test_a_fraction_of_labels_keeps_at_least_two_per_type(fraction: float, seed: int) -> None:
    labels, _ = labels_and_donors()
    before = stratified_splits(labels, 0.2, 0.2, 0)
    after = hide_labels(before, labels, fraction, seed)
    assert (np.asarray(after)[np.asarray(before) != "train"] == np.asarray(before)[np.asarray(before) != "train"]).all()
    kept = labels[after == "train"].value_counts()
    expected = max(2, round(fraction * 48))
    assert kept.to_dict() == dict.fromkeys(["type0", "type1", "type2"], expected)


def test_validation_leaves_a_training_cell_of_each_type() -> None:
    split = pd.Categorical(["train"] * 5 + ["test"] * 3)
    labels = ["a", "a", "b", "b", "c", "a", "b", "c"]
    sides = np.asarray(validation_from_training(split, labels, 0.5, 0))
    assert {label for label, side in zip(labels, sides, strict=True) if side == "train"} == {"a", "b", "c"}
    assert {label for label, side in zip(labels, sides, strict=True) if side == "validation"} == {"a", "b"}
    with pytest.raises(UserError, match="no cell type has two labelled training cells"):
        validation_from_training(pd.Categorical(["train", "train", "test"]), ["a", "b", "a"], 0.5, 0)


CELLS = pd.Index(["c0", "c1", "c2", "c3"])


def table_file(folder: Path, content: str, name: str = "splits.tsv") -> Path:
    path = folder / name
    path.write_text(content)
    return path


@pytest.mark.parametrize(("name", "separator"), [("s.tsv", "\t"), ("s.csv", ",")])
def test_a_table_with_a_split_column_is_used_as_given(tmp_path: Path, name: str, separator: str) -> None:
    rows = [("c3", "test"), ("c0", "train"), ("c1", "validation"), ("other", "train"), ("c2", "unlabelled")]
    content = "\n".join(separator.join(row) for row in [("cell", "split"), *rows])
    split, chosen = table_splits(read_split_table(table_file(tmp_path, content, name)), CELLS, 1.0, 0, name)
    assert (list(split), chosen) == (["train", "validation", "unlabelled", "test"], True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("cell\tsplit\nc0\ttrain\nc0\ttest\n", "cell 'c0' occurs more than once"),
        ("cell\tsplit\nc0\ttrain\nc1\ttrain\nc2\ttest\n", r"1 of 4 cells are missing, the first is 'c3'"),
        ("cell\tsplit\nc0\tTRAIN\nc1\ttrain\nc2\ttest\nc3\ttest\n", "cell 'c0' has the split 'TRAIN'"),
        ("cell\tside\nc0\t1\nc1\t1\nc2\t1\nc3\t1\n", r"neither a column 'split' nor 'test' nor 'test_s0'"),
        ("cell\ttest\nc0\tyes\nc1\tyes\nc2\tno\nc3\tno\n", "column 'test' has 'yes'; expected true or false"),
        (
            "cell\ttest\tlabelled_100_s0\nc0\tTrue\tTrue\nc1\tFalse\tTrue\nc2\tFalse\tTrue\nc3\tTrue\tFalse\n",
            r"cell 'c0' is a test cell and labelled for training \(labelled_100_s0\)",
        ),
        ("", "is not a readable table"),
    ],
)
def test_an_invalid_table_is_refused(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        table_splits(read_split_table(table_file(tmp_path, content)), CELLS, 1.0, 0, "splits.tsv")


def test_the_error_for_a_missing_fraction_of_labels_lists_the_columns(tmp_path: Path) -> None:
    path = table_file(tmp_path, "cell\ttest\tlabelled_25_s0\nc0\t1\t0\nc1\t0\t1\nc2\t0\t1\nc3\t0\t0\n")
    table = read_split_table(path)
    split, chosen = table_splits(table, CELLS, 0.25, 0, "t")
    assert (list(split), chosen) == (["test", "train", "train", "unlabelled"], True)
    with pytest.raises(UserError, match=r"has no column 'labelled_10_s0' \(columns: test, labelled_25_s0\)"):
        table_splits(table, CELLS, 0.1, 0, "t")


def test_a_broken_parquet_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a readable table"):
        read_split_table(table_file(tmp_path, "PAR1 and nothing else", "splits.parquet"))
    with pytest.raises(UserError, match="no such file"):
        read_split_table(tmp_path / "none.parquet")


def test_a_type_in_the_test_set_must_have_training_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split_choice, "WATCHED", tmp_path)
    path = table_file(tmp_path, "cell\ttest\nc0\t1\nc1\t1\nc2\t0\nc3\t0\n")
    obs = pd.DataFrame({OBS.cell_type: pd.Categorical(["rare", "a", "a", "a"])}, index=CELLS)
    with pytest.raises(
        UserError, match="cell type 'rare' has 1 cells for validation and test, but no labelled training"
    ):
        choose_splits(obs, PrepareSettings(split_table=path), 0)


def test_cells_with_donors_are_split_by_donor_by_default() -> None:
    labels, donors = labels_and_donors()
    obs = pd.DataFrame({OBS.cell_type: labels.astype("category"), OBS.donor: donors})
    assert choose_splits(obs, PrepareSettings(), 0)[0] == "donor"
    assert choose_splits(obs.drop(columns=OBS.donor), PrepareSettings(), 0)[0] == "stratified"
    with pytest.raises(UserError, match="would have cells in test and in training"):
        choose_splits(obs, PrepareSettings(split="stratified"), 0)
    assert choose_splits(obs, PrepareSettings(split="stratified", shared_donors=True), 0)[0] == "stratified"
    with pytest.raises(UserError, match="the cells have no donors"):
        choose_splits(obs.drop(columns=OBS.donor), PrepareSettings(split="donor"), 0)


def test_a_split_table_must_be_in_the_folder_that_the_pipeline_tracks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = table_file(tmp_path, "cell\ttest\nc0\t1\nc1\t0\nc2\t0\nc3\t0\n")
    obs = pd.DataFrame({OBS.cell_type: pd.Categorical(["a", "a", "a", "a"])}, index=CELLS)
    with pytest.raises(UserError, match="is outside data/splits"):
        choose_splits(obs, PrepareSettings(split_table=path), 0)
    monkeypatch.setattr(split_choice, "WATCHED", tmp_path)
    way, split = choose_splits(obs, PrepareSettings(split_table=path), 0)
    assert way == "table"
    assert sorted(split) == ["test", "train", "train", "validation"]


@pytest.mark.parametrize("percent", [1, 10, 25, 100])
@pytest.mark.parametrize("seed", [0, 3])
@pytest.mark.parametrize(
    ("cells", "table"), [("muscat_kang_se", "kang_se"), ("mudan_sorted_pbmc", "mudan")], ids=["kang", "mudan"]
)
def test_published_splits_are_reproduced(
    cells: str, table: str, seed: int, percent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = reference_folder()
    given_table = pd.read_parquet(folder / "splits" / f"{table}.parquet")
    with CellFile(folder / "h5ad" / f"{cells}.h5ad") as file:
        obs = file.obs.rename(columns={"donor": OBS.donor})
    monkeypatch.setattr(split_choice, "WATCHED", folder)
    settings = PrepareSettings(split_table=folder / "splits" / f"{table}.parquet", label_fraction=percent / 100)
    way, split = choose_splits(obs, settings, seed)
    assert way == "table"
    given_table = given_table.loc[obs.index]
    test = given_table["test" if "test" in given_table else f"test_s{seed}"].to_numpy()
    labelled = given_table[f"labelled_{percent}_s{seed}"].to_numpy()
    assert np.array_equal(np.asarray(split == "test"), test)
    assert np.array_equal(np.isin(np.asarray(split), ["train", "validation"]), labelled)


def test_two_donors_are_split_within_types_once_that_is_asked_for() -> None:
    obs = pd.DataFrame({OBS.cell_type: ["a", "b"] * 20, OBS.donor: ["d1"] * 20 + ["d2"] * 20}).astype("category")
    with pytest.raises(UserError, match=r"there are 2 donors; .*`train -S prepare\.shared_donors=true`") as caught:
        choose_splits(obs, PrepareSettings(), 0)
    assert split_problem(obs, PrepareSettings(), 0) == str(caught.value)
    for split in ("auto", "donor"):
        settings = PrepareSettings(split=split, shared_donors=True)
        assert choose_splits(obs, settings, 0)[0] == "stratified"
        assert split_problem(obs, settings, 0) is None


def test_cells_without_donors_or_with_a_table_have_no_problem_with_donors() -> None:
    obs = pd.DataFrame({OBS.cell_type: ["a", "b"] * 20, OBS.donor: ["d1"] * 40}).astype("category")
    assert split_problem(obs.drop(columns=OBS.donor), PrepareSettings(), 0) is None
    assert split_problem(obs, PrepareSettings(split_table="x.csv"), 0) is None
    assert "there is 1 donor;" in str(split_problem(obs, PrepareSettings(), 0))
