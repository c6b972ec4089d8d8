"""Where the raw counts of a file are: whole numbers are no evidence, so names, shapes and other values are compared."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from sctransformer.data.counts import LOG_CEILING, ZEROS, check_counts, describe_fault, find_fault
from sctransformer.data.library_size import WHOLE_CELL
from sctransformer.errors import UserError

X, RAW = "X", "raw.X"
USUAL_LAYERS = (
    "counts", "raw_counts", "counts_raw", "count", "raw_count", "umi_counts", "umi_count", "umis", "umi", "raw",
)  # fmt: skip
"""Names of layers that hold raw counts, most usual first; capitals do not matter, nor do hyphens and spaces."""
PARTS = ("spliced", "unspliced", "ambiguous")
"""Layers of velocyto and its successors: each is a part of the counts."""

_ALIKE = 0.02
_FEWEST_CELLS, _FEWEST_GENES, _ROWS_COMPARED = 30, 20, 60
_IMPUTED = 0.9
"""Fraction of non-zero values from which X also has values where nothing was counted."""
_UNRELATED_SIZES, _UNRELATED_VALUES = 0.5, 0.2
"""Rank correlations below which two lists of values are not of the same cells."""


class Sample(NamedTuple):
    """Some values of a matrix that may hold counts."""

    values_P: NDArray[np.number]
    """Stored values, in their stored type."""
    blocks: list[tuple[int, sparse.csr_matrix]]
    """Some rows, with the position of the first of each block."""
    genes: pd.Index
    """Names of the columns."""

    @property
    def rows_NF(self) -> sparse.csr_matrix:
        """The rows of all blocks."""
        if not self.blocks:
            return sparse.csr_matrix((0, len(self.genes)))
        return sparse.vstack([block for _, block in self.blocks], format="csr")

    @property
    def positions_N(self) -> NDArray[np.int64]:
        """Position of each row in the file."""
        ranges = [np.arange(start, start + block.shape[0]) for start, block in self.blocks]
        return np.concatenate(ranges) if ranges else np.zeros(0, dtype=np.int64)


@dataclass
class CountSearch:
    """Finds the raw counts among X, `raw.X` and the layers with usual names."""

    source: str
    """Name of the cells in errors."""
    obs: pd.DataFrame
    layers: Sequence[str]
    other: Sequence[str]
    """Which of X and `raw.X` exist."""
    read: Callable[[str], Sample]
    """Samples a place; raises a UserError if it cannot be read."""
    notes: list[str] = field(default_factory=list)
    """What the user should know about the choice, a sentence each."""
    _samples: dict[str, Sample] = field(default_factory=dict)
    """Samples by place: those of a large CSC matrix take a pass over it."""

    @property
    def places(self) -> list[str]:
        """All places, whether they hold counts or not."""
        return [*(place for place in self.other if place == X), *self.layers, *(p for p in self.other if p == RAW)]

    def find(self) -> str:
        """The place of the raw counts.

        Raises:
            UserError: no place holds raw counts for certain; says what each holds.
        """
        tried = [*(p for p in self.other if p == X), *self._usual(), *(p for p in self.other if p == RAW)]
        if not tried and not self.layers:
            raise UserError(f"{self.source}: has no X, raw.X or layer; expected raw counts in one of them.")
        sound, faults = dict[str, Sample](), dict[str, str]()
        for place in tried:
            sample = self._sample(place, faults, alone=len(self.places) == 1)
            fault = None if sample is None else self.fault(sample)
            if sample is not None and fault is None:
                sound[place] = sample
            elif fault is not None:
                faults[place] = fault
        if not sound and len(self.places) == 1 and faults.get(tried[0]) == ZEROS:
            return tried[0]  # cells without counts are not a fault of the file
        if not sound:
            raise self._nothing_found(faults)
        chosen = self._best(sound, self._normalised)
        self._note(chosen, sound, faults)
        return chosen

    def fault(self, sample: Sample) -> str | None:
        """Why a place does not hold raw counts; None if it does."""
        fault = describe_fault(sample.values_P, sample.rows_NF)
        if fault is not None:
            return fault
        if _sizes_agree(self.obs, sample) is False:
            columns = " and ".join(f"obs[{name!r}]" for name in WHOLE_CELL if name in self.obs)
            return f"whole numbers whose sums by cell are not related to {columns}"
        normalised = self._normalised
        if normalised is not None and _unrelated(sample, normalised):
            return "whole numbers that are not related to the normalised values of X"
        return None

    def _usual(self) -> list[str]:
        plain = {name: re.sub(r"[-. ]+", "_", name.strip().lower()) for name in self.layers}
        return [name for usual in USUAL_LAYERS for name in self.layers if plain[name] == usual]

    def _sample(self, place: str, faults: dict[str, str], alone: bool = False) -> Sample | None:
        try:
            if place not in self._samples:
                self._samples[place] = self.read(place)
            return self._samples[place]
        except UserError as error:
            if alone:
                raise
            faults[place] = str(error).removeprefix(f"{self.source}: ").removeprefix(f"{shown(place)} ").rstrip(".")
            return None

    @cached_property
    def _normalised(self) -> Sample | None:
        """X, if it holds normalised values: not negative, not whole, and zero where nothing was counted."""
        found = self._sample(X, {}) if X in self.other else None
        return found if found is not None and _is_normalised(found) else None

    def _best(self, sound: dict[str, Sample], normalised: Sample | None) -> str:
        """The place with most evidence; of equals a layer that is named as counts, then X, then raw.X."""
        names = list(sound)
        order = [name for name in names if name not in (X, RAW)]
        if X in sound:  # a layer that is a copy of X is no better than X
            order = [name for name in order if not _equal(sound[name], sound[X])]
            order.append(X)
        order += [name for name in names if name not in order]

        def evidence(place: str) -> int:
            sizes = _sizes_agree(self.obs, sound[place]) is True
            return int(sizes) + int(normalised is not None and _is_source_of(sound[place], normalised))

        return max(order, key=evidence)  # the first of equals

    def _note(self, chosen: str, sound: dict[str, Sample], faults: dict[str, str]) -> None:
        if chosen != X and X in sound and chosen != RAW:
            self.notes.append(f"counts are read from {shown(chosen)}; X holds other whole numbers")
        unreadable = [place for place, fault in faults.items() if "cannot be read" in fault]
        if unreadable:
            self.notes.append(f"{shown(unreadable[0])} is damaged; counts are read from {shown(chosen)}")
        if chosen == X and {"spliced", "unspliced"} <= set(self.layers):
            part = self._sample("spliced", {})
            if part is not None and _equal(part, sound[X]):
                self.notes.append(f"X equals the layer 'spliced', a part of the counts; {self._advice_on_parts()}")

    def _nothing_found(self, faults: dict[str, str]) -> UserError:
        """The error that says what each place holds."""
        if faults and len(self.places) == 1:
            place = self.places[0]
            sample = self._samples[place]
            for start, block in sample.blocks:
                check_counts(block, f"{self.source}: {shown(place)}", self.obs.index, sample.genes, start)
            return UserError(
                f"{self.source}: {shown(place)}: expected raw counts, but found {faults[place]}; give raw counts, or, "
                f"if these are counts, set --counts {place} (counts in Python and in a job file)."
            )
        for layer in self.layers:
            if layer not in faults:
                sample_or_none = self._sample(layer, faults)
                if sample_or_none is not None:
                    faults[layer] = self._content(layer, sample_or_none)
        held = ", ".join(f"{shown(place)} ({faults[place]})" for place in self.places if place in faults)
        if {"spliced", "unspliced"} <= set(self.layers):
            advice = self._advice_on_parts()
        elif not any(self._has_whole_numbers(place) for place in faults):
            advice = "give the file from before it was normalised"
        else:
            advice = "if one of them does, name it with --counts (counts in Python and in a job file)"
        return UserError(
            f"{self.source}: expected raw counts in X, raw.X or a layer named as counts, but none holds them for "
            f"certain: {held}; {advice}."
        )

    def _has_whole_numbers(self, place: str) -> bool:
        sample = self._sample(place, {})
        return sample is not None and find_fault(sample.values_P) is None and bool(sample.values_P.any())

    def _content(self, layer: str, sample: Sample) -> str:
        fault = find_fault(sample.values_P)
        if layer in PARTS and fault is None:
            return "whole numbers, a part of the counts"
        return self.fault(sample) or "whole numbers, but the name does not say that they are counts"

    def _advice_on_parts(self) -> str:
        parts = "+".join(name for name in PARTS if name in self.layers)
        return (
            f"--counts {parts} reads all molecules, as Cell Ranger counts them since version 7, and --counts spliced "
            "those of exons (counts in Python and in a job file)"
        )


def shown(place: str) -> str:
    """What a place is called in messages."""
    return place if place in (X, RAW) else f"layer {place!r}"


def _sizes_agree(obs: pd.DataFrame, sample: Sample) -> bool | None:
    """Whether sums by cell are the library sizes in obs (True), not related to them (False) or neither (None)."""
    rows_NF = sample.rows_NF
    sums_N = np.asarray(rows_NF.sum(axis=1, dtype=np.float64)).ravel()
    unrelated = []
    for name in WHOLE_CELL:
        if name not in obs or not pd.api.types.is_numeric_dtype(obs[name]):
            continue
        column_N = obs[name].to_numpy(dtype=np.float64, na_value=np.nan)[sample.positions_N]
        known_N = np.isfinite(column_N) & (column_N > 0) & (sums_N > 0)
        if not known_N.any():
            continue
        own_N, other_N = sums_N[known_N], column_N[known_N]
        if np.mean(np.abs(own_N / other_N - 1) < _ALIKE) > 0.9:
            return True
        varied = min(own_N.std() / own_N.mean(), other_N.std() / other_N.mean()) > 0.05
        if len(own_N) >= _FEWEST_CELLS and varied:
            unrelated.append(_rank_correlation(own_N, other_N) < _UNRELATED_SIZES)
    return False if unrelated and all(unrelated) else None


def _is_normalised(x: Sample) -> bool:
    values_P = x.values_P
    if not len(values_P) or values_P.dtype.kind != "f" or not np.isfinite(values_P).all() or (values_P < 0).any():
        return False
    rows_NF = x.rows_NF
    filled = np.count_nonzero(rows_NF.data) / max(1, rows_NF.shape[0] * rows_NF.shape[1])
    return find_fault(values_P) is not None and filled < _IMPUTED


def _pairs(counts: Sample, x: Sample) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Counts and normalised values of some cells, in the genes of X that either holds."""
    if counts.genes.equals(x.genes):
        columns_F = np.arange(len(x.genes))
    elif counts.genes.is_unique:
        columns_F = counts.genes.get_indexer(x.genes)
    else:
        return []
    both_F = columns_F >= 0
    counts_NF, x_NF = counts.rows_NF[:, columns_F[both_F]], x.rows_NF[:, np.flatnonzero(both_F)]
    rows = min(counts_NF.shape[0], x_NF.shape[0])
    pairs = []
    for row in np.unique(np.linspace(0, rows - 1, min(rows, _ROWS_COMPARED)).astype(int)) if rows else []:
        own_F, other_F = counts_NF[row].toarray().ravel(), x_NF[row].toarray().ravel()
        held_F = (own_F != 0) | (other_F != 0)
        if held_F.sum() >= _FEWEST_GENES:
            pairs.append((own_F[held_F].astype(np.float64), other_F[held_F].astype(np.float64)))
    return pairs


def _unrelated(counts: Sample, x: Sample) -> bool:
    """Whether counts and normalised values rank the genes of a cell differently."""
    found = [
        _rank_correlation(own_P, other_P)
        for own_P, other_P in _pairs(counts, x)
        if own_P.min() < own_P.max() and other_P.min() < other_P.max()
    ]
    return len(found) > 0 and float(np.median(found)) < _UNRELATED_VALUES


def _is_source_of(counts: Sample, x: Sample) -> bool:
    """Whether X is log1p of the counts, normalised by cell."""
    if float(x.values_P.max()) >= LOG_CEILING:
        return False
    agree = []
    for own_P, other_P in _pairs(counts, x):
        if ((own_P > 0) != (other_P > 0)).any():
            agree.append(False)
            continue
        factor_P = np.expm1(other_P) / own_P
        agree.append(bool(factor_P.max() < 1.01 * factor_P.min()))
    return len(agree) > 0 and float(np.mean(agree)) > 0.8


def _rank_correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Spearman's correlation; scipy.stats takes a second to import."""
    return float(np.corrcoef(pd.Series(one).rank(), pd.Series(other).rank())[0, 1])


def _equal(one: Sample, other: Sample) -> bool:
    left, right = one.rows_NF, other.rows_NF
    return left.shape == right.shape and (left != right).nnz == 0
