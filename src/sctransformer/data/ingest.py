"""From a user's AnnData to the data contract, and the cells that are kept back."""

import numpy as np
import pandas as pd
from anndata import AnnData

from sctransformer._constants import OBS
from sctransformer.errors import UserError


def to_contract(
    cells: AnnData,
    source: str,
    label_column: str = OBS.cell_type,
    library_size_column: str | None = OBS.library_size,
) -> AnnData:
    """Give cells the columns that every later stage relies on.

    Args:
        cells: raw counts as CSR in X, unique names.
        source: what to call the file in errors.
        label_column: column of obs with the cell type.
        library_size_column: column of obs with the whole cell's counts; None takes the row sums of X.

    Returns:
        A new AnnData: the same X, `obs["library_size"]` (float64), `obs["cell_type"]` (categorical), and
        `obs["cell_type_ontology_term_id"]` where the file has it (the name is CELLxGENE's); no other field.

    Raises:
        UserError: a column is missing, or library sizes are not positive numbers at least as large as the row sums.
    """
    _require_column(cells.obs, label_column, source, "data.label_column")
    row_sums_N = np.asarray(cells.X.sum(axis=1)).ravel().astype(np.float64)
    if library_size_column is None:
        library_size_N = row_sums_N
    else:
        _require_column(cells.obs, library_size_column, source, "data.library_size_column")
        library_size_N = checked_library_size(cells.obs[library_size_column], row_sums_N, source)
    labels = cells.obs[label_column].astype("string").str.strip().replace("", pd.NA)
    obs = pd.DataFrame(
        {OBS.library_size: library_size_N, OBS.cell_type: labels.astype("category")}, index=cells.obs_names.astype(str)
    )
    if OBS.ontology_term in cells.obs:
        obs[OBS.ontology_term] = cells.obs[OBS.ontology_term].astype("category")
    return AnnData(cells.X, obs=obs, var=pd.DataFrame(index=cells.var_names.astype(str)))


def checked_library_size(column: pd.Series, row_sums_N: np.ndarray, source: str) -> np.ndarray:
    """Library sizes as float64, cells.

    Raises:
        UserError: a value is no positive number, or is smaller than the counts of the cell that are there.
    """
    values_N = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    for bad_N, found in (
        (~(np.isfinite(values_N) & (values_N > 0)), "not a positive number"),
        (values_N < row_sums_N - 0.5, "smaller than the sum of the cell's counts in X"),
    ):
        if bad_N.any():
            first = int(np.argmax(bad_N))
            raise UserError(
                f"{source}: obs[{column.name!r}] of cell {column.index[first]!r} is {column.iloc[first]}, {found}; "
                "expected the counts of the whole cell."
            )
    return values_N


def keep_back(cells: AnnData, fraction: float, seed: int) -> tuple[AnnData, AnnData]:
    """Keep a stratified share of the cells back, without their labels.

    Args:
        cells: under the data contract.
        fraction: share of each cell type to keep back; a type always keeps at least one cell on this side.
        seed: which cells.

    Returns:
        The cells that stay, and the new cells, whose obs holds the library size alone. Both in file order.
    """
    rng = np.random.default_rng(seed)
    away_N = np.zeros(cells.n_obs, dtype=bool)
    codes_N = cells.obs[OBS.cell_type].cat.codes.to_numpy()
    for code in range(len(cells.obs[OBS.cell_type].cat.categories)):
        members = rng.permutation(np.flatnonzero(codes_N == code))
        away_N[members[: min(round(fraction * len(members)), len(members) - 1)]] = True
    new_cells = cells[away_N].copy()
    new_cells.obs = new_cells.obs[[OBS.library_size]]
    return cells[~away_N].copy(), new_cells


def _require_column(obs: pd.DataFrame, column: str, source: str, parameter: str) -> None:
    if column not in obs:
        there = ", ".join(map(str, obs.columns)) or "none"
        raise UserError(f"{source}: obs has no column {column!r} (columns: {there}); set {parameter} in params.yaml.")
