"""A whole causal language model as a checkpoint: the words that it would write at a prompt.

The model reads a text and a prompt behind it ("Keywords:").  Its next-word distribution there says what
the text is about (PromptReps, Zhuang et al. 2024; TILDE, Zhuang and Zuccon 2021).  With p_r the
probability of row r of the vocabulary, and b_t what is ordinary for the term t that r is a form of,

    m(r) = relu(log p_r - b_t - threshold)        b_t = mean over many texts of max over forms r of t of log p_r

The model is untrained, or what stands at the prompt's positions is learnt (reader.py).
Rows that are no form of a word never weigh.  The output layer runs at one position of a text instead
of all, so a text costs one causal pass of the trunk.  A lexical part (lexicon.py) holds the text's own words.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto
from tokenizers import Tokenizer
from torch import Tensor

from . import tokenizer as tok
from .base import Base, Sizes
from .batches import padded
from .checkpoints import Description, cleared, write_manifest
from .lexicon import Lexicon, TermSpace
from .onnx_graph import ANY, Graph, Target, assembled, save
from .onnx_trunk import Adapt, angles_at, positions_and_bias, stack, unchanged
from .reader import cached, reader_of, rescaled
from .trunk_shape import LAYER_WEIGHTS

ACTIVATION = "relu"
POOLING = "prompt"
TEXT_AGAIN = "{text}"
"""In a prompt: the text once more."""
PROMPT_POSITIONS = 64
"""Positions of the graph beyond the longest text."""
NEVER = 1.0e4
"""Bias of rows that are no words: no log-probability passes it."""


def build(
    base: Base,
    bias: np.ndarray,
    precision: str,
    positions: int,
    columns_scaled: dict[str, np.ndarray] | None = None,
    block: int = 32,
    reader: dict[str, Tensor] | None = None,
    target: Target = ANY,
) -> onnx.ModelProto:
    """The ONNX model: the whole trunk, causal; the output layer at each text's last position.

    bias [V]: what a row's log-probability must exceed; `positions` bounds texts with their prompt;
    columns_scaled: of `smoothed`, for int8; reader: what was learnt for the prompt's positions.
    """
    c = Sizes(base)
    g = Graph(precision, block, target, columns_scaled)

    def weight(name: str) -> np.ndarray | None:
        layers, number, rest = name.split(".", 2)
        theirs = LAYER_WEIGHTS.get(rest)
        return None if theirs is None else _numpy(base, f"model.{layers}.{number}.{theirs}")

    position, mask = positions_and_bias(g, "input_ids", "attention_mask", positions, causal=True)
    angles = angles_at(positions, c.theta ** (-np.arange(0, c.head_size, 2, dtype=np.float64) / c.head_size))
    embedding = _numpy(base, "model.embed_tokens.weight")
    # Texts are padded on the right: their lengths [B, 1] give the last real positions.
    length = g.op("ReduceSum", "attention_mask", g.ints(1), keepdims=1)
    adapt = unchanged if reader is None else _at_prompt(g, reader, length)
    x = stack(g, g.rows("input_ids", "embedding", embedding), weight, c, position, mask, angles, adapt=adapt)
    last = g.op("Max", g.op("Sub", length, g.ints(1)), g.ints(0))
    x = g.op("GatherND", x, last, batch_dims=1)
    norm = g.constant("norm.weight", _numpy(base, "model.norm.weight"))
    x = g.op("SimplifiedLayerNormalization", x, norm, axis=-1, epsilon=c.norm_epsilon)
    logits = g.op("Squeeze", g.projection(g.op("Unsqueeze", x, g.ints(1)), "embedding", embedding), g.ints(1))
    weights = g.op("Sub", g.op("LogSoftmax", logits, axis=-1), g.constant("bias", bias.astype(np.float32)))
    nonempty = g.op("Cast", g.op("Min", length, g.ints(1)), to=TensorProto.FLOAT)
    return assembled(g, "csplade_prompt", g.op("Mul", g.op("Relu", weights), nonempty), c.vocabulary)


def _at_prompt(g: Graph, reader: dict[str, Tensor], length: str) -> Adapt:
    """Adds to the trunk's linear layers and shifts its layers' inputs, at the last positions of texts alone."""
    size = len(next(value for name, value in reader.items() if name.endswith(".shift")))
    running = g.op("CumSum", "attention_mask", g.constant("axis_one", np.array(1, dtype=np.int64)))
    # [B, S]: 1, 2, ... at the prompt's positions, 0 before them; padding counts as the last.
    place = g.op("Max", g.op("Sub", g.op("Add", running, g.ints(size)), length), g.ints(0))
    inside = g.op("Unsqueeze", g.op("Cast", g.op("Min", place, g.ints(1)), to=TensorProto.FLOAT), g.ints(2))

    def adapt(name: str, x: str, y: str) -> str:
        if name + ".a" in reader:
            a, b = (g.constant(f"{name}.{m}", reader[f"{name}.{m}"].numpy().T) for m in "ab")
            return g.op("Add", y, g.op("MatMul", g.op("Mul", g.op("MatMul", x, a), inside), b))
        if name in reader:
            table = np.pad(reader[name].numpy(), ((1, 0), (0, 0)))
            return g.op("Add", y, g.op("Gather", g.constant(name, table), place, axis=0))
        return y

    return adapt


def _numpy(base: Base, name: str) -> np.ndarray:
    return base.state[name].float().numpy()


def causal_model(base: Base) -> Any:
    """The base as transformers' model, ready to read."""
    from transformers import LlamaConfig, LlamaForCausalLM

    c = Sizes(base)
    config = LlamaConfig(
        vocab_size=c.vocabulary, hidden_size=c.hidden, num_hidden_layers=c.layers, num_attention_heads=c.heads,
        num_key_value_heads=c.key_value_heads, intermediate_size=c.intermediate, rms_norm_eps=c.norm_epsilon,
        rope_parameters={"rope_type": "default", "rope_theta": c.theta}, tie_word_embeddings=True,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    model.load_state_dict(base.state, strict=False)
    model.tie_weights()
    return model.eval()


def prompted_rows(base: Base, texts: Sequence[str], prompt: str, limit: int) -> list[list[int]]:
    """Token ids of texts, cut to `limit`, with the prompt's behind them and the text again where it says so."""
    tokenizer = Tokenizer.from_str(base.tokenizer_json)
    parts = _parts(tokenizer, prompt)
    return [[i for part in parts for i in ids + part] for ids in tok.encode_batch(tokenizer, list(texts), limit)]


def _parts(tokenizer: Tokenizer, prompt: str) -> list[list[int]]:
    return [tokenizer.encode(part, add_special_tokens=False).ids for part in prompt.split(TEXT_AGAIN)]


def fitting(tokenizer: Tokenizer, prompt: str, length: int) -> int:
    """Most tokens of a text that a graph for texts of `length` tokens has positions for, as often as it is read."""
    parts = _parts(tokenizer, prompt)
    return min(length, (length + PROMPT_POSITIONS - sum(map(len, parts))) // len(parts))


@torch.no_grad()
def input_maxima(model: Any, rows: Sequence[list[int]]) -> dict[str, Tensor]:
    """Largest magnitude of each input of each linear layer of `model` over texts of token ids."""
    found: dict[str, Tensor] = {}

    def watch(name: str) -> Callable[[torch.nn.Module, tuple[Tensor, ...]], None]:
        def look(_module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
            largest = inputs[0].abs().flatten(0, -2).max(0).values
            found[name] = torch.maximum(found[name], largest) if name in found else largest

        return look

    hooks = [
        m.register_forward_pre_hook(watch(n))
        for n, m in model.named_modules()
        if isinstance(m, torch.nn.Linear) and n.startswith("model.layers.")
    ]
    for row in rows:
        model.model(input_ids=torch.tensor([row]), use_cache=False)
    for hook in hooks:
        hook.remove()
    return found


def smoothed(base: Base, maxima: dict[str, Tensor], share: float = 0.5) -> tuple[Base, dict[str, np.ndarray]]:
    """The same function with the magnitudes of activations moved into weights, for integer products.

    A few inputs of a language model's layers are far larger than the others, and one scale for all
    of them leaves the others no digits (SmoothQuant, Xiao et al. 2023).  With the base comes what the
    columns of each linear layer of the graph were multiplied by.
    """
    columns: dict[str, Tensor] = {}
    c = Sizes(base)
    state = dict(base.state)

    def scale(inputs: str, weights: list[str]) -> Tensor:
        largest = torch.stack([state[w].abs().amax(0) for w in weights]).amax(0).clamp(min=1e-5)
        return (maxima[inputs].clamp(min=1e-5) ** share / largest ** (1 - share)).clamp(min=1e-5)

    for n in range(c.layers):
        p = f"model.layers.{n}."
        attention, mlp = p + "self_attn.", p + "mlp."
        for name, norm, readers in (
            ("qkv", p + "input_layernorm.weight", [attention + f"{m}_proj.weight" for m in "qkv"]),
            ("gate_up", p + "post_attention_layernorm.weight", [mlp + "gate_proj.weight", mlp + "up_proj.weight"]),
        ):
            s = columns[f"layers.{n}.{name}"] = scale(readers[0].removesuffix(".weight"), readers)
            state[norm] = state[norm] / s
            state |= {r: state[r] * s for r in readers}
        up, down = mlp + "up_proj.weight", mlp + "down_proj.weight"
        s = columns[f"layers.{n}.down"] = scale(mlp + "down_proj", [down])
        state[up], state[down] = state[up] / s[:, None], state[down] * s
        # Several heads read the same values: they share a scale.
        value, output = attention + "v_proj.weight", attention + "o_proj.weight"
        groups = (c.key_value_heads, c.heads // c.key_value_heads, c.head_size)
        s = scale(attention + "o_proj", [output]).view(groups).amax(1)
        state[value] = state[value] / s.flatten()[:, None]
        columns[f"layers.{n}.o"] = s[:, None, :].expand(groups).flatten()
        state[output] = state[output] * columns[f"layers.{n}.o"]
    return replace(base, state=state), {name: s.numpy() for name, s in columns.items()}


@torch.no_grad()
def bias_of(
    base: Base,
    model: Any,
    space: TermSpace,
    texts: Sequence[str],
    prompt: str,
    limit: int,
    threshold: float,
    reader: dict[str, Tensor] | None = None,
) -> np.ndarray:
    """bias [V] of `build`, from texts cut to `limit` tokens; rows of one term share theirs.

    model: of `causal_model`.
    """
    vocabulary = Sizes(base).vocabulary
    terms: np.ndarray = np.full(vocabulary, -1, dtype=np.int64)
    terms[: len(space.of_row)] = space.of_row.numpy()
    known, column = np.unique(terms[terms >= 0], return_inverse=True)
    order = np.argsort(column, kind="stable")
    rows = np.flatnonzero(terms >= 0)[order]
    starts = np.searchsorted(column[order], np.arange(len(known)))
    total = np.zeros(len(known))
    encoded = sorted(prompted_rows(base, texts, prompt, limit), key=len)
    tail = len(prompted_rows(base, [""], prompt, limit)[0])
    learnt = None if reader is None else reader_of(base, encoded[0][-tail:], reader)
    at = 0
    while at < len(encoded):
        end = at + 1
        while end < len(encoded) and (end - at + 1) * len(encoded[end]) <= 2000:
            end += 1
        batch = encoded[at:end]
        ids, mask = padded(batch)
        if learnt is None:
            last = mask.sum(1) - 1
            state = model.model(input_ids=ids, use_cache=False).last_hidden_state[torch.arange(len(batch)), last]
            logs = torch.log_softmax(model.lm_head(state).float(), -1)
        else:
            # What is behind a text, its prompt or padding, is hidden by its length.
            logs = learnt(cached(model, ids), mask.sum(1) - tail)
        logs = logs[:, torch.from_numpy(rows)].numpy()
        total += np.maximum.reduceat(logs, starts, axis=1).sum(0)
        at = end
    bias: np.ndarray = np.full(vocabulary, NEVER, dtype=np.float32)
    bias[rows] = np.repeat(total / len(encoded), np.diff(starts, append=len(rows))) + threshold
    return bias


def fingerprint(
    base: Base, bias: np.ndarray, prompts: dict[str, str], lexicon: Lexicon, reader: dict[str, Tensor] | None = None
) -> str:
    """16 hexadecimal digits that name the weight space, the same at every precision."""
    digest = hashlib.sha256(f"causal/{POOLING}/{ACTIVATION}".encode())
    for name, value in sorted(base.state.items()) + sorted((reader or {}).items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(value.float().numpy(), dtype="<f4").tobytes())
    digest.update(np.ascontiguousarray(bias, dtype="<f4").tobytes())
    digest.update(base.tokenizer_json.encode())
    digest.update("\0".join(prompts[role] for role in sorted(prompts)).encode())
    asked = replace(lexicon, expansions={k: v for k, v in lexicon.expansions.items() if k != "query"}, query_terms=None)
    digest.update(asked.to_json().encode())
    return digest.hexdigest()[:16]


def write(
    directory: Path,
    base: Base,
    bias: np.ndarray,
    prompts: dict[str, str],
    lexicon: Lexicon,
    precision: str,
    about: Description,
    maxima: dict[str, Tensor] | None = None,
    reader: dict[str, Tensor] | None = None,
    target: Target = ANY,
    name: str | None = None,
) -> dict[str, object]:
    """Write a checkpoint directory; returns its manifest.

    prompts: what follows a text of each role; maxima: of `input_maxima`, for int8; reader: of reader.py;
    name: the fingerprint of the checkpoint whose weights these are, another precision of which is written.
    """
    cleared(directory)
    (directory / "tokenizer.json").write_text(base.tokenizer_json, encoding="utf-8")
    positions = max(about.max_tokens.values()) + PROMPT_POSITIONS
    exported, columns = smoothed(base, maxima) if precision == "int8" and maxima is not None else (base, None)
    scaled = reader if reader is None or columns is None else rescaled(reader, columns, Sizes(base))
    save(build(exported, bias, precision, positions, columns, reader=scaled, target=target), directory / "model.onnx")
    lexicon.write(directory)
    name = name or fingerprint(base, bias, prompts, lexicon, reader)
    described = replace(about, prompt=prompts)
    vocabulary = Sizes(base).vocabulary
    return write_manifest(
        directory, described, precision, vocabulary, name, "causal", ACTIVATION, POOLING, target.provider
    )
