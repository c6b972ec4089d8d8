"""Splits into train, validation and test cells: within each cell type or by donor, without overlap."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sctransformer._constants import SPLITS, UNLABELLED
from sctransformer.errors import UserError

TRAIN, VALIDATION, TEST = SPLITS
ALL_SPLITS = [*SPLITS, UNLABELLED]
TRAINED_ON = (TRAIN, VALIDATION, UNLABELLED)
_WITHIN_TYPES = (
    "set prepare.shared_donors to true (`train -S prepare.shared_donors=true`) to split within each cell type; test "
    "scores then do not hold for new donors"
)
LEAST_LABELLED = 2
"""Smallest number of cells per type that keep their label."""


def stratified_splits(labels: Sequence[str] | pd.Series, validation: float, test: float, seed: int) -> pd.Categorical:
    """Assign each cell to `train`, `validation` or `test`; cells without a label become `unlabelled`.

    Within a class fractions are rounded to whole cells, but each split has at least one cell of the class.

    Args:
        labels: cell type of each cell.
        validation, test: fractions of each class; the rest is for training.
        seed: random seed.

    Returns:
        Categorical with the categories `train`, `validation`, `test`, `unlabelled`, one value per cell.

    Raises:
        UserError: a class has fewer than three cells, or the fractions leave no training cells.
    """
    _require_rest(validation, test)
    rng = np.random.default_rng(seed)
    names_N = _names(labels)
    split_N = np.full(len(names_N), TRAIN, dtype=object)
    split_N[pd.isna(names_N)] = UNLABELLED
    for name in _types(names_N):
        members = rng.permutation(np.flatnonzero(names_N == name))
        if len(members) < len(SPLITS):
            raise UserError(
                f"cell type {name!r} has {len(members)} cells; train, validation and test need one each: "
                "merge it with another type or leave it out."
            )
        n_test = min(max(1, round(test * len(members))), len(members) - 2)
        n_validation = min(max(1, round(validation * len(members))), len(members) - n_test - 1)
        split_N[members[:n_test]] = TEST
        split_N[members[n_test : n_test + n_validation]] = VALIDATION
    return as_splits(split_N)


def donor_splits(
    labels: Sequence[str] | pd.Series, donors: pd.Series, validation: float, test: float, seed: int
) -> pd.Categorical:
    """Split by donor: all cells of a donor are in one split. For cells without a label see `without_labels_aside`.

    Donors are drawn at random until the test set, and then the validation set, has at least its fraction of the cells;
    each split has at least one donor. Orders of the donors are tried until every cell type has training cells.

    Args:
        labels: cell type of each cell.
        donors: donor of each cell.
        validation, test: smallest fractions of the cells.
        seed: random seed.

    Raises:
        UserError: a cell has no donor, there are fewer than three donors, or a cell type occurs in too few of them.
    """
    _require_rest(validation, test)
    if donors.isna().any():
        cell = donors.index[int(donors.isna().to_numpy().argmax())]
        raise UserError(f"cell {cell!r} has no donor; a split by donor needs a donor for each cell.")
    donor_N, found = pd.factorize(donors)
    name_of = [str(name) for name in found]
    names = sorted(name_of)
    if len(names) < len(SPLITS):
        raise UserError(
            f"there {'is 1 donor' if len(names) == 1 else f'are {len(names)} donors'}; train, validation and test need "
            f"one each: {_WITHIN_TYPES}."
        )
    names_N = _names(labels)
    cells_of = dict(zip(name_of, np.bincount(donor_N).tolist(), strict=True))
    for attempt in range(100):
        order = [names[index] for index in np.random.default_rng((seed, attempt)).permutation(len(names))]
        held = _take(order[: len(order) - 2], cells_of, test * len(donor_N))
        checked = _take(order[len(held) : len(order) - 1], cells_of, validation * len(donor_N))
        split_of = {**dict.fromkeys(names, TRAIN), **dict.fromkeys(held, TEST), **dict.fromkeys(checked, VALIDATION)}
        split_N = np.array([split_of[name] for name in name_of], dtype=object)[donor_N]
        if set(_types(names_N[split_N == TRAIN])) == set(_types(names_N)):
            return without_labels_aside(as_splits(split_N), labels)
    donors_of = {name: len(set(donor_N[names_N == name])) for name in _types(names_N)}
    rare = min(donors_of, key=lambda name: donors_of[name])
    raise UserError(
        f"no choice of test and validation donors leaves every cell type some training cells; {rare!r} occurs in "
        f"{donors_of[rare]} of {len(names)} donors: merge it with another type, or {_WITHIN_TYPES}."
    )


def without_labels_aside(split: pd.Categorical, labels: Sequence[str] | pd.Series) -> pd.Categorical:
    """Handle cells without a label: training cells become `unlabelled`, others get no split and are left out."""
    split_N = np.asarray(split, dtype=object)
    without_N = pd.isna(_names(labels))
    trained_on_N = np.isin(split_N, [TRAIN, UNLABELLED])
    split_N[without_N & trained_on_N] = UNLABELLED
    split_N[without_N & ~trained_on_N] = None
    return as_splits(split_N)


def hide_labels(split: pd.Categorical, labels: Sequence[str] | pd.Series, fraction: float, seed: int) -> pd.Categorical:
    """Keep the labels of a fraction of each type's training cells, at least two; the others become `unlabelled`.

    Args:
        split: split of each cell.
        labels: cell type of each cell.
        fraction: fraction that keeps its label; 1 keeps all.
        seed: random seed.
    """
    rng = np.random.default_rng(seed)
    split_N, names_N = np.asarray(split, dtype=object), _names(labels)
    if fraction < 1.0:
        for name in _types(names_N):
            members = rng.permutation(np.flatnonzero((names_N == name) & (split_N == TRAIN)))
            split_N[members[max(LEAST_LABELLED, round(fraction * len(members))) :]] = UNLABELLED
    return as_splits(split_N)


def validation_from_training(
    split: pd.Categorical, labels: Sequence[str] | pd.Series, share: float, seed: int
) -> pd.Categorical:
    """Move a fraction of each type's labelled training cells to validation; a type with one cell keeps it in training.

    Raises:
        UserError: no type has two labelled training cells.
    """
    rng = np.random.default_rng(seed)
    split_N, names_N = np.asarray(split, dtype=object), _names(labels)
    for name in _types(names_N):
        members = rng.permutation(np.flatnonzero((names_N == name) & (split_N == TRAIN)))
        if len(members) > 1:
            split_N[members[: min(max(1, round(share * len(members))), len(members) - 1)]] = VALIDATION
    if not (split_N == VALIDATION).any():
        raise UserError("no cell type has two labelled training cells; validation and training need one each.")
    return as_splits(split_N)


def require_no_leakage(split: pd.Categorical, donors: pd.Series) -> None:
    """Check that no donor of test cells is in training or validation.

    Raises:
        UserError: there is such a donor.
    """
    split_N = np.asarray(split, dtype=object)
    masks = (split_N == TEST, np.isin(split_N, TRAINED_ON))
    held, seen = ({str(name) for name in donors.array[mask_N].dropna().unique()} for mask_N in masks)
    shared = sorted(held & seen)
    if shared:
        raise UserError(
            f"donor {shared[0]!r}{f' and {len(shared) - 1} more' if len(shared) > 1 else ''} would have cells "
            "in test and in training or validation; split by donor (prepare.split: donor), or set "
            "prepare.shared_donors to true if this is intended."
        )


def require_every_type_in_training(split: pd.Categorical, labels: pd.Series) -> None:
    """Check that each cell type has labelled training cells.

    Raises:
        UserError: a cell type has none.
    """
    split_N, names_N = np.asarray(split, dtype=object), _names(labels)
    learned = set(_types(names_N[split_N == TRAIN]))
    for name in _types(names_N[np.isin(split_N, ALL_SPLITS)]):
        if name not in learned:
            held = int(((names_N == name) & np.isin(split_N, [VALIDATION, TEST])).sum())
            hidden = int(((names_N == name) & (split_N == UNLABELLED)).sum())
            has = f"{held} cells for validation and test" if held else f"{hidden} cells whose label is not used"
            raise UserError(
                f"cell type {name!r} has {has}, but no labelled training cell; label some, leave the type out, or "
                "choose another split or a larger prepare.label_fraction."
            )


def as_splits(split_N: NDArray[np.object_]) -> pd.Categorical:
    """Splits as a categorical with all splits as categories; other values become missing."""
    code_N = np.full(len(split_N), -1, dtype=np.int8)
    for code, name in enumerate(ALL_SPLITS):
        code_N[split_N == name] = code
    categories: pd.Index = pd.Index(ALL_SPLITS)
    return pd.Categorical.from_codes(code_N, categories)


def _require_rest(validation: float, test: float) -> None:
    if validation + test >= 1.0:
        raise UserError(
            f"params.yaml: prepare.validation_fraction ({validation}) and prepare.test_fraction ({test}) leave nothing "
            "to train on; their sum must be under 1."
        )


def _names(labels: Sequence[str] | pd.Series) -> NDArray[np.object_]:
    """Labels as an array. `np.asarray` of a series would hash the names of all cells."""
    return labels.to_numpy(dtype=object) if isinstance(labels, pd.Series) else np.asarray(labels, dtype=object)


def _types(names_N: NDArray[np.object_]) -> list[str]:
    return sorted({name for name in names_N if not pd.isna(name)})


def _take(order: Sequence[str], cells_of: dict[str, int], wanted: float) -> list[str]:
    taken: list[str] = []
    while not taken or (sum(cells_of[name] for name in taken) < wanted and len(taken) < len(order)):
        taken.append(order[len(taken)])
    return taken
