"""Low-rank adapters (peft) on the trunk, and the plain model that they amount to."""

from __future__ import annotations

import torch

from .model import SparseEncoder

TARGETS = ["q", "k", "v", "o", "gate", "up", "down"]


def inject(model: SparseEncoder, rank: int, alpha: float) -> None:
    """Put adapters on every linear layer of the trunk; its own weights no longer train, the head's still do."""
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=TARGETS)
    inject_adapter_in_model(config, model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name or not name.startswith("layers."))


@torch.no_grad()
def merged(model: SparseEncoder) -> SparseEncoder:
    """A plain SparseEncoder with the adapters added to the weights they adapt; `model` itself stays as it is."""
    plain = SparseEncoder(model.config)
    state = {}
    modules = dict(model.named_modules())
    for name, tensor in model.state_dict().items():
        if ".lora_" in name:
            continue
        owner = name.removesuffix(".base_layer.weight")
        value = tensor.detach().clone()
        if owner != name:
            value += modules[owner].get_delta_weight("default").to(value.dtype)
        state[name.replace(".base_layer.", ".")] = value
    plain.load_state_dict(state)
    return plain
