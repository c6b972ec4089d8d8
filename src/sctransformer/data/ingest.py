"""Ingestion of a user's file under the data contract: gene symbols, checked columns of obs, and held-out cells."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sctransformer._constants import CELLXGENE_FIELDS, OBS
from sctransformer.data.cell_ontology import known_ids
from sctransformer.data.cells import CellFile, require_unique_names
from sctransformer.data.genes import GeneIdentity
from sctransformer.data.h5ad_writer import open_h5ad_writer
from sctransformer.data.library_size import choose_library_sizes
from sctransformer.data.settings import CellColumns
from sctransformer.errors import UserError

MISSING = frozenset({"", "nan", "NaN", "NA", "N/A", "<NA>", "None", "null", "NULL"})
"""Texts of missing labels and donors, as tables write missing values."""


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
    """Write a file under the data contract: cells to train and test on, and held-out new cells without labels.

    Both have raw counts by gene symbol as CSR in X, and `obs["library_size"]` (float64). The kept cells also have
    `obs["cell_type"]` (categorical), `obs["donor_id"]` (categorical, if there are donors) and the columns of the
    CELLxGENE schema that the file has. Cells are in file order; memory use does not depend on their number.

    Args:
        file: the open file.
        identity: the gene of each of its columns.
        columns: names in its obs.
        kept, new: the files to write; on an error neither is changed.
        new_fraction: fraction of each cell type that is held out.
        seed: random seed for the choice of cells.

    Returns:
        Number of kept cells and of new cells.

    Raises:
        UserError: a column is missing, or library sizes are not positive numbers at least as large as the row sums.
    """
    require_unique_names(file)
    source = str(file.path)
    obs = contract_columns(file.obs, columns, source)
    library_sizes = choose_library_sizes(file.obs, columns.library_size_column, source)
    held_out_N = choose_held_out(obs[OBS.cell_type], new_fraction, seed)
    genes = identity.genes.tolist()
    with ExitStack() as stack:
        outputs = [(~held_out_N, stack.enter_context(open_h5ad_writer(kept, genes)))]
        outputs.append((held_out_N, stack.enter_context(open_h5ad_writer(new, genes))))
        library_size_N = np.zeros(len(obs))
        for start, chunk in file.chunks():
            part = slice(start, start + chunk.shape[0])
            library_size_N[part] = library_sizes.of_chunk(start, chunk)
            counts_NG = identity.gather(chunk)
            for chosen_N, output in outputs:
                if chosen_N[part].any():
                    output.append(counts_NG[chosen_N[part]])
            on_progress(start + chunk.shape[0], len(obs))
        obs.insert(0, OBS.library_size, library_size_N)
        outputs[0][1].finish(obs[~held_out_N])
        outputs[1][1].finish(obs.loc[held_out_N, [OBS.library_size]])
    return int((~held_out_N).sum()), int(held_out_N.sum())


def contract_columns(obs: pd.DataFrame, columns: CellColumns, source: str) -> pd.DataFrame:
    """Columns of the data contract, apart from the library size.

    Raises:
        UserError: a given column is missing.
    """
    _require_column(obs, columns.label_column, source, "data.label_column")
    taken = {OBS.cell_type: columns.label_column}
    donor = columns.donor_column or (OBS.donor if OBS.donor in obs else None)
    if donor is not None:
        _require_column(obs, donor, source, "data.donor_column")
        taken[OBS.donor] = donor
    if columns.ontology_column is not None:
        _require_column(obs, columns.ontology_column, source, "data.ontology_column")
        taken[OBS.ontology_term] = columns.ontology_column
    taken |= {field: field for field in CELLXGENE_FIELDS if field in obs and field not in taken}
    # arrays, not series, which pandas would align by index, whose names may not be text yet
    contract = pd.DataFrame({field: _as_categories(obs[column], _missing(field)) for field, column in taken.items()})
    contract.index = pd.Index(obs.index.astype(str), name=None)
    if OBS.ontology_term not in contract or columns.ontology_ids is not None:
        labels = contract[OBS.cell_type]
        ids = known_ids(labels.cat.categories, columns.ontology_ids)
        if ids:
            contract[OBS.ontology_term] = pd.Categorical(labels.astype(object).map(ids))
    return contract


def choose_held_out(labels: pd.Series, fraction: float, seed: int) -> NDArray[np.bool_]:
    """Choose the cells to hold out: a random fraction of each cell type, but never all of its cells.

    Args:
        labels: cell type of each cell (categorical); cells without one are not held out.
        fraction: fraction of each cell type to hold out.
        seed: random seed.

    Returns:
        A mask of the held-out cells.
    """
    rng = np.random.default_rng(seed)
    held_out_N = np.zeros(len(labels), dtype=bool)
    codes_N = labels.cat.codes.to_numpy()
    for code in range(len(labels.cat.categories)):
        members = rng.permutation(np.flatnonzero(codes_N == code))
        held_out_N[members[: min(round(fraction * len(members)), len(members) - 1)]] = True
    return held_out_N


def _missing(field: str) -> frozenset[str]:
    return MISSING if field in (OBS.cell_type, OBS.donor) else frozenset({""})  # `na` is a value of CELLxGENE


def _as_categories(column: pd.Series, missing: frozenset[str] = frozenset({""})) -> pd.Categorical:
    """Stripped text as categories that are all in use; texts of missing values become missing.

    Each distinct value is converted to text once, to save memory.
    """
    codes_N, values = pd.factorize(column)
    names = [str(value).strip() for value in values]
    categories = sorted(set(names) - missing)
    position = {name: index for index, name in enumerate(categories)}
    code_of_value = np.array([*(position.get(name, -1) for name in names), -1])  # the last is for -1, no value
    return pd.Categorical.from_codes(code_of_value[codes_N], pd.Index(categories, dtype=object))


def _require_column(obs: pd.DataFrame, column: str, source: str, parameter: str) -> None:
    if column not in obs:
        present = ", ".join(map(str, obs.columns)) or "none"
        raise UserError(f"{source}: obs has no column {column!r} (columns: {present}); set {parameter} in params.yaml.")
