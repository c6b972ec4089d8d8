"""Attention with a prior of learned strength, as fast as with a constant prior.

If the bias needs a gradient, torch does not use its fast attention kernel on the CPU, since that kernel does not store
the attention weights. The gradient of a head's scale needs them only where the prior is not zero. There they are
recomputed from the scores and the log-sum-exp of the row, which the kernel returns:

    d loss / d scale = sum over edges of weight * p * (d_out . value - d_out . out),  p = exp(score - log-sum-exp)

(the softmax backward pass of FlashAttention, Dao et al. 2022, https://arxiv.org/abs/2205.14135, algorithm 4, restricted
to the edges). The network is sparse, so this costs little; `pipelines.speed.scaled_prior` measures it.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

EDGES_PER_CHUNK = 4096
"""Number of edges whose attention weights are recomputed together; it bounds memory."""

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def attention_with_scaled_prior(
    query_NHGd: Tensor, key_NHSd: Tensor, value_NHSd: Tensor, scale_H: Tensor, prior_HGS: Tensor
) -> Tensor:
    """Softmax attention with `scale_H * prior_HGS` added to the scores.

    Args:
        query_NHGd, key_NHSd, value_NHSd: cells x heads x genes (or keys) x (width / heads).
        scale_H: trained, one per head.
        prior_HGS: heads x genes x keys, constant; zero where the network has no edge.

    Returns:
        Attention output, cells x heads x genes x (width / heads).
    """
    on_cpu = query_NHGd.device.type == "cpu" and query_NHGd.dtype in (torch.float32, torch.float64)
    if on_cpu and scale_H.requires_grad and torch.is_grad_enabled():
        output_NHGd: Tensor = _ScaledPriorAttention.apply(query_NHGd, key_NHSd, value_NHSd, scale_H, prior_HGS)
        return output_NHGd
    bias_NHGS = (scale_H[:, None, None] * prior_HGS)[None].to(query_NHGd.dtype)
    return scaled_dot_product_attention(query_NHGd, key_NHSd, value_NHSd, attn_mask=bias_NHGS)


class _ScaledPriorAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query_NHGd: Tensor, key_NHSd: Tensor, value_NHSd: Tensor, scale_H: Tensor, prior_HGS: Tensor
    ) -> Tensor:
        bias_NHGS = (scale_H[:, None, None] * prior_HGS)[None]
        output_NHGd, logsumexp_NHG = _flash(query_NHGd, key_NHSd, value_NHSd, 0.0, False, attn_mask=bias_NHGS)
        ctx.save_for_backward(query_NHGd, key_NHSd, value_NHSd, output_NHGd, logsumexp_NHG, bias_NHGS, prior_HGS)
        return output_NHGd

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query_NHGd, key_NHSd, value_NHSd, output_NHGd, logsumexp_NHG, bias_NHGS, prior_HGS = ctx.saved_tensors
        d_output_NHGd = gradients[0].contiguous()
        d_query, d_key, d_value = _flash_backward(
            d_output_NHGd, query_NHGd, key_NHSd, value_NHSd, output_NHGd, logsumexp_NHG, 0.0, False, attn_mask=bias_NHGS
        )
        d_scale_H = None
        if ctx.needs_input_grad[3]:
            d_scale_H = prior_HGS.new_zeros(prior_HGS.shape[0])
            output_product_NHG = (d_output_NHGd * output_NHGd).sum(-1)
            factor = query_NHGd.shape[-1] ** -0.5
            for edges in prior_HGS.nonzero().split(EDGES_PER_CHUNK):
                head_J, row_J, column_J = edges.unbind(1)
                score_NJ = (query_NHGd[:, head_J, row_J] * key_NHSd[:, head_J, column_J]).sum(-1) * factor
                weight_NJ = (score_NJ + bias_NHGS[0, head_J, row_J, column_J] - logsumexp_NHG[:, head_J, row_J]).exp()
                value_product_NJ = (d_output_NHGd[:, head_J, row_J] * value_NHSd[:, head_J, column_J]).sum(-1)
                d_score_J = (weight_NJ * (value_product_NJ - output_product_NHG[:, head_J, row_J])).sum(0)
                d_scale_H.index_add_(0, head_J, d_score_J * prior_HGS[head_J, row_J, column_J])
        return d_query, d_key, d_value, d_scale_H, None
