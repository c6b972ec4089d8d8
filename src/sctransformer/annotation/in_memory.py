"""Annotation of an AnnData object: the fields that `sctransformer annotate` writes to a file, set in memory."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from sctransformer._constants import OBSM, UNS
from sctransformer.annotation.fields import (
    CELL_TYPES,
    COLUMNS_WRITTEN,
    REGULATORS,
    is_alike,
    label_columns,
    provenance,
    regulator_columns,
    replace_columns,
    warn_of_larger_library_sizes,
    warn_of_many_novel_cells,
    written_before,
)
from sctransformer.annotation.model import Model
from sctransformer.annotation.regulators import names_written, regulators_for, warn_without_activities
from sctransformer.annotation.settings import AnnotationSettings
from sctransformer.annotation.voting import voted_columns
from sctransformer.data.anndata_cells import SOURCE, require_anndata
from sctransformer.errors import UserError


def annotate_adata(adata: AnnData, model: Model, settings: AnnotationSettings) -> AnnData:
    """Label the cells of an AnnData object, see `sctransformer.annotate`.

    Args:
        adata: receives the fields; in memory or backed.
        model: labels the cells.
        settings: `format` is not used.

    Raises:
        UserError: the cells are not what they should be, or too many genes are missing.
    """
    require_anndata(adata)
    if adata.isbacked and adata.is_view:
        raise UserError(f"{SOURCE}: is a view of a backed object; give `adata.to_memory()`.")
    warn_without_activities(model.bundle, settings)
    read, labels = model.label(adata, settings)
    regulators = regulators_for(model.bundle, read, settings)
    limits, table = model.limits(read, settings), model.bundle.labels
    calls = labels.calls(limits)
    columns = label_columns(calls, table)
    if settings.majority_voting:
        columns |= voted_columns(labels.embedding_NE, calls.label_N, table)
    columns |= regulator_columns(regulators, labels.top_N3(calls.label_N))
    warn_of_larger_library_sizes(read, labels.library_size_N)
    warn_of_many_novel_cells(read.source, calls)
    more: dict[str, Any] = {CELL_TYPES: model.labels} if settings.probabilities else {}
    if regulators is not None and names_written(regulators):
        more[REGULATORS] = {name: np.asarray(values) for name, values in regulators.described().items()}
    described = provenance(model, read, limits=limits, calls=calls, scoring=settings.scoring, more=more)
    _set_fields(adata, columns, labels.embedding_NE, described)
    if settings.probabilities:
        adata.obsm[OBSM.probabilities] = labels.probabilities_NC
    if REGULATORS in more:
        adata.obsm[OBSM.regulators], adata.obsm[OBSM.regulators_mrna] = labels.activity_NR, labels.mrna_NR
    return adata


def _set_fields(
    adata: AnnData, columns: dict[str, Any], embedding_NE: NDArray[np.float32], described: dict[str, Any]
) -> None:
    earlier = adata.uns.get(UNS.annotation)
    before = written_before(earlier.get(COLUMNS_WRITTEN) if isinstance(earlier, Mapping) else None)
    columns, removed, renamed = replace_columns(columns, set(adata.obs), before, SOURCE)
    obs = adata.obs.drop(columns=removed).rename(columns=renamed).assign(**columns)
    # a file could not hold an index and a column of one name
    adata.obs = obs.rename_axis(index=None) if _is_taken(obs.index.name, columns) else obs
    adata.obsm[OBSM.embedding] = embedding_NE
    adata.obsm.pop(OBSM.probabilities, None)  # those of an earlier annotation
    if isinstance(earlier, Mapping) and REGULATORS in earlier:
        adata.obsm.pop(OBSM.regulators, None)
        adata.obsm.pop(OBSM.regulators_mrna, None)
    adata.uns[UNS.annotation] = {**described, COLUMNS_WRITTEN: np.array(list(columns), dtype=object)}


def _is_taken(index_name: Any, columns: dict[str, Any]) -> bool:
    return index_name in columns or is_alike(str(index_name), columns)
