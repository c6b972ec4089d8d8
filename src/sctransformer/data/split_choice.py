"""Choice of how cells are split, by the parameters and by the columns that the cells have."""

from pathlib import Path

import pandas as pd

from sctransformer._constants import OBS
from sctransformer.data.settings import PrepareSettings
from sctransformer.data.split_table import read_split_table, table_splits
from sctransformer.data.splits import (
    VALIDATION,
    donor_splits,
    hide_labels,
    require_every_type_in_training,
    require_no_leakage,
    stratified_splits,
    validation_from_training,
    without_labels_aside,
)
from sctransformer.errors import UserError

WATCHED = Path("data/splits")
"""Folder of split tables; a dependency of the pipeline, so that it runs again when a table changes."""


def choose_splits(obs: pd.DataFrame, settings: PrepareSettings, seed: int) -> tuple[str, pd.Categorical]:
    """Split the cells.

    Args:
        obs: table of cells under the data contract.
        settings: see `PrepareSettings`.
        seed: random seed.

    Raises:
        UserError: the cells cannot be split in this way, or a donor would be in the test set and in training.
    """
    labels, donors = obs[OBS.cell_type], obs.get(OBS.donor)
    way: str = settings.split
    if way == "auto":
        way = "table" if settings.split_table else "donor" if donors is not None else "stratified"
    chosen = False
    if way == "table":
        if settings.split_table is None:
            raise UserError("params.yaml: prepare.split is 'table', but prepare.split_table names no file.")
        if not settings.split_table.resolve().is_relative_to(WATCHED.resolve()):
            raise UserError(
                f"{settings.split_table}: is outside {WATCHED}; move it there, so that the pipeline notices changes."
            )
        table = read_split_table(settings.split_table)
        split, chosen = table_splits(table, obs.index, settings.label_fraction, seed, str(settings.split_table))
        split = without_labels_aside(split, labels)
    elif way == "donor":
        if donors is None:
            raise UserError(
                "params.yaml: prepare.split is 'donor', but the cells have no donors; set data.donor_column."
            )
        try:
            split = donor_splits(labels, donors, settings.validation_fraction, settings.test_fraction, seed)
        except UserError:
            if not settings.shared_donors:
                raise
            way = "stratified"
    if way == "stratified":
        split = stratified_splits(labels, settings.validation_fraction, settings.test_fraction, seed)
    if not chosen:
        split = hide_labels(split, labels, settings.label_fraction, seed)
    if not (split == VALIDATION).any():
        split = validation_from_training(split, labels, settings.validation_fraction, seed)
    if donors is not None and not settings.shared_donors:
        require_no_leakage(split, donors)
    require_every_type_in_training(split, labels)
    return way, split


def split_problem(obs: pd.DataFrame, settings: PrepareSettings, seed: int) -> str | None:
    """Why the donors of cells allow no split with these settings, and what to do, as a sentence; None if they do.

    Args:
        obs: table of cells under the data contract.
        settings: see `PrepareSettings`; a split by a table is not checked, because a table belongs to other cells.
        seed: random seed.
    """
    if OBS.donor not in obs or settings.split == "table" or settings.split_table is not None:
        return None
    try:
        choose_splits(obs, settings, seed)
    except UserError as error:
        return str(error)
    return None
