"""What is learnt to read a language model at a prompt: its trunk stays as it is, the prompt's positions change.

A text's keys and values come from the untouched model and need no gradient.  At the positions of the
prompt, from one layer on, each linear layer W x becomes W x + B A x (LoRA, Hu et al. 2021) and each
layer's input is shifted by a learned vector per position (prefix tuning, Li and Liang 2021).  With A
random, B and the shifts zero it reads as the untrained model does.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .base import Base, Sizes

LINEAR = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "o": ("self_attn.o_proj",),
    "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}
"""Linear layers as the graph joins them, of the base model's names."""
MASKED = -1.0e9


@torch.no_grad()
def cached(model: Any, ids: Tensor) -> Tensor:
    """Keys and values [B, layers, 2, key/value heads, S, head size] of texts [B, S], padded on the right."""
    layers = model.model(input_ids=ids, use_cache=True).past_key_values.layers
    return torch.stack([torch.stack([layer.keys, layer.values], 1) for layer in layers], 1)


class Reader(nn.Module):
    """Reads texts, given as their keys and values, at a prompt.

    Tensors of the state by the names of the graph's layers: `layers.3.qkv.a` [rank, in],
    `layers.3.qkv.b` [out, rank], `layers.3.shift` [prompt, H].
    """

    def __init__(
        self, base: Base, prompt: list[int], rank: int = 8, first: int = 10, precision: torch.dtype = torch.float32
    ) -> None:
        """prompt: its token ids; layers below `first` are as they were; precision: of the frozen products."""
        super().__init__()
        self.sizes = Sizes(base)
        self.first = first
        self.precision = precision
        c = self.sizes
        wide = c.heads * c.head_size
        joined = {
            "qkv": (c.hidden, wide + 2 * c.key_value_heads * c.head_size),
            "o": (wide, c.hidden),
            "gate_up": (c.hidden, 2 * c.intermediate),
            "down": (c.intermediate, c.hidden),
        }
        self.learnt = nn.ParameterDict()
        for n in range(first, c.layers):
            self.learnt[_key(f"layers.{n}.shift")] = nn.Parameter(torch.zeros(len(prompt), c.hidden))
            for name, (width, out) in joined.items():
                self.learnt[_key(f"layers.{n}.{name}.a")] = nn.Parameter(torch.randn(rank, width) / math.sqrt(width))
                self.learnt[_key(f"layers.{n}.{name}.b")] = nn.Parameter(torch.zeros(out, rank))
        state = base.state
        embedding = state["model.embed_tokens.weight"]
        self.frozen: dict[str, Tensor] = {
            "embedding": embedding.to(precision),
            "norm": state["model.norm.weight"].float(),
        }
        self.prompt = embedding[torch.tensor(prompt)].float()
        for n in range(c.layers):
            p = f"model.layers.{n}."
            for name, parts in LINEAR.items():
                self.frozen[f"layers.{n}.{name}"] = torch.cat([state[f"{p}{x}.weight"] for x in parts]).to(precision)
            self.frozen[f"layers.{n}.attention"] = state[p + "input_layernorm.weight"].float()
            self.frozen[f"layers.{n}.mlp"] = state[p + "post_attention_layernorm.weight"].float()
        turns = torch.arange(0, c.head_size, 2).float() / c.head_size
        self.frequencies = 1.0 / c.theta**turns

    def _linear(self, x: Tensor, name: str) -> Tensor:
        y = F.linear(x.to(self.precision), self.frozen[name]).float()
        if _key(name + ".a") not in self.learnt:
            return y
        return y + F.linear(F.linear(x, self.learnt[_key(name + ".a")]), self.learnt[_key(name + ".b")])

    def _norm(self, x: Tensor, weight: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.sizes.norm_epsilon) * weight

    def forward(self, cache: Tensor, lengths: Tensor) -> Tensor:
        """Log-probabilities [B, V] of the next token behind text and prompt; lengths [B]: tokens of the texts."""
        state = self._states(cache, lengths)
        return torch.log_softmax(F.linear(state.to(self.precision), self.frozen["embedding"]).float(), -1)

    def _states(self, cache: Tensor, lengths: Tensor) -> Tensor:
        c = self.sizes
        batch, width, size = len(cache), cache.shape[4], len(self.prompt)
        groups = c.heads // c.key_value_heads
        angles = (lengths[:, None] + torch.arange(size))[..., None] * self.frequencies
        angles = torch.cat([angles, angles], -1)[:, None]
        cos, sin = angles.cos(), angles.sin()

        def rotary(x: Tensor) -> Tensor:
            left, right = x.chunk(2, -1)
            return x * cos + torch.cat([-right, left], -1) * sin

        mask = torch.zeros(batch, 1, 1, size, width + size)
        padding = torch.arange(width)[None] >= lengths[:, None]
        mask[..., :width].masked_fill_(padding[:, None, None, None], MASKED)
        mask[..., width:] = torch.triu(torch.full((size, size), MASKED), 1)
        x = self.prompt[None].expand(batch, size, c.hidden)
        wide, narrow = c.heads * c.head_size, c.key_value_heads * c.head_size
        for n in range(c.layers):
            p = f"layers.{n}."
            if _key(p + "shift") in self.learnt:
                x = x + self.learnt[_key(p + "shift")]
            joined = self._linear(self._norm(x, self.frozen[p + "attention"]), p + "qkv")
            q, k, v = (
                part.view(batch, size, -1, c.head_size).transpose(1, 2)
                for part in joined.split([wide, narrow, narrow], -1)
            )
            keys = torch.cat([cache[:, n, 0].float(), rotary(k)], 2)
            values = torch.cat([cache[:, n, 1].float(), v], 2)
            q = rotary(q).reshape(batch, c.key_value_heads, groups * size, c.head_size)
            scores = (q @ keys.transpose(-1, -2) / math.sqrt(c.head_size)).view(
                batch, c.key_value_heads, groups, size, -1
            )
            share = (scores + mask).softmax(-1).view(batch, c.key_value_heads, groups * size, -1)
            heads = (share @ values).reshape(batch, c.heads, size, c.head_size)
            x = x + self._linear(heads.transpose(1, 2).reshape(batch, size, wide), p + "o")
            gate, up = self._linear(self._norm(x, self.frozen[p + "mlp"]), p + "gate_up").chunk(2, -1)
            x = x + self._linear(F.silu(gate) * up, p + "down")
        return self._norm(x[:, -1], self.frozen["norm"])

    def tensors(self) -> dict[str, Tensor]:
        """What was learnt, by the graph's names."""
        return {_name(key): value.detach().float().contiguous() for key, value in self.learnt.items()}

    def take(self, tensors: dict[str, Tensor]) -> None:
        """Continue from what `tensors` gave.  ValueError if it is of another shape."""
        theirs = {_key(name): value for name, value in tensors.items()}
        if {k: v.shape for k, v in theirs.items()} != {k: v.shape for k, v in self.learnt.items()}:
            raise ValueError("this reader was trained for another model, prompt, rank or first layer")
        with torch.no_grad():
            for key, value in theirs.items():
                self.learnt[key].copy_(value)


def _key(name: str) -> str:
    """Names of parameters have no dots."""
    return name.replace(".", "-")


def _name(key: str) -> str:
    return key.replace("-", ".")


def reader_of(
    base: Base, prompt: list[int], tensors: dict[str, Tensor], precision: torch.dtype = torch.float32
) -> Reader:
    """The reader that has these tensors."""
    first = min(int(name.split(".")[1]) for name in tensors)
    rank = next(len(value) for name, value in tensors.items() if name.endswith(".a"))
    reader = Reader(base, prompt, rank, first, precision)
    reader.take(tensors)
    return reader


def write(path: Path, tensors: dict[str, Tensor], told: dict[str, object]) -> None:
    """Write a reader's tensors as safetensors, with what a manifest tells of its training."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    save_file(tensors, str(partial), metadata={"training": json.dumps(told)})
    partial.replace(path)


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Tensors and what is told of them, as `write` wrote them."""
    with safe_open(str(path), "pt") as file:
        told = json.loads((file.metadata() or {}).get("training", "{}"))
        return {name: file.get_tensor(name) for name in file.keys()}, told  # noqa: SIM118


def rescaled(tensors: dict[str, Tensor], columns: dict[str, np.ndarray], sizes: Sizes) -> dict[str, Tensor]:
    """The same for a base whose weights `prompted.smoothed` scaled by `columns`."""
    result = dict(tensors)
    for n in sorted({int(name.split(".")[1]) for name in tensors}):
        p = f"layers.{n}."
        for name in LINEAR:
            result[f"{p}{name}.a"] = result[f"{p}{name}.a"] * torch.from_numpy(columns[p + name])
        groups = (sizes.key_value_heads, sizes.heads // sizes.key_value_heads, sizes.head_size)
        outputs = {"qkv": columns[p + "o"].reshape(groups)[:, 0].flatten(), "gate_up": columns[p + "down"]}
        for name, scale in outputs.items():
            value = result[f"{p}{name}.b"].clone()
            value[-len(scale) :] /= torch.from_numpy(scale)[:, None]
            result[f"{p}{name}.b"] = value
    return result
