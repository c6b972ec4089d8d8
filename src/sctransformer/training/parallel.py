"""Data parallelism: replicated weights (DDP), or weights sharded over processes (FSDP2)."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from sctransformer.errors import UserError
from sctransformer.model import ActivityTransformer, Model
from sctransformer.model.activity import ActivityDecoder
from sctransformer.model.decoder import ExpressionDecoder
from sctransformer.training.distributed import ProcessGroup


def apply_fsdp(
    model: Model,
    decoder: ExpressionDecoder | ActivityDecoder | None,
    group: ProcessGroup,
    device: torch.device,
) -> None:
    """Shard the weights of tokens, layers, readout and decoder in place.

    Parameters that are read outside the forward pass of their module are replicated: the classifier, whose penalty is
    part of the objective, and the decoder's value of hidden genes. See
    https://docs.pytorch.org/docs/stable/distributed.fsdp.fully_shard.html.
    """
    if isinstance(model, ActivityTransformer):
        raise UserError("train.shared_weights: a model of direction targets is small; set train.shared_weights=false.")
    mesh = init_device_mesh(device.type, (group.size,))
    for unit in (model.tokens, *model.layers, model.readout):
        fully_shard(unit, mesh=mesh)
    if isinstance(decoder, ExpressionDecoder):
        fully_shard(decoder, mesh=mesh, ignored_params={decoder.hidden_value_D})


def apply_ddp(module: nn.Module, group: ProcessGroup) -> nn.Module:
    """Wrap a module so that gradients are averaged over processes; unchanged for a single process."""
    if group.size == 1:
        return module
    return DistributedDataParallel(module, forward_sync_buffers=False, gradient_as_bucket_view=True)


def gradient_sync(module: nn.Module, enabled: bool) -> AbstractContextManager[None]:
    """The context of a backward pass, in which gradients are synchronized or accumulated.

    Args:
        module: wrapped by DDP or sharded by FSDP.
        enabled: True for the last backward pass of a batch.
    """
    if isinstance(module, DistributedDataParallel) and not enabled:
        return module.no_sync()
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.set_requires_gradient_sync(enabled, recurse=False)
    return nullcontext()


def reshard(module: nn.Module) -> None:
    """Free the unsharded parameters that FSDP keeps after a forward pass."""
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.reshard()


def average_replicated_gradients(parameters: Iterable[nn.Parameter], group: ProcessGroup) -> None:
    """Average the gradients of the parameters that FSDP does not shard; FSDP averages the others."""
    for parameter in parameters:
        if not isinstance(parameter, DTensor) and parameter.grad is not None:
            parameter.grad.copy_(group.sum(parameter.grad) / group.size)


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float) -> float:
    """Clip the norm of all gradients together and return it, the same on all processes.

    torch's `clip_grad_norm_` does not take sharded and replicated parameters together.
    """
    with_gradient = [parameter for parameter in parameters if parameter.grad is not None]
    kinds = [[one for one in with_gradient if isinstance(one, DTensor) == sharded] for sharded in (False, True)]
    kinds = [kind for kind in kinds if kind]
    norms = [_full(get_total_norm([cast(Tensor, parameter.grad) for parameter in kind])) for kind in kinds]
    norm = norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms))
    for kind in kinds:
        clip_grads_with_norm_(kind, max_norm, norm)
    return float(norm)


def _full(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
