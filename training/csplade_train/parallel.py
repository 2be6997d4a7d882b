"""Several processes as one: FSDP over the layers, the batch divided, in-batch negatives shared.

Started by `accelerate launch` (or torchrun), one process a device; alone, nothing
here does anything.  Every process computes the loss of the whole batch, from its
own texts with gradient and the others' without: the sum of all processes' gradients
is then the gradient of the whole batch, the same as in one process.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from .model import SparseEncoder


@dataclass(frozen=True)
class Processes:
    """This process's place: rank of count, and its device."""

    rank: int = 0
    count: int = 1
    device: str = "cpu"

    def any(self, flag: bool) -> bool:
        """True in every process if true in one; all must ask."""
        if self.count == 1:
            return flag
        said = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(said)
        return bool(said > 0)

    def share(self, rows: list[Any]) -> list[Any]:
        """This process's part of a batch; the batch must divide evenly."""
        if len(rows) % self.count:
            raise ValueError(f"a batch of {len(rows)} does not divide among {self.count} processes")
        part = len(rows) // self.count
        return rows[self.rank * part : (self.rank + 1) * part]


def start(device: str) -> Processes:
    """Join the group that accelerate or torchrun set up in the environment, or be alone."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if not (dist.is_initialized() or int(os.environ.get("WORLD_SIZE", "1")) > 1):
        return Processes(device=device)
    if not dist.is_initialized():
        from accelerate import PartialState

        device = str(PartialState(cpu=device == "cpu").device)
    return Processes(dist.get_rank(), dist.get_world_size(), device)


def shard(model: SparseEncoder, processes: Processes) -> None:
    """Divide each layer's weights among the processes; embeddings and head stay whole in each."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(processes.device.split(":")[0], (processes.count,))
    for layer in model.layers:
        fully_shard(layer, mesh=mesh)


def gathered(z: Tensor, processes: Processes) -> Tensor:
    """All processes' rows [B, V] in order; only this process's carry a gradient."""
    if processes.count == 1:
        return z
    parts = [torch.empty_like(z) for _ in range(processes.count)]
    dist.all_gather(parts, z.detach().contiguous())
    parts[processes.rank] = z
    return torch.cat(parts)


def sum_gradients(parameters: list[Tensor], processes: Processes) -> None:
    """Add up what the processes found.  FSDP has averaged the sharded ones: those are scaled back to sums."""
    if processes.count == 1:
        return
    for p in parameters:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
        if isinstance(p.grad, DTensor):
            p.grad.mul_(processes.count)
        else:
            dist.all_reduce(p.grad)


def clip_norm(parameters: list[Tensor], most: float, processes: Processes) -> float:
    """Scale gradients so that their common norm is at most `most`; returns the norm before."""
    if processes.count == 1:
        return float(torch.nn.utils.clip_grad_norm_(parameters, most))
    squares = torch.zeros(2, device=processes.device)
    for p in parameters:
        if isinstance(p.grad, DTensor):
            squares[0] += p.grad.to_local().float().pow(2).sum()
        elif p.grad is not None:
            squares[1] += p.grad.float().pow(2).sum()
    dist.all_reduce(squares[:1])
    norm = float(squares.sum().sqrt())
    factor = min(1.0, most / (norm + 1e-6))
    for p in parameters:
        if p.grad is not None:
            p.grad.mul_(factor)
    return norm


def whole(tree: Any, keep: bool = True) -> Any:
    """The same nested dictionary or list on the CPU, sharded tensors gathered; all processes must call it.

    keep: False in processes that only take part: they hold one tensor at a time and get empty ones, so that
    a host needs the memory of one model, however many processes it runs.
    """
    if isinstance(tree, DTensor):
        full = tree.full_tensor()
        return full.cpu() if keep else torch.empty(0)
    if isinstance(tree, Tensor):
        return tree.detach().cpu() if keep else torch.empty(0)
    if isinstance(tree, dict):
        return {k: whole(v, keep) for k, v in tree.items()}
    if isinstance(tree, list | tuple):
        return [whole(v, keep) for v in tree]
    return tree


def like(value: Tensor, target: Tensor) -> Tensor:
    """A whole tensor laid out as `target` is."""
    if isinstance(target, DTensor):
        return distribute_tensor(value.to(target.device), target.device_mesh, target.placements)
    return value.to(target.device)


def load_model(model: SparseEncoder, state: dict[str, Tensor]) -> None:
    """Load whole tensors into a model that may be sharded."""
    own = model.state_dict()
    model.load_state_dict({name: like(value, own[name]) for name, value in state.items()})


def load_optimizer(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Load whole moments into an optimizer whose parameters may be sharded."""
    parameters = [p for g in optimizer.param_groups for p in g["params"]]
    state = {
        n: {k: like(v, parameters[n]) if isinstance(v, Tensor) and v.ndim else v for k, v in entry.items()}
        for n, entry in saved["state"].items()
    }
    optimizer.load_state_dict({"state": state, "param_groups": saved["param_groups"]})
