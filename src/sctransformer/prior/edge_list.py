"""The edges of a network as indices: who attends to whom. Uses numpy only: the model imports it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TENSORS = ("regulator_J", "target_J", "weight_J", "bias_J")


@dataclass(frozen=True)
class EdgeList:
    """Pairs of regulator and target between which a model attends, sorted by regulator and target."""

    regulators: list[str]
    """Names of the regulators, sorted; a regulator need not be a gene of the panel."""
    n_genes: int
    """Number of genes in the panel."""
    regulator_J: NDArray[np.int64]
    """Position of each edge's regulator in `regulators`."""
    target_J: NDArray[np.int64]
    """Position of each edge's target in the panel."""
    weight_J: NDArray[np.float32]
    """Sign times confidence, an unknown sign as activation; 0 for a pair that is no edge of the network."""
    bias_J: NDArray[np.float32]
    """What the prior adds to the attention score."""

    def __len__(self) -> int:
        return len(self.target_J)

    @property
    def n_regulators(self) -> int:
        """Number of regulators."""
        return len(self.regulators)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """The arrays, for a safetensors file."""
        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in _TENSORS}  # safetensors ignores strides
        return arrays | {"n_genes": np.array([self.n_genes])}

    def metadata(self) -> dict[str, str]:
        """The names of the regulators, for a safetensors file."""
        return {"regulators": "\t".join(self.regulators)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> "EdgeList":
        """The inverse of `tensors` and `metadata`."""
        arrays = {name: np.asarray(tensors[name]) for name in _TENSORS}
        return cls(metadata["regulators"].split("\t"), int(tensors["n_genes"][0]), **arrays)


def edge_list(edges: Mapping[Any, Sequence[Any]], genes: Sequence[str], mode: str, min_targets: int = 1) -> EdgeList:
    """The pairs that a model attends between, in one of its modes.

    Args:
        edges: columns regulator, target, sign (1, -1, 0) and confidence; edges to other targets are ignored.
        genes: the panel.
        mode: `mask`: the edges of the network; `bias`: all pairs of a regulator and a gene, where the confidence of an
            edge is the prior of its score; `regulators`: all pairs, without prior.
        min_targets: regulators with fewer targets in the panel are left out.
    """
    position = {gene: index for index, gene in enumerate(genes)}
    columns = (edges[name] for name in ("regulator", "target", "sign", "confidence"))
    inside = [
        (str(regulator), position[target], (-1.0 if int(sign) < 0 else 1.0) * float(confidence))
        for regulator, target, sign, confidence in zip(*columns, strict=True)
        if target in position and target != regulator
    ]
    targets = Counter(regulator for regulator, _, _ in inside)
    regulators = sorted(regulator for regulator, number in targets.items() if number >= min_targets)
    row = {regulator: index for index, regulator in enumerate(regulators)}
    found = sorted((row[regulator], target, weight) for regulator, target, weight in inside if regulator in row)
    regulator_J = np.array([edge[0] for edge in found], dtype=np.int64)
    target_J = np.array([edge[1] for edge in found], dtype=np.int64)
    weight_J = np.array([edge[2] for edge in found], dtype=np.float32)
    if mode == "mask":
        return EdgeList(regulators, len(genes), regulator_J, target_J, weight_J, np.zeros_like(weight_J))
    weight_RG = np.zeros((len(regulators), len(genes)), dtype=np.float32)
    if mode == "bias":
        weight_RG[regulator_J, target_J] = weight_J
    own_RG = np.zeros_like(weight_RG, dtype=bool)  # a regulator does not read its own expression
    for index, regulator in enumerate(regulators):
        if regulator in position:
            own_RG[index, position[regulator]] = True
    regulator_J, target_J = np.nonzero(~own_RG)
    weight_J = weight_RG[regulator_J, target_J]
    return EdgeList(regulators, len(genes), regulator_J, target_J, weight_J, np.abs(weight_J))
