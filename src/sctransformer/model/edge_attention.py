"""Attention along the edges of a network, at the cost of its edges instead of genes x regulators.

A key is the value of a gene (or regulator), a query a learned constant. With keys `E_k + v V_k` for a value v, score
and message of an edge are affine in v, so an edge needs three numbers, whatever the width of the tokens:

    output = sqrt(n) * sum over edges of p * (weight * v),  p = softmax over edges of (score + slope * v)

which is softmax attention (Vaswani et al. 2017, arXiv:1706.03762, section 3.2.1) restricted to the network, for n edges
of a query. With score = slope = 0, as at the start, it is the signed mean of the values times sqrt(n): the estimate of
activity known as the univariate sum (decoupler, Badia-i-Mompel et al. 2022, Bioinformatics Advances 2:vbac016).
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import softplus

from sctransformer.model.layers import INITIAL_SCALE
from sctransformer.prior.bias import CLOSED

LENGTHS = (1, 2, 3, 4, 6, 8)
"""Queries are computed together in padded lists of this number of edges, and so on by GROWTH: few operators, and little
padding."""
GROWTH = 1.35
LARGEST_SCORE = 30.0
"""Scores are cut off here; exp stays finite."""
EPSILON = 1e-30
"""Added to the sum of exp, which is 0 if no key is shown; small beside exp of the lowest scores."""


class Bucket(NamedTuple):
    """Queries with about the same number of edges, padded to the same length."""

    query_Q: Tensor
    """Positions of the queries."""
    key_QJ: Tensor
    """Position of the key of each edge; 0 for padding."""
    edge_QJ: Tensor
    """Position of each edge; 0 for padding."""
    open_QJ: Tensor
    """1 for an edge, 0 for padding."""


class EdgeNumbers(NamedTuple):
    """The numbers of the edges of a bucket, queries x edges."""

    score_QJ: Tensor
    """With the prior; -10,000 for padding, whose attention weight is then exactly 0."""
    slope_QJ: Tensor
    weight_QJ: Tensor


class EdgeAttention(nn.Module):
    """Each query attends to the keys of its edges. A query without edges gets zero.

    Args:
        query_J, key_J: positions of the two ends of each edge.
        n_queries: number of queries.
        weight_J: initial weight of each edge.
        bias_J: prior of the scores, constant; None: zero.
        learns_scale: whether the strength of `bias_J` is learned.
    """

    start_J: Tensor
    bias_J: Tensor
    order_Q: Tensor
    raw_scale: nn.Parameter | None

    def __init__(
        self,
        query_J: NDArray[np.int64],
        key_J: NDArray[np.int64],
        n_queries: int,
        weight_J: NDArray[np.float32],
        bias_J: NDArray[np.float32] | None = None,
        learns_scale: bool = False,
    ) -> None:
        super().__init__()
        self.n_queries = n_queries
        self.score_J = nn.Parameter(torch.zeros(len(key_J)))
        self.slope_J = nn.Parameter(torch.zeros(len(key_J)))
        self.weight_J = nn.Parameter(torch.as_tensor(weight_J, dtype=torch.float32).clone())
        self.register_buffer("start_J", self.weight_J.detach().clone())
        self.register_buffer("bias_J", torch.zeros(len(key_J)) if bias_J is None else torch.as_tensor(bias_J).clone())
        initial = float(np.log(np.expm1(INITIAL_SCALE)))  # inverse of softplus
        self.raw_scale = nn.Parameter(torch.tensor(initial)) if learns_scale else None
        self._sizes: list[int] = []
        order = []
        for number, bucket in enumerate(buckets(query_J, key_J)):
            for name, values in bucket._asdict().items():
                self.register_buffer(f"_{name}_{number}", values, persistent=False)
            order.append(bucket.query_Q)
            self._sizes.append(len(bucket.query_Q))
        queries = torch.cat(order) if order else torch.zeros(0, dtype=torch.int64)
        place_Q = torch.full((n_queries,), len(queries), dtype=torch.int64)  # beyond the last: zero
        place_Q[queries] = torch.arange(len(queries))
        self.register_buffer("order_Q", place_Q, persistent=False)

    @property
    def scale(self) -> Tensor | None:
        """Strength of the prior of the scores, not negative; None if it is not learned."""
        return None if self.raw_scale is None else softplus(self.raw_scale)

    def forward(self, value_KN: Tensor, shown_KN: Tensor | None = None) -> Tensor:
        """Attend.

        Args:
            value_KN: value of each key, keys x cells: with the cells last, gathered rows are contiguous.
            shown_KN: 1 for a key that is shown, 0 for one that must not be read, keys x cells (or 1); None: all are.

        Returns:
            Output, queries x cells.
        """
        parts = [self._attend(number, value_KN, shown_KN) for number in range(len(self._sizes))]
        output_QN = torch.cat([*parts, value_KN.new_zeros(1, value_KN.shape[1])])
        return output_QN.index_select(0, self.order_Q)

    def _attend(self, number: int, value_KN: Tensor, shown_KN: Tensor | None) -> Tensor:
        bucket, edges = self._bucket(number), self._constants(number)
        value_QJN = _rows(value_KN, bucket.key_QJ)
        score_QJN = edges.score_QJ[:, :, None] + edges.slope_QJ[:, :, None] * value_QJN
        p_QJN = score_QJN.clamp(max=LARGEST_SCORE).exp()
        if shown_KN is None:
            root_QN = bucket.open_QJ.sum(dim=1, keepdim=True).sqrt()
        else:
            shown_QJN = _rows(shown_KN, bucket.key_QJ)
            p_QJN = p_QJN * shown_QJN
            root_QN = (shown_QJN * bucket.open_QJ[:, :, None]).sum(dim=1).sqrt()
        message_QJN = edges.weight_QJ[:, :, None] * value_QJN
        return (p_QJN * message_QJN).sum(dim=1) / (p_QJN.sum(dim=1) + EPSILON) * root_QN

    def attention_weights(self, value_KN: Tensor, shown_KN: Tensor | None = None) -> Tensor:
        """The attention weight p of each edge in each cell, edges x cells; the weights of a query add up to 1."""
        weight_JN = value_KN.new_zeros(len(self.score_J), value_KN.shape[1])
        for number in range(len(self._sizes)):
            bucket, edges = self._bucket(number), self._constants(number)
            value_QJN = _rows(value_KN, bucket.key_QJ)
            p_QJN = (edges.score_QJ[:, :, None] + edges.slope_QJ[:, :, None] * value_QJN).clamp(max=LARGEST_SCORE).exp()
            if shown_KN is not None:
                p_QJN = p_QJN * _rows(shown_KN, bucket.key_QJ)
            is_edge_QJ = bucket.open_QJ > 0
            weight_JN[bucket.edge_QJ[is_edge_QJ]] = (p_QJN / (p_QJN.sum(dim=1, keepdim=True) + EPSILON))[is_edge_QJ]
        return weight_JN

    def n_shown(self, shown_KN: Tensor) -> Tensor:
        """Number of shown keys of each query, queries x cells (or 1)."""
        parts = [
            (_rows(shown_KN, bucket.key_QJ) * bucket.open_QJ[:, :, None]).sum(dim=1)
            for bucket in map(self._bucket, range(len(self._sizes)))
        ]
        return torch.cat([*parts, shown_KN.new_zeros(1, shown_KN.shape[1])])[self.order_Q]

    def departure_J(self) -> Tensor:
        """How far the weight of each edge is from the network's."""
        return self.weight_J - self.start_J

    @torch.no_grad()
    def constants(self) -> list[tuple[Bucket, EdgeNumbers]]:
        """The buckets, and the numbers of their edges, for an exported graph."""
        return [(self._bucket(number), self._constants(number)) for number in range(len(self._sizes))]

    def _constants(self, number: int) -> EdgeNumbers:
        bucket = self._bucket(number)
        bias_J = self.bias_J if self.scale is None else self.scale * self.bias_J
        closed_QJ = (1.0 - bucket.open_QJ) * CLOSED
        return EdgeNumbers(
            _rows(self.score_J + bias_J, bucket.edge_QJ) * bucket.open_QJ + closed_QJ,
            _rows(self.slope_J, bucket.edge_QJ) * bucket.open_QJ,
            _rows(self.weight_J, bucket.edge_QJ) * bucket.open_QJ,
        )

    def _bucket(self, number: int) -> Bucket:
        names = Bucket._fields
        query_Q, key_QJ, edge_QJ, open_QJ = (getattr(self, f"_{name}_{number}") for name in names)
        return Bucket(query_Q, key_QJ, edge_QJ, open_QJ)


def buckets(query_J: NDArray[np.int64], key_J: NDArray[np.int64]) -> list[Bucket]:
    """Group the queries by number of edges.

    Args:
        query_J, key_J: the two ends of each edge.

    Returns:
        Buckets with growing numbers of edges; queries without edges are in none.
    """
    order_J = np.argsort(query_J, kind="stable")
    queries, starts, counts = np.unique(query_J[order_J], return_index=True, return_counts=True)
    length_Q = np.array([_padded_length(count) for count in counts], dtype=np.int64)
    found = []
    for length in np.unique(length_Q):
        rows = np.flatnonzero(length_Q == length)
        place_QJ = np.arange(length)[None, :]
        open_QJ = place_QJ < counts[rows][:, None]
        edge_QJ = order_J[np.where(open_QJ, starts[rows][:, None] + place_QJ, 0)]
        edge_QJ = np.where(open_QJ, edge_QJ, 0)
        key_QJ = np.where(open_QJ, key_J[edge_QJ], 0)
        arrays = (queries[rows], key_QJ, edge_QJ)
        query_Q, keys_QJ, edges_QJ = (torch.as_tensor(values) for values in arrays)
        found.append(Bucket(query_Q, keys_QJ, edges_QJ, torch.as_tensor(open_QJ).float()))
    return found


def _padded_length(count: int) -> int:
    for length in LENGTHS:
        if count <= length:
            return length
    length = LENGTHS[-1]
    while length < count:
        length = math.ceil(length * GROWTH)
    return length


def _rows(values: Tensor, positions_QJ: Tensor) -> Tensor:
    """Rows of a matrix or vector; `index_select` has a faster backward pass than indexing."""
    return values.index_select(0, positions_QJ.flatten()).view(*positions_QJ.shape, *values.shape[1:])
