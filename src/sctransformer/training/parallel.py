"""How processes share a phase: each holds all weights (DDP), or each a part of every weight (FSDP2)."""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from sctransformer.model import PriorBiasedTransformer
from sctransformer.model.decoder import ExpressionDecoder
from sctransformer.training.distributed import World


def apply_fsdp(
    model: PriorBiasedTransformer, decoder: ExpressionDecoder | None, world: World, device: torch.device
) -> None:
    """Leave to each process a part of the weights of tokens, layers, readout and decoder, from here on.

    What is read outside the forward pass of its module stays whole on every process: the classifier, whose penalty is
    part of the objective, and the value of hidden genes. See https://docs.pytorch.org/docs/stable/distributed.fsdp.fully_shard.html.
    """
    mesh = init_device_mesh(device.type, (world.size,))
    for unit in (model.tokens, *model.layers, model.readout):
        fully_shard(unit, mesh=mesh)
    if decoder is not None:
        fully_shard(decoder, mesh=mesh, ignored_params={decoder.hidden_value_D})


def apply_ddp(module: nn.Module, world: World) -> nn.Module:
    """The module, whose gradients are averaged over processes that hold all weights."""
    if world.size == 1:
        return module
    return DistributedDataParallel(module, forward_sync_buffers=False, gradient_as_bucket_view=True)


def gradient_sync(module: nn.Module, exchange: bool) -> AbstractContextManager[None]:
    """The context of a backward pass after which gradients are exchanged, or kept here until one after which they are.

    Args:
        module: what the loop calls, wrapped by DDP or sharded by FSDP.
        exchange: whether this pass is the last of its batch.
    """
    if isinstance(module, DistributedDataParallel) and not exchange:
        return module.no_sync()
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.set_requires_gradient_sync(exchange, recurse=False)
    return nullcontext()


def average_whole_gradients(parameters: Iterable[nn.Parameter], world: World) -> None:
    """Average over processes the gradients of weights that are not shared out; FSDP does so for the others."""
    for parameter in parameters:
        if not isinstance(parameter, DTensor) and parameter.grad is not None:
            parameter.grad.copy_(world.total(parameter.grad) / world.size)


def clip_gradients(parameters: Iterable[nn.Parameter], most: float) -> float:
    """Scale gradients down to a norm of at most `most`; gives the norm they had, the same on all processes."""
    held = [parameter for parameter in parameters if parameter.grad is not None]
    kinds = [[parameter for parameter in held if isinstance(parameter, DTensor) == shared] for shared in (False, True)]
    kinds = [kind for kind in kinds if kind]
    norms = [whole(get_total_norm([cast(Tensor, parameter.grad) for parameter in kind])) for kind in kinds]
    norm = norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms))
    for kind in kinds:
        clip_grads_with_norm_(kind, most, norm)
    return float(norm)


def whole(tensor: Tensor) -> Tensor:
    """The tensor, put together from all processes where it is shared out; all of them must call."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def whole_weights(module: nn.Module) -> dict[str, Tensor]:
    """A module's tensors, whole, detached, on the CPU."""
    return {name: whole(tensor.detach()).cpu().clone() for name, tensor in module.state_dict().items()}


def load_whole_weights(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put whole tensors into a module, each process those parts of them that it holds."""
    own = module.state_dict()
    module.load_state_dict({name: part_of(tensor, own[name]) for name, tensor in weights.items()})


def part_of(tensor: Tensor, like: Tensor) -> Tensor:
    """The part of a whole tensor that this process holds of `like`."""
    if not isinstance(like, DTensor):
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
