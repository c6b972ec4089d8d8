"""Activities of regulators as an AnnData of their own, for the functions of scanpy."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from sctransformer._constants import OBSM, UNS
from sctransformer.annotation.fields import REGULATORS
from sctransformer.data.anndata_cells import SOURCE, require_anndata
from sctransformer.errors import UserError

MRNA = "mrna"
"""Layer with the regulators' own mRNA."""


def regulators(adata: AnnData) -> AnnData:
    """Make an AnnData of the activities of regulators, as decoupler's `get_acts`.

    Args:
        adata: cells annotated with `regulators="all"`; not changed.

    Returns:
        Cells x regulators. `X` has the activities in standard deviations of the training cells (float32; NaN for a
        regulator with too few measured targets), the layer `mrna` log1p of counts per 10,000 of the regulators' own
        genes. `var` has the number of measured targets (`targets`), `mean` and `std` of the activity in the training
        cells, and `evidence` if the model has it. `obs`, `uns`, `obsp` and the rest of `obsm` are those of `adata`, so
        that plots work.

    Raises:
        UserError: `adata` has no activities, or their names are missing.

    Examples:
        >>> acts = sct.regulators(adata)  # doctest: +SKIP
        >>> scanpy.pl.umap(acts, color=["SPI1", "predicted_labels"], cmap="RdBu_r", vcenter=0)  # doctest: +SKIP
        >>> scanpy.pl.matrixplot(acts, ["SPI1", "EBF1"], groupby="predicted_labels")  # doctest: +SKIP
    """
    require_anndata(adata)
    if OBSM.regulators not in adata.obsm:
        raise UserError(
            f"{SOURCE}: has no activities of regulators (obsm[{OBSM.regulators!r}]); annotate it with "
            "regulators='all', or its file with --regulators all."
        )
    activity_NR = np.asarray(adata.obsm[OBSM.regulators])
    described = _described(adata.uns)
    if "name" not in described:
        raise UserError(
            f"{SOURCE}: lacks the names of the regulators in obsm[{OBSM.regulators!r}] "
            f"(uns[{UNS.annotation!r}][{REGULATORS!r}]); if cells were concatenated, use uns_merge='same', or annotate "
            "again."
        )
    names = [str(name) for name in np.atleast_1d(described["name"])]
    if activity_NR.shape[1] != len(names):
        raise UserError(
            f"{SOURCE}: obsm[{OBSM.regulators!r}] has {activity_NR.shape[1]:,} columns, but uns[{UNS.annotation!r}]"
            f"[{REGULATORS!r}] names {len(names):,} regulators; annotate it again."
        )
    more = {name: np.atleast_1d(values) for name, values in described.items() if name != "name"}
    layers = {MRNA: np.array(adata.obsm[OBSM.regulators_mrna])} if OBSM.regulators_mrna in adata.obsm else {}
    acts = AnnData(
        activity_NR.copy(),
        obs=adata.obs.copy(),
        var=pd.DataFrame(more, index=pd.Index(names, dtype=object)),
        uns=dict(adata.uns),
        obsm={name: adata.obsm[name] for name in adata.obsm if name not in (OBSM.regulators, OBSM.regulators_mrna)},
        obsp=dict(adata.obsp),
        layers=layers,
    )
    # a selection leaves out categories without cells, and their colours: scanpy's plots of groups fail on them
    return acts[:].copy()


def _described(uns: Mapping[str, Any]) -> Mapping[str, Any]:
    """The member `regulators` of an annotation; empty if there is none."""
    annotation = uns.get(UNS.annotation)
    described = annotation.get(REGULATORS) if isinstance(annotation, Mapping) else None
    return described if isinstance(described, Mapping) else {}
