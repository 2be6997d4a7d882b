"""What language models of transformers are to the trunk here: which fit, their sizes, weights, rotary positions.

Weights come under Llama's names and as a plain trunk computes with them: a norm that adds 1 to its weight
has the 1 in it (Gemma 3), and a scale of the scores of attention is in the norm of queries.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

ARCHITECTURES = ("gemma3_text", "llama", "mistral", "qwen2", "qwen3", "smollm3")
"""Language models of transformers that fit, by their model_type."""

LAYER_WEIGHTS = {
    "attention_norm.weight": "input_layernorm.weight",
    "attention.q.weight": "self_attn.q_proj.weight",
    "attention.k.weight": "self_attn.k_proj.weight",
    "attention.v.weight": "self_attn.v_proj.weight",
    "attention.o.weight": "self_attn.o_proj.weight",
    "mlp_norm.weight": "post_attention_layernorm.weight",
    "gate.weight": "mlp.gate_proj.weight",
    "up.weight": "mlp.up_proj.weight",
    "down.weight": "mlp.down_proj.weight",
}
"""Our names of a layer's weights, and Llama's."""

OPTIONAL_WEIGHTS = {
    "attention.q.bias": "self_attn.q_proj.bias",
    "attention.k.bias": "self_attn.k_proj.bias",
    "attention.v.bias": "self_attn.v_proj.bias",
    "attention.q_norm.weight": "self_attn.q_norm.weight",
    "attention.k_norm.weight": "self_attn.k_norm.weight",
    "attention_out_norm.weight": "self_attn.output_norm.weight",
    "mlp_out_norm.weight": "mlp.output_norm.weight",
}
"""The same of what some models have beside: biases (Qwen2), norms of queries and keys (Qwen3), of outputs (Gemma 3)."""

GEMMA_NORMS = {
    "post_attention_layernorm.weight": "self_attn.output_norm.weight",
    "pre_feedforward_layernorm.weight": "post_attention_layernorm.weight",
    "post_feedforward_layernorm.weight": "mlp.output_norm.weight",
}
"""What Gemma 3 calls otherwise than the names above do."""

ACTIVATIONS = {"silu": "silu", "gelu_pytorch_tanh": "gelu_tanh"}
"""What stands behind the gate of an MLP: transformers' name and ours."""


@dataclass(frozen=True)
class Rotary:
    """Rotary positions: angles at position 1 [head_size / 2], and those of the layers that have others."""

    frequencies: list[float]
    scaled: bool = False
    """They are no powers of one base (Llama 3)."""
    factor: float = 1.0
    """Of all cosines and sines."""
    other_frequencies: list[float] | None = None
    """All 0 where those layers have no positions (SmolLM3)."""
    other_layers: tuple[int, ...] = ()


@dataclass(frozen=True)
class TrunkShape:
    """Sizes of a trunk, as `onnx_trunk.stack` asks for them, and its rotary positions."""

    hidden: int
    layers: int
    heads: int
    key_value_heads: int
    head_size: int
    intermediate: int
    norm_epsilon: float
    activation: str = "silu"
    embedding_factor: float = 1.0
    """What embeddings are multiplied by before the first layer (Gemma 3)."""
    windows: tuple[int | None, ...] = field(default=())
    """How many tokens each layer sees at once; None: all."""


def shape_of(config: Any, layers: int | None = None) -> TrunkShape:
    """The shape of a configuration, cut to the first `layers`.  Raises ValueError for what the trunk lacks."""
    c = config
    if c.model_type not in ARCHITECTURES:
        raise ValueError(f"it is a {c.model_type} model; {', '.join(ARCHITECTURES)} architectures fit")
    activation = getattr(c, "hidden_activation", None) or c.hidden_act
    if activation not in ACTIVATIONS:
        raise ValueError(f"its MLPs have {activation}; {', '.join(ACTIVATIONS)} fit")
    if (c.model_type != "qwen2" and getattr(c, "attention_bias", False)) or getattr(c, "mlp_bias", False):
        raise ValueError("it has biases behind attention or in its MLP")
    if any(getattr(c, f"{name}_logit_softcapping", None) for name in ("attn", "final")):
        raise ValueError("it caps its scores softly")
    count = c.num_hidden_layers if layers is None else layers
    if not 0 < count <= c.num_hidden_layers:
        raise ValueError(f"it has {c.num_hidden_layers} layers: --layers must be 1 to {c.num_hidden_layers}")
    return TrunkShape(
        c.hidden_size,
        count,
        c.num_attention_heads,
        c.num_key_value_heads,
        getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads,
        c.intermediate_size,
        c.rms_norm_eps,
        ACTIVATIONS[activation],
        c.hidden_size**0.5 if c.model_type == "gemma3_text" else 1.0,
        windows_of(c)[:count],
    )


def windows_of(c: Any) -> tuple[int | None, ...]:
    """How many tokens each layer of a configuration sees at once; None: all."""
    window = getattr(c, "sliding_window", None) if getattr(c, "use_sliding_window", True) else None
    # Where a configuration does not say which layers slide, all do (Mistral).
    kinds = getattr(c, "layer_types", None) or ["sliding_attention"] * c.num_hidden_layers
    return tuple(window if kind == "sliding_attention" else None for kind in kinds)


def demand_sight(windows: tuple[int | None, ...], longest: int) -> None:
    """Raises ValueError if a text of so many tokens is longer than what a layer sees at once."""
    window = min((w for w in windows if w is not None), default=longest)
    if window < longest:
        raise ValueError(f"texts have up to {longest} tokens, and the model's layers see {window} at once")


def rotary_of(model: Any) -> Rotary:
    """The rotary positions of a loaded model, as transformers computes them."""
    c, module = model.config, model.model.rotary_emb
    if c.model_type != "gemma3_text":
        kind = (getattr(c, "rope_parameters", None) or {}).get("rope_type", "default")
        angles = module.inv_freq.double().tolist()
        without = tuple(n for n, has in enumerate(getattr(c, "no_rope_layers", None) or ()) if not has)
        others = [0.0] * len(angles) if without else None
        return Rotary(angles, kind != "default", float(module.attention_scaling), others, without)

    def angles_of(kind: str) -> list[float]:
        if float(getattr(module, f"{kind}_attention_scaling")) != 1.0:
            raise ValueError("its rotary positions have a factor")
        return getattr(module, f"{kind}_inv_freq").double().tolist()

    kinds = list(c.layer_types)
    usual = "full_attention" if "full_attention" in kinds else "sliding_attention"
    others_are = tuple(n for n, kind in enumerate(kinds) if kind != usual)
    scaled = c.rope_parameters[usual]["rope_type"] != "default"
    other = angles_of("sliding_attention") if others_are else None
    return Rotary(angles_of(usual), scaled, 1.0, other, others_are)


def theta_of(config: Any) -> float:
    """The base of a model's rotary positions; of those of the layers that see everything, if there are two."""
    c = config
    parameters = c.rope_parameters
    parameters = parameters.get("full_attention") or parameters.get("sliding_attention") or parameters
    return float(getattr(c, "rope_theta", None) or parameters["rope_theta"])


def llama_weights(model: Any) -> dict[str, Tensor]:
    """A model's weights, by the names and with the numbers that a Llama would have."""
    state = dict(model.state_dict())
    if model.config.model_type != "gemma3_text":
        return state
    # Heads of queries are normalized: their scores' scale can be there.
    scale = (model.config.head_dim / model.config.query_pre_attn_scalar) ** 0.5
    found = {}
    for name, tensor in state.items():
        value = tensor
        parts = name.split(".", 3)
        rest = parts[-1] if parts[:2] == ["model", "layers"] else ""
        if "norm" in name:
            value = tensor.float() + 1.0
        if rest == "self_attn.q_norm.weight":
            value = value * scale
        found[name.removesuffix(rest) + GEMMA_NORMS.get(rest, rest) if rest else name] = value
    return found
