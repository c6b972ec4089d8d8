"""Cells of an AnnData object, in memory or backed, read with the checks that files are read with."""

from typing import Any

from anndata import AnnData

from sctransformer.data.cells import Cells, RateGenes
from sctransformer.data.features import Species
from sctransformer.errors import UserError

SOURCE = "adata"
"""What the cells are called in errors."""


class AnnDataCells(Cells):
    """Cells of an AnnData object. It is only read; a backed object must stay open.

    Args:
        adata: in memory, or opened with `anndata.read_h5ad(file, backed="r")`.
        counts, rate_genes, species: see `Cells`.

    Raises:
        UserError: an element cannot be read, or no raw counts were found.
    """

    def __init__(
        self,
        adata: AnnData,
        counts: str | None = None,
        rate_genes: RateGenes | None = None,
        species: Species = "human",
    ) -> None:
        require_anndata(adata)
        super().__init__(_Elements(adata), SOURCE, counts, rate_genes, species)


class _Elements:
    """Elements of an AnnData object by their names in an h5ad file. A view makes each only when it is asked for."""

    def __init__(self, adata: AnnData) -> None:
        self._adata = adata

    def __contains__(self, name: str) -> bool:
        if name.startswith("raw/"):
            return self._adata.raw is not None
        return name in ("obs", "var") or (name == "X" and self._adata.X is not None)

    def __getitem__(self, name: str) -> Any:
        group, _, member = name.partition("/")
        if group == "layers":
            return self._adata.layers[member]
        return getattr(self._adata.raw if group == "raw" else self._adata, member or group)

    def get(self, group: str, default: Any = None) -> Any:
        """A group: something with the names of its members as keys."""
        if group == "raw":
            return default if self._adata.raw is None else dict.fromkeys(("X", "var"))
        return self._adata.layers if group == "layers" else default


def require_anndata(adata: object) -> None:
    """Refuse what is not an AnnData object.

    Raises:
        UserError: it is something else, such as the path of a file.
    """
    if not isinstance(adata, AnnData):
        raise UserError(
            f"{SOURCE}: expected an AnnData, found {type(adata).__name__}; read files with anndata.read_h5ad, or "
            "label them with `sctransformer annotate`."
        )
