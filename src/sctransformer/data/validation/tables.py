"""Tables checked by the suites: cells, labels, donors and genes of training data, edges and genes of a network."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from sctransformer._constants import OBS
from sctransformer.data.statistics import CountStatistics
from sctransformer.data.validation.suites import columns_of, read_suite


def training_tables(obs: pd.DataFrame, genes: pd.Index, statistics: CountStatistics) -> dict[str, pd.DataFrame]:
    """Tables of training data by suite.

    Args:
        obs: one row per cell, as in the file: column types are checked too, and columns may be missing.
        genes: names of the columns of X.
        statistics: statistics of X.
    """
    tables = {"training_cells": _cells(obs, statistics), "training_genes": _genes(genes, statistics)}
    if OBS.cell_type in obs:
        tables["training_cell_types"] = _cell_types(obs)
        if OBS.donor in obs:
            tables["training_donors"] = _donors(obs)
    fields = {
        column for expectation in read_suite("training_cellxgene")["expectations"] for column in columns_of(expectation)
    }
    there = [column for column in obs if column in fields]
    if there:
        tables["training_cellxgene"] = _named_by_cell(obs, there)
    return tables


def network_tables(
    edges: pd.DataFrame,
    genes: pd.Index,
    repairs: Mapping[str, int] | None = None,
    confidence: Mapping[str, float] | None = None,
) -> dict[str, pd.DataFrame]:
    """Tables of a prior network, alone and together with cells, by suite.

    Args:
        edges: regulator, target, sign and confidence, one row per edge; numbers, or the text of the
            file, so that errors can show it.
        genes: names of the cells' genes.
        repairs: counts of changes while the network was read: lines, self_edges, merged, sign_conflicts, sign_ties;
            None if unknown.
        confidence: weight of each confidence level, if `edges` has levels.
    """
    by_edge = _edges(edges, confidence or {})
    inside = by_edge[by_edge["regulator"].isin(genes) & by_edge["target"].isin(genes)]
    regulators = inside.groupby("target")["regulator"].nunique()
    named = pd.Index(sorted({*edges["regulator"], *edges["target"]}))
    fewer, more = (named, genes) if len(named) <= len(genes) else (genes.astype(str), named)
    tables = {
        "network_edges": by_edge,
        "network_genes": pd.DataFrame({"gene": fewer, "in_both": fewer.isin(more)}),
        "network_in_cells": inside.reset_index(drop=True),
        "network_coverage": pd.DataFrame(
            {"gene": genes.astype(str), "regulators": regulators.reindex(genes, fill_value=0).to_numpy()}
        ),
    }
    if repairs is not None:
        table = pd.DataFrame({name: [number] for name, number in repairs.items() if name != "lines"})
        table.insert(0, "network", [f"{repairs['lines']:,} lines"])
        tables["network_repairs"] = table
    return tables


def _edges(edges: pd.DataFrame, confidence: Mapping[str, float]) -> pd.DataFrame:
    sign = pd.to_numeric(edges["sign"], errors="coerce")
    weight = pd.to_numeric(edges["confidence"].replace(dict(confidence)), errors="coerce")
    return pd.DataFrame(
        {
            "edge": edges["regulator"] + " -> " + edges["target"],
            "regulator": edges["regulator"],
            "target": edges["target"],
            "sign": sign.astype(object).where(
                sign.notna(), edges["sign"]
            ),  # keep text that is not a number, to show it
            "confidence": weight.astype(np.float64),
            "signs_of_pair": edges.groupby(["regulator", "target"])["sign"].transform("nunique"),
        }
    ).reset_index(drop=True)


def _cells(obs: pd.DataFrame, statistics: CountStatistics) -> pd.DataFrame:
    table = _named_by_cell(obs, [column for column in (OBS.cell_type, OBS.library_size) if column in obs])
    first_N = statistics.first_with_same_counts()
    earlier = table["cell"].astype(object).take(first_N).reset_index(drop=True)
    return table.assign(
        counts=statistics.counts_N,
        genes_detected=statistics.genes_detected_N,
        lowest_count=statistics.lowest_N,
        fractional_values=statistics.fractional_N,
        mitochondrial_share=statistics.mitochondrial_share_N,
        same_counts_as=earlier.where(first_N != np.arange(len(first_N)), None),
    )


def _genes(genes: pd.Index, statistics: CountStatistics) -> pd.DataFrame:
    return pd.DataFrame({"gene": genes.astype(str), "cells_expressing": statistics.cells_G})


def _cell_types(obs: pd.DataFrame) -> pd.DataFrame:
    groups = obs.groupby(OBS.cell_type, observed=False)  # includes categories without cells
    table = groups.size().rename("cells").to_frame()
    for column, name in ((OBS.ontology_term, "ontology_terms"), (OBS.donor, "donors")):
        if column in obs:
            table[name] = groups[column].nunique()
    return _rows_named(table)


def _donors(obs: pd.DataFrame) -> pd.DataFrame:
    groups = obs.groupby(OBS.donor, observed=True)
    return _rows_named(pd.DataFrame({"cells": groups.size(), "cell_types": groups[OBS.cell_type].nunique()}))


def _rows_named(table: pd.DataFrame) -> pd.DataFrame:
    """The index as the first column, as text."""
    named = table.reset_index()
    return named.assign(**{named.columns[0]: named.iloc[:, 0].astype(str)})


def _named_by_cell(obs: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    table = obs[columns].reset_index(drop=True)
    table.insert(0, "cell", obs.index.astype(str))
    return table
