"""The columns of obs that an annotation becomes, in whatever file they are written."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sctransformer._constants import OBS, UNKNOWN_LABEL
from sctransformer.annotation.results import UNKNOWN, Annotation


def label_columns(annotation: Annotation, labels: pd.DataFrame) -> dict[str, Any]:
    """Label, confidence and, where the model knows any, Cell Ontology id of each cell, by the name of the column.

    Args:
        labels: classes with their Cell Ontology ids, see `Bundle.labels`.
    """
    columns = {
        OBS.predicted_labels: categorical(annotation.label_N, labels["name"].tolist()),
        OBS.conf_score: annotation.confidence_N,
    }
    ids = labels[OBS.ontology_term].replace("", UNKNOWN_LABEL).tolist()
    if set(ids) != {UNKNOWN_LABEL}:
        columns[OBS.ontology_term] = categorical(annotation.label_N, ids)
    return columns


def categorical(label_N: NDArray[np.integer], names: list[str]) -> "pd.Categorical[str]":
    """Each cell's name; `unknown` where it was rejected or its class has no name.

    All of the model's names are categories, in its order, so that the outputs of several files fit together.
    """
    categories = list(dict.fromkeys([*names, UNKNOWN_LABEL]))
    position = {name: index for index, name in enumerate(categories)}
    code_C = np.array([position[name] for name in [*names, UNKNOWN_LABEL]])  # UNKNOWN, -1, takes the last
    assert UNKNOWN == -1
    codes_N: Any = code_C[label_N].astype(np.int16)
    return pd.Categorical.from_codes(codes_N, categories=pd.Index(categories))
