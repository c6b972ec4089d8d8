"""Attention with a prior whose strength is learned, at the speed of attention with a constant one.

A bias that needs a gradient pushes torch off its fast attention kernel on the CPU, because that kernel never writes the
attention weights down. The gradient of a head's scale needs them only where the prior is not zero, and there they can
be had again from the scores and the row's log-sum-exp, which the kernel does return:

    d loss / d scale = sum over edges of weight * p * (d_out . value - d_out . out),  p = exp(score - log-sum-exp)

(the softmax backward pass of FlashAttention, Dao et al. 2022, https://arxiv.org/abs/2205.14135, algorithm 4, restricted
to the edges). The network is sparse, so this costs little; `pipelines/speed` measures it.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

EDGES_AT_A_TIME = 4096
"""Edges whose attention weights are computed again together: memory, not results."""

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def attention_with_scaled_prior(
    query_NHGd: Tensor, key_NHSd: Tensor, value_NHSd: Tensor, scale_H: Tensor, prior_HGS: Tensor
) -> Tensor:
    """Softmax attention with `scale_H * prior_HGS` added to the scores.

    Args:
        query_NHGd, key_NHSd, value_NHSd: cells x heads x genes (or keys) x (width / heads).
        scale_H: one number a head, trained.
        prior_HGS: heads x genes x keys, constant; zero where the network has no edge.

    Returns:
        What each gene read, cells x heads x genes x (width / heads).
    """
    on_cpu = query_NHGd.device.type == "cpu" and query_NHGd.dtype in (torch.float32, torch.float64)
    if on_cpu and scale_H.requires_grad and torch.is_grad_enabled():
        read_NHGd: Tensor = _ScaledPriorAttention.apply(query_NHGd, key_NHSd, value_NHSd, scale_H, prior_HGS)
        return read_NHGd
    bias_NHGS = (scale_H[:, None, None] * prior_HGS)[None].to(query_NHGd.dtype)
    return scaled_dot_product_attention(query_NHGd, key_NHSd, value_NHSd, attn_mask=bias_NHGS)


class _ScaledPriorAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query_NHGd: Tensor, key_NHSd: Tensor, value_NHSd: Tensor, scale_H: Tensor, prior_HGS: Tensor
    ) -> Tensor:
        bias_NHGS = (scale_H[:, None, None] * prior_HGS)[None]
        read_NHGd, logsumexp_NHG = _flash(query_NHGd, key_NHSd, value_NHSd, 0.0, False, attn_mask=bias_NHGS)
        ctx.save_for_backward(query_NHGd, key_NHSd, value_NHSd, read_NHGd, logsumexp_NHG, bias_NHGS, prior_HGS)
        return read_NHGd

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query_NHGd, key_NHSd, value_NHSd, read_NHGd, logsumexp_NHG, bias_NHGS, prior_HGS = ctx.saved_tensors
        d_read_NHGd = gradients[0].contiguous()
        d_query, d_key, d_value = _flash_backward(
            d_read_NHGd, query_NHGd, key_NHSd, value_NHSd, read_NHGd, logsumexp_NHG, 0.0, False, attn_mask=bias_NHGS
        )
        d_scale_H = None
        if ctx.needs_input_grad[3]:
            d_scale_H = prior_HGS.new_zeros(prior_HGS.shape[0])
            inner_NHG = (d_read_NHGd * read_NHGd).sum(-1)
            factor = query_NHGd.shape[-1] ** -0.5
            for edges in prior_HGS.nonzero().split(EDGES_AT_A_TIME):
                head_E, row_E, column_E = edges.unbind(1)
                score_NE = (query_NHGd[:, head_E, row_E] * key_NHSd[:, head_E, column_E]).sum(-1) * factor
                weight_NE = (score_NE + bias_NHGS[0, head_E, row_E, column_E] - logsumexp_NHG[:, head_E, row_E]).exp()
                pull_NE = (d_read_NHGd[:, head_E, row_E] * value_NHSd[:, head_E, column_E]).sum(-1)
                d_score_E = (weight_NE * (pull_NE - inner_NHG[:, head_E, row_E])).sum(0)
                d_scale_H.index_add_(0, head_E, d_score_E * prior_HGS[head_E, row_E, column_E])
        return d_query, d_key, d_value, d_scale_H, None
