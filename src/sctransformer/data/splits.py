"""Train, validation and test: stratified, seeded, every class on every side."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from sctransformer._constants import SPLITS
from sctransformer.errors import UserError


def stratified_splits(labels: Sequence[str] | pd.Series, validation: float, test: float, seed: int) -> pd.Categorical:
    """Assign each cell to `train`, `validation` or `test`.

    Within a class the shares are rounded to whole cells, but no side is left without a cell of the class.

    Args:
        labels: cell type of each cell.
        validation, test: shares of each class; the rest is for training.
        seed: which cells.

    Returns:
        Categorical with the categories `train`, `validation`, `test`, one value a cell.

    Raises:
        UserError: a class has fewer than three cells, or the shares leave nothing to train on.
    """
    if validation + test >= 1.0:
        raise UserError(
            f"params.yaml: prepare.validation_fraction ({validation}) and prepare.test_fraction ({test}) leave nothing "
            "to train on; their sum must be under 1."
        )
    rng = np.random.default_rng(seed)
    names_N = np.asarray(labels, dtype=object)
    split_N = np.full(len(names_N), SPLITS[0], dtype=object)
    for name in sorted(set(names_N)):
        members = rng.permutation(np.flatnonzero(names_N == name))
        if len(members) < len(SPLITS):
            raise UserError(
                f"cell type {name!r} has {len(members)} cells; train, validation and test need one each: "
                "merge it with another type or leave it out."
            )
        n_test = min(max(1, round(test * len(members))), len(members) - 2)
        n_validation = min(max(1, round(validation * len(members))), len(members) - n_test - 1)
        split_N[members[:n_test]] = SPLITS[2]
        split_N[members[n_test : n_test + n_validation]] = SPLITS[1]
    return pd.Categorical(split_N, categories=list(SPLITS))
