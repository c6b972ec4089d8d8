"""From a user's file to the data contract: gene symbols, checked columns of obs, and the cells that are kept back."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sctransformer._constants import CELLXGENE_FIELDS, OBS
from sctransformer.data.cells import CellFile, require_unique_names
from sctransformer.data.genes import GeneIdentity
from sctransformer.data.h5ad_writer import open_h5ad_writer
from sctransformer.data.library_size import choose_library_sizes
from sctransformer.data.settings import CellColumns
from sctransformer.errors import UserError

MISSING = frozenset({"", "nan", "NaN", "NA", "N/A", "<NA>", "None", "null", "NULL"})
"""Labels and donors that are none: what a missing value becomes when a table is turned into text."""


def ingest(
    file: CellFile,
    identity: GeneIdentity,
    columns: CellColumns,
    kept: Path,
    new: Path,
    new_fraction: float,
    seed: int,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[int, int]:
    """Write a file under the data contract: the cells that stay, and the new cells, which are kept back unlabelled.

    Both hold raw counts by gene symbol as CSR in X and `obs["library_size"]` (float64). The cells that stay also have
    `obs["cell_type"]` (categorical), `obs["donor_id"]` (categorical, where there are donors) and the columns that
    CELLxGENE's schema defines, where present. Cells are in the order of the file; memory does not grow with them.

    Args:
        file: opened.
        identity: which gene each of its columns counts.
        columns: names in its obs.
        kept, new: the files to write; on an error neither is changed.
        new_fraction: share of each cell type that is kept back.
        seed: which cells.

    Returns:
        Number of cells that stay, and of new cells.

    Raises:
        UserError: a column is missing, or library sizes are not positive numbers at least as large as the row sums.
    """
    require_unique_names(file)
    source = str(file.path)
    obs = contract_columns(file.obs, columns, source)
    library_sizes = choose_library_sizes(file.obs, columns.library_size_column, source)
    away_N = choose_held_out(obs[OBS.cell_type], new_fraction, seed)
    genes = identity.genes.tolist()
    with ExitStack() as stack:
        sides = [(~away_N, stack.enter_context(open_h5ad_writer(kept, genes)))]
        sides.append((away_N, stack.enter_context(open_h5ad_writer(new, genes))))
        library_size_N = np.zeros(len(obs))
        for start, chunk in file.chunks():
            part = slice(start, start + chunk.shape[0])
            library_size_N[part] = library_sizes.of_chunk(start, chunk)
            counts_NG = identity.gather(chunk)
            for chosen_N, side in sides:
                if chosen_N[part].any():
                    side.append(counts_NG[chosen_N[part]])
            on_progress(start + chunk.shape[0], len(obs))
        obs.insert(0, OBS.library_size, library_size_N)
        sides[0][1].finish(obs[~away_N])
        sides[1][1].finish(obs.loc[away_N, [OBS.library_size]])
    return int((~away_N).sum()), int(away_N.sum())


def contract_columns(obs: pd.DataFrame, columns: CellColumns, source: str) -> pd.DataFrame:
    """The columns that every later stage relies on, apart from the library size.

    Raises:
        UserError: a column that was named is missing.
    """
    _require_column(obs, columns.label_column, source, "data.label_column")
    taken = {OBS.cell_type: columns.label_column}
    donor = columns.donor_column or (OBS.donor if OBS.donor in obs else None)
    if donor is not None:
        _require_column(obs, donor, source, "data.donor_column")
        taken[OBS.donor] = donor
    taken |= {field: field for field in CELLXGENE_FIELDS if field in obs and field not in taken}
    # arrays, not series: those would be matched by their names again, and these names may not be text yet
    contract = pd.DataFrame({field: _as_categories(obs[column], _missing(field)) for field, column in taken.items()})
    contract.index = pd.Index(obs.index.astype(str), name=None)
    return contract


def choose_held_out(labels: pd.Series, fraction: float, seed: int) -> NDArray[np.bool_]:
    """Which cells to keep back: a stratified share, seeded; a type always keeps at least one cell on the other side.

    Args:
        labels: cell type of each cell (categorical); cells without one stay.
        fraction: share of each cell type to keep back.
    """
    rng = np.random.default_rng(seed)
    away_N = np.zeros(len(labels), dtype=bool)
    codes_N = labels.cat.codes.to_numpy()
    for code in range(len(labels.cat.categories)):
        members = rng.permutation(np.flatnonzero(codes_N == code))
        away_N[members[: min(round(fraction * len(members)), len(members) - 1)]] = True
    return away_N


def _missing(field: str) -> frozenset[str]:
    return MISSING if field in (OBS.cell_type, OBS.donor) else frozenset({""})  # `na` is a value of CELLxGENE's


def _as_categories(column: pd.Series, missing: frozenset[str] = frozenset({""})) -> pd.Categorical:
    """Stripped text as categories that are all in use; words for a missing value count as missing.

    Each distinct value is made text once: a column of a million cells would hold a million texts.
    """
    codes_N, values = pd.factorize(column)
    names = [str(value).strip() for value in values]
    categories = sorted(set(names) - missing)
    position = {name: index for index, name in enumerate(categories)}
    code_of_value = np.array([*(position.get(name, -1) for name in names), -1])  # the last stands for -1, no value
    return pd.Categorical.from_codes(code_of_value[codes_N], pd.Index(categories, dtype=object))


def _require_column(obs: pd.DataFrame, column: str, source: str, parameter: str) -> None:
    if column not in obs:
        there = ", ".join(map(str, obs.columns)) or "none"
        raise UserError(f"{source}: obs has no column {column!r} (columns: {there}); set {parameter} in params.yaml.")
