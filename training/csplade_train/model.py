"""The network: the trunk of a language model with a bidirectional (or echo) mask and a sparse head.

The trunk is that of Llama, Mistral, Qwen2, Qwen3, SmolLM3 or Gemma 3.

Shapes: B texts, S positions, H hidden size, V vocabulary rows.

    trunk_i    = unit RMS state of position i after the last layer       [B, S, H]
    emphasis_i = exp(u . trunk_i + p log(tf_i) + q log(length / 64))     [B, S]
    own_i      = scale[x_i] * M (E[x_i] - mean(E))                       [B, S, H]
    state_i    = trunk_i * norm + (offset + gain[x_i] * emphasis_i) * own_i
    z_t        = max over real i of <state_i, E_t> + bias_t              [B, V]
    w_t        = log(1 + ReLU(z_t))                                      [B, V]

Where the output projection is a table of its own (Llama 3.1 8B), the E of `own` and `z` is that one.

M starts as the regularised inverse covariance of the embeddings and `scale` makes
<M (E_t - mean), E_t> = 1, so that `offset + gain * emphasis` is the height at which
a text's own token stands.  Without M the embeddings are so anisotropic that every
token lights up dozens of unrelated ones; with it the neighbours are inflections
and near synonyms.  A text's own terms are thus active from the first step on, and
a few layers of a deep model suffice.

`emphasis` says how much a word matters here: u reads it from the context, p and q
from how often the token occurs in the text (tf) and how long the text is, which
attention alone learns slowly.  They start at BM25's saturation near its average.
`bias` is learned too; adding it after the maximum is exact, because it does not
depend on i.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .pooling import max_logits

MASKED_BIAS = -1.0e4
"""Bias of a term that must never be active (special tokens, punctuation)."""

LENGTH_UNIT = 64.0
"""Length in tokens at which the length of a text changes no emphasis."""

EMPHASIS_RANGE = (-2.0, 1.5)
"""Bounds of the logarithm of emphasis."""


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the network.  `variant` is "bi" (no causal mask) or "echo" (text fed twice)."""

    vocabulary: int
    hidden: int
    layers: int
    heads: int
    key_value_heads: int
    intermediate: int
    rope_theta: float = 100000.0
    norm_epsilon: float = 1e-5
    variant: str = "bi"
    own_head_size: int | None = None
    """Size of a head; without it hidden / heads."""
    attention_bias: bool = False
    """Queries, keys and values have biases (Qwen2)."""
    head_norms: bool = False
    """Queries and keys are normalized head by head (Qwen3)."""
    tied: bool = True
    """The output projection is the embedding table."""
    rope_frequencies: list[float] | None = None
    """Angles at position 1 [head_size / 2], where they are scaled (Llama 3); without them those of rope_theta."""
    other_layers: list[int] | None = None
    """Layers whose rotary positions are others: near ones (Gemma 3), or none (SmolLM3)."""
    other_frequencies: list[float] | None = None
    """Their angles at position 1; all 0 where they have no positions."""
    activation: str = "silu"
    """Behind the gate of an MLP: silu or gelu_tanh (Gemma 3)."""
    output_norms: bool = False
    """What attention and MLP give is normalized before it is added (Gemma 3)."""
    embedding_factor: float = 1.0
    """What embeddings are multiplied by before the first layer (Gemma 3)."""

    def __post_init__(self) -> None:
        if self.variant not in ("bi", "echo"):
            raise ValueError(f"variant must be 'bi' or 'echo', not {self.variant!r}")
        if self.own_head_size is None and self.hidden % self.heads:
            raise ValueError("hidden must divide by heads")
        if self.heads % self.key_value_heads:
            raise ValueError("heads must divide by key_value_heads")

    @property
    def head_size(self) -> int:
        return self.own_head_size or self.hidden // self.heads

    @property
    def frequencies(self) -> list[float]:
        """Rotary angles at position 1 [head_size / 2]."""
        steps = range(0, self.head_size, 2)
        return self.rope_frequencies or [1.0 / self.rope_theta ** (n / self.head_size) for n in steps]

    @property
    def beyond_weights(self) -> dict[str, object]:
        """What of the trunk no weight and no shape tells, where it is not as Llama 2's."""
        named = ("rope_frequencies", "other_layers", "other_frequencies", "activation", "embedding_factor")
        plain = {f.name: f.default for f in fields(self)}
        return {name: value for name in named if (value := getattr(self, name)) != plain[name]}

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


class RMSNorm(nn.Module):
    """Root-mean-square normalisation over the last axis, computed in float32."""

    def __init__(self, size: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.epsilon) * self.weight


def rotary_tables(positions: Tensor, frequencies: list[float]) -> tuple[Tensor, Tensor]:
    """Cosine and sine tables [B, S, head_size] for integer positions [B, S]."""
    inverse = torch.tensor(frequencies, dtype=torch.float32, device=positions.device)
    angles = positions.float()[..., None] * inverse
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def rotate_half(x: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    return torch.cat([-x[..., half:], x[..., :half]], dim=-1)


class Attention(nn.Module):
    """Grouped-query attention with rotary positions."""

    def __init__(self, c: ModelConfig) -> None:
        super().__init__()
        self.c = c
        wide, narrow = c.heads * c.head_size, c.key_value_heads * c.head_size
        self.q = nn.Linear(c.hidden, wide, bias=c.attention_bias)
        self.k = nn.Linear(c.hidden, narrow, bias=c.attention_bias)
        self.v = nn.Linear(c.hidden, narrow, bias=c.attention_bias)
        self.o = nn.Linear(wide, c.hidden, bias=False)
        self.q_norm = RMSNorm(c.head_size, c.norm_epsilon) if c.head_norms else nn.Identity()
        self.k_norm = RMSNorm(c.head_size, c.norm_epsilon) if c.head_norms else nn.Identity()

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        b, s, _ = x.shape
        c = self.c
        q, k = self.q(x).view(b, s, c.heads, c.head_size), self.k(x).view(b, s, c.key_value_heads, c.head_size)
        q, k = (norm(y).to(y.dtype).transpose(1, 2) for norm, y in ((self.q_norm, q), (self.k_norm, k)))
        v = self.v(x).view(b, s, c.key_value_heads, c.head_size).transpose(1, 2)
        cos, sin = cos[:, None].to(q.dtype), sin[:, None].to(q.dtype)
        q = q * cos + rotate_half(q) * sin
        k = k * cos + rotate_half(k) * sin
        repeat = c.heads // c.key_value_heads
        k = k.repeat_interleave(repeat, dim=1)
        v = v.repeat_interleave(repeat, dim=1)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.o(out.transpose(1, 2).reshape(b, s, c.heads * c.head_size))


def gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"silu": F.silu, "gelu_tanh": gelu_tanh}


class Layer(nn.Module):
    def __init__(self, c: ModelConfig) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[c.activation]
        self.attention_norm = RMSNorm(c.hidden, c.norm_epsilon)
        self.attention = Attention(c)
        self.mlp_norm = RMSNorm(c.hidden, c.norm_epsilon)
        self.gate = nn.Linear(c.hidden, c.intermediate, bias=False)
        self.up = nn.Linear(c.hidden, c.intermediate, bias=False)
        self.down = nn.Linear(c.intermediate, c.hidden, bias=False)
        self.attention_out_norm = RMSNorm(c.hidden, c.norm_epsilon) if c.output_norms else nn.Identity()
        self.mlp_out_norm = RMSNorm(c.hidden, c.norm_epsilon) if c.output_norms else nn.Identity()

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        x = x + self.attention_out_norm(self.attention(self.attention_norm(x), cos, sin, mask))
        h = self.mlp_norm(x)
        return x + self.mlp_out_norm(self.down(self.activation(self.gate(h)) * self.up(h)))


class SparseEncoder(nn.Module):
    """Causal language model turned into a sparse encoder."""

    embedding_mean: Tensor
    embedding_scale: Tensor
    term_mask: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.gradient_checkpointing = False
        self.embedding = nn.Embedding(config.vocabulary, config.hidden)
        self.layers = nn.ModuleList([Layer(config) for _ in range(config.layers)])
        self.norm = RMSNorm(config.hidden, config.norm_epsilon)
        self.head = None if config.tied else nn.Linear(config.hidden, config.vocabulary, bias=False)
        self.skip = nn.Linear(config.hidden, config.hidden, bias=False)
        self.emphasis = nn.Linear(config.hidden, 1, bias=False)
        nn.init.zeros_(self.emphasis.weight)
        self.frequency_power = nn.Parameter(torch.tensor(0.4))
        self.length_power = nn.Parameter(torch.tensor(-0.35))
        self.offset = nn.Parameter(torch.tensor(0.0))
        self.gain = nn.Parameter(torch.zeros(config.vocabulary))
        self.bias = nn.Parameter(torch.zeros(config.vocabulary))
        self.register_buffer("embedding_mean", torch.zeros(config.hidden))
        self.register_buffer("embedding_scale", torch.ones(config.vocabulary))
        self.register_buffer("term_mask", torch.ones(config.vocabulary, dtype=torch.bool))

    def terms(self) -> nn.Parameter:
        """The table [V, H] that states are multiplied with: the output projection."""
        return self.embedding.weight if self.head is None else self.head.weight

    def freeze_skip_statistics(self, ridge: float = 1.0) -> None:
        """Set M = (cov(E) + ridge * mean variance * I)^-1, fix mean(E) and the scales of unit self-product."""
        with torch.no_grad():
            e = self.terms()
            self.embedding_mean.copy_(e.mean(0))
            centred = e - self.embedding_mean
            covariance = centred.T @ centred / len(e)
            size = covariance.diagonal().mean()
            self.skip.weight.copy_(torch.linalg.inv(covariance + ridge * size * torch.eye(len(covariance))) * size)
            own = (self.skip(centred) * e).sum(-1)
            self.embedding_scale.copy_(1.0 / own.clamp_min(0.25 * float(own.median())))

    def output_bias(self) -> Tensor:
        """Bias [V] with the forbidden terms pushed below any logit."""
        return torch.where(self.term_mask, self.bias, torch.full_like(self.bias, MASKED_BIAS))

    def hidden(self, ids: Tensor, attention_mask: Tensor, causal: bool = False) -> tuple[Tensor, Tensor]:
        """States [B, S, H] to be pooled, and their mask [B, S], from ids and mask [B, S].

        causal: as the language model gives them, each position seeing what stands before it, whatever the variant.
        """
        pooled_mask = attention_mask
        s = ids.shape[1]
        echo = self.config.variant == "echo" and not causal
        if echo:
            ids = torch.cat([ids, ids], dim=1)
            attention_mask = torch.cat([attention_mask, attention_mask], dim=1)
        real = attention_mask.bool()
        positions = (attention_mask.cumsum(1) - 1).clamp_min(0)
        n = ids.shape[1]
        allowed = real[:, None, None, :].expand(-1, 1, n, -1)
        if echo or causal:
            allowed = allowed & torch.ones(n, n, dtype=torch.bool, device=ids.device).tril()
        device = ids.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32
        mask = torch.zeros(allowed.shape, dtype=dtype, device=ids.device).masked_fill(~allowed, -1.0e4)
        usual = rotary_tables(positions, self.config.frequencies)
        others = self.config.other_layers or []
        other = rotary_tables(positions, self.config.other_frequencies or []) if others else usual
        embedded = self.embedding(ids)
        x = embedded if self.config.embedding_factor == 1.0 else embedded * self.config.embedding_factor
        for n, layer in enumerate(self.layers):
            cos, sin = other if n in others else usual
            if self.gradient_checkpointing and torch.is_grad_enabled():
                x = checkpoint(layer, x, cos, sin, mask, use_reentrant=False)
            else:
                x = layer(x, cos, sin, mask)
        x, embedded, ids = x[:, -s:], embedded[:, -s:], ids[:, -s:]
        if self.head is not None:
            embedded = F.embedding(ids, self.head.weight)
        with torch.autocast(device, enabled=False):
            trunk = x.float()
            trunk = trunk * torch.rsqrt(trunk.pow(2).mean(-1, keepdim=True) + self.config.norm_epsilon)
            own = self.skip(embedded.float() - self.embedding_mean) * self.embedding_scale[ids][..., None]
            height = self.offset + self.gain[ids] * self.emphases(trunk, ids, pooled_mask)
            return trunk * self.norm.weight + height[..., None] * own, pooled_mask

    def emphases(self, trunk: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """How much each position matters [B, S], > 0, from its state, its token's frequency and the length."""
        same = (ids[:, :, None] == ids[:, None, :]) & mask.bool()[:, None, :]
        frequency = same.sum(-1).clamp_min(1).float().log()
        length = (mask.sum(1, keepdim=True).clamp_min(1).float() / LENGTH_UNIT).log()
        logarithm = self.emphasis(trunk)[..., 0] + self.frequency_power * frequency + self.length_power * length
        return logarithm.clamp(*EMPHASIS_RANGE).exp()

    def pooled(self, ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Pooled logits with bias [B, V], before the activation."""
        states, mask = self.hidden(ids, attention_mask)
        z = max_logits(states, mask, self.terms()) + self.output_bias()
        return torch.where(mask.any(1, keepdim=True), z, torch.full_like(z, MASKED_BIAS))

    def forward(self, ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Term weights [B, V], all >= 0."""
        return torch.log1p(torch.relu(self.pooled(ids, attention_mask)))


def top_terms(weights: Tensor, k: int) -> list[list[tuple[int, float]]]:
    """The k heaviest active terms of each row of [B, V] as (id, weight), heaviest first."""
    values, indices = weights.topk(min(k, weights.shape[1]), dim=1)
    return [
        [(int(i), float(v)) for v, i in zip(row_v.tolist(), row_i.tolist(), strict=True) if v > 0]
        for row_v, row_i in zip(values, indices, strict=True)
    ]
