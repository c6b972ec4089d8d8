"""Which features of a file are genes of the model's species: antibodies, peaks and other genomes are left out."""

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from sctransformer.data.gene_columns import ID_COLUMNS
from sctransformer.data.species import Species, mixed_species
from sctransformer.errors import UserError
from sctransformer.wording import some

TYPE_COLUMNS = ("featuretypes", "featuretype", "modality", "type")
"""Columns of var with the kind of each feature, without case and separators: those of Cell Ranger (`feature_types`) and
scanpy, and of concatenated modalities."""
_BIOTYPES = "type"
"""A column that may hold biotypes: only features that are no genes for certain are left out."""
_BYTES = re.compile(r"^b(['\"])(.*)\1$")
"""A text of bytes that was written with Python's str()."""
_MANY_BARE = 0.1
"""Fraction of names without a prefix above which these are those of another genome than the prefix."""
GENOME_COLUMN = "genome"
_GENES = frozenset({"geneexpression", "gene", "genes", "rna", "gex", "mrna", "transcriptome", "expression"})
_OTHERS = frozenset({
    "antibodycapture", "antibody", "antibodies", "adt", "adts", "ab", "protein", "proteins", "prot", "surfaceprotein",
    "citeseq", "hto", "hashtag", "hashtags", "multiplexingcapture", "cellhashing", "antigencapture", "peak", "peaks",
    "atac", "chromatinaccessibility", "crispr", "crisprguidecapture", "guide", "guides", "grna", "sgrna", "custom",
    "vdj", "vdjt", "vdjb",
})  # fmt: skip
"""Feature types that are no genes. Other names, such as biotypes (`protein_coding`), leave nothing out alone."""
_PREFIX = re.compile(
    r"^((?:GRC[a-z]|hg|mm|rn|danRer|dm|ce|susScr|rheMac|macFas)\d+(?:\.\w+?)?"
    r"|Rnor_\d[\d.]*|Mmul_\d+|(?i:human|mouse))[_-]+"
)
"""Genome in front of a gene name, as Cell Ranger writes it for several genomes: `GRCh38_CD3E`, `mm10___Cd3e`.
Seurat replaces the underscores by hyphens."""
_SPECIES_OF = (("human", re.compile(r"^(GRCh|hg|hs|human)", re.I)), ("mouse", re.compile(r"^(GRCm|mm\d|mouse)", re.I)))
_SHOWN = 3


@dataclass(frozen=True)
class Features:
    """The features of a file that are read. F: features of the file."""

    var: pd.DataFrame
    """Table of the features that are read; names without the prefix of a genome."""
    n_features: int
    """Number of all features."""
    kept_F: NDArray[np.int64] | None = None
    """Their columns in the matrix; None: all."""
    notes: tuple[str, ...] = ()
    """What was left out or renamed, a sentence each."""

    other_genome_F: NDArray[np.int64] | None = None
    """Columns of the genome of another species; None: there are none."""

    def keep(self, counts_NF: sparse.csr_matrix) -> sparse.csr_matrix:
        """The columns that are read."""
        return counts_NF if self.kept_F is None else sparse.csr_matrix(counts_NF[:, self.kept_F])

    def keep_own_cells(self, counts_NF: sparse.csr_matrix) -> sparse.csr_matrix:
        """The columns that are read; cells with most of their counts in another species' genes get no counts."""
        kept_NF = self.keep(counts_NF)
        if self.other_genome_F is None:
            return kept_NF
        own_N = np.asarray(kept_NF.sum(axis=1, dtype=np.float64)).ravel()
        other_N = np.asarray(counts_NF[:, self.other_genome_F].sum(axis=1, dtype=np.float64)).ravel()
        foreign_P = np.repeat(other_N > own_N, np.diff(kept_NF.indptr))
        if foreign_P.any():
            kept_NF.data[foreign_P] = 0
            kept_NF.eliminate_zeros()
        return kept_NF


def select_features(var: pd.DataFrame, source: str, species: Species = "human") -> Features:
    """Select the genes of a species, and remove the prefix of its genome from their names.

    A feature is left out if a column such as `feature_types` says that it is not gene expression, or if the column
    `genome` or the prefix of its name says that it belongs to the genome of another species, or if the file has genes
    of human and mouse and its name is written as one of the other species, see `mixed_species`.

    Args:
        var: the file's table of features.
        source: name of the file in errors.
        species: the species to read.

    Raises:
        UserError: no gene is left.
    """
    if var.empty and not len(var):
        return Features(var, len(var))
    notes = []
    other_type_F, types = _not_genes(var)
    if other_type_F.any():
        if other_type_F.all():
            raise UserError(
                f"{source}: has no gene expression; its features are {_counted(types)}; "
                "give the file with the counts of genes."
            )
        notes.append(
            f"{int(other_type_F.sum()):,} of {len(var):,} features are not gene expression ({_counted(types)}) and are "
            "left out of genes and library sizes"
        )
    genome_F = _genomes(var)
    other_genome_F = np.zeros(len(var), dtype=bool)
    own_F = np.array([_species(genome) == species for genome in genome_F], dtype=bool)
    if own_F.any():
        other_genome_F = np.array([bool(genome) for genome in genome_F]) & ~own_F & ~other_type_F
    if other_genome_F.any():
        genomes = Counter(genome for genome, other in zip(genome_F, other_genome_F, strict=True) if other)
        notes.append(
            f"{int(other_genome_F.sum()):,} of {len(var):,} features belong to another genome ({_counted(genomes)}) "
            "and are left out of genes and library sizes; cells with most of their counts in them are read as cells "
            "without counts (label `unknown`, reason `no counts`): annotate them with a model of their species"
        )
    kept_F = np.flatnonzero(~(other_type_F | other_genome_F)).astype(np.int64)
    whole = len(kept_F) == len(var)
    table = _without_prefix(var if whole else var.iloc[kept_F], species)
    others = np.flatnonzero(other_genome_F).astype(np.int64) if other_genome_F.any() else None
    return Features(table, len(var), None if whole else kept_F, tuple(notes), others)


def genome_prefix(name: str) -> str | None:
    """The prefix of a gene name that names a genome, as in `GRCh38_CD3E`; None if there is none."""
    found = _PREFIX.match(name)
    return None if found is None else found[0]


def _not_genes(var: pd.DataFrame) -> tuple[NDArray[np.bool_], Counter[str]]:
    """Mask of the features that are not genes, and the number of each of their types."""
    mask_F, found = np.zeros(len(var), dtype=bool), Counter[str]()
    for column in var.columns:
        if (plain := re.sub(r"[^a-z]", "", str(column).lower())) not in TYPE_COLUMNS:
            continue
        values = var[column].astype("string").fillna("").str.strip().str.replace(_BYTES, r"\2", regex=True)
        kind_of = {value: re.sub(r"[^a-z]", "", value.lower()) for value in values.unique()}
        has_genes = any(kind in _GENES for kind in kind_of.values())
        others = [
            value
            for value, kind in kind_of.items()
            if kind not in _GENES and (kind in _OTHERS or (has_genes and kind != "" and plain != _BIOTYPES))
        ]
        other_F = values.isin(others).to_numpy(dtype=bool)
        found.update(values[other_F & ~mask_F])
        mask_F |= other_F
    return mask_F, found


def _genomes(var: pd.DataFrame) -> list[str]:
    """The genome of each feature: the prefix of one of its names, else the column `genome`; empty if unknown.

    Where no feature has either, and the names are those of two species, the species. Where only one of two genomes has
    a prefix, names without one belong to the other.
    """
    genomes = [""] * len(var)
    if GENOME_COLUMN in var:
        genomes = var[GENOME_COLUMN].astype("string").fillna("").str.strip().tolist()
    prefixed: set[int] = set()
    for names in _name_columns(var):
        for index, name in enumerate(names):
            if (found := _PREFIX.match(name)) is not None:
                genomes[index] = found[1]
                prefixed.add(index)
    if prefixed and sum(genome == "" for genome in genomes) > _MANY_BARE * len(genomes):
        named = {_species(genomes[index]) for index in prefixed}
        if named in ({"human"}, {"mouse"}):
            other = "mouse" if named == {"human"} else "human"
            genomes = [genome or other for genome in genomes]
    if all(_species(genome) is None for genome in set(genomes)):
        written = mixed_species(_name_columns(var))
        return written if any(written) else genomes
    return genomes


def _name_columns(var: pd.DataFrame) -> list[list[str]]:
    columns = [var.index.to_series(), *(var[name] for name in ID_COLUMNS if name in var)]
    return [column.astype("string").fillna("").tolist() for column in columns]


def _without_prefix(var: pd.DataFrame, species: Species) -> pd.DataFrame:
    """The table with names that lack the prefix of the species' genome."""

    def bare(name: object) -> object:
        found = _PREFIX.match(name) if isinstance(name, str) else None
        return name[found.end() :] if found is not None and _species(found[1]) == species else name  # type: ignore[index]

    prefixed = {
        name: column
        for name, column in ((name, var[name]) for name in ID_COLUMNS if name in var)
        if column.astype("string").str.match(_PREFIX).any()
    }
    index = var.index.astype(str)
    if index.str.match(_PREFIX).any():
        var = var.set_axis(pd.Index([bare(name) for name in index], dtype=object, name=index.name), axis=0)
    if prefixed:
        var = var.copy()
        for name, column in prefixed.items():
            var[name] = column.astype(object).map(bare).to_numpy()
    return var


@lru_cache(maxsize=256)
def _species(genome: str) -> str | None:
    return next((species for species, pattern in _SPECIES_OF if pattern.match(genome)), None)


def _counted(numbers: Counter[str]) -> str:
    return some([f"{name or 'unnamed'} {number:,}" for name, number in numbers.most_common()], _SHOWN)
