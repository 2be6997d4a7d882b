"""What a training run needs, before it starts: memory of each device, time, and cost.

All of it comes from a model's `config.json` and a recipe; no weights are read.  It counts what
trainer.py does: weights in float32 under bfloat16 autocast, AdamW with two moments, the layers
divided among the devices (FSDP), embeddings, output layer and skip connection whole on each, the
batch divided, parts of PART texts at a time where `gradient_cache` encodes twice.

Floating-point operations are 2 a weight and token forward, as much again for the gradients of
activations and, where weights are trained, for theirs (Kaplan et al. 2020, arXiv 2001.08361); a
forward pass more with `gradient_checkpointing` and with `gradient_cache`.  What a device reaches of its peak is
assumed, not known: measure the first steps and divide.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from .adaptation import POSITIONS
from .recipe import Recipe
from .trainer import PART
from .trunk_shape import TrunkShape

GIB = 2**30


@dataclass(frozen=True)
class Device:
    """A device: memory in GiB, peak of dense bfloat16 products in TFLOP/s, as its maker states them."""

    memory: float
    peak: float


DEVICES = {
    "h100-80": Device(80, 989),
    "h200": Device(141, 989),
    "a100-80": Device(80, 312),
    "a100-40": Device(40, 312),
    "l40s": Device(48, 362),
    "l4": Device(24, 121),
}
KEPT_FREE = 0.9
"""Share of a device's memory that a run may fill: the rest is fragments, buffers of communication and the driver."""


@dataclass(frozen=True)
class Memory:
    """Bytes on one device at the peak of a step."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    vectors: float
    """Vectors over the vocabulary of the whole batch, and their gradients."""

    @property
    def total(self) -> float:
        return sum(asdict(self).values())


@dataclass(frozen=True)
class Plan:
    """A run: what it does and what it takes."""

    parameters: int
    trained: int
    texts_a_step: int
    tokens_a_step: int
    """At most: every text as long as the recipe lets it be."""
    steps: int
    memory: Memory
    limit: float
    """Bytes that a device may give."""
    tokens_a_second: float
    """Of all devices."""
    hours: float
    cost: float | None

    @property
    def fits(self) -> bool:
        return self.memory.total <= self.limit


def plan(
    config: dict[str, Any],
    shape: TrunkShape,
    recipe: Recipe,
    variant: str,
    device: Device,
    count: int,
    share: float,
    price: float | None,
) -> Plan:
    """config: of `config.json`; share: of a device's peak that is reached, 0 to 1; price: of a device for an hour.

    Raises ValueError for a batch that does not divide among the devices.
    """
    if recipe.batch % count:
        raise ValueError(f"a batch of {recipe.batch} does not divide among {count} devices")
    vocabulary, hidden = int(config["vocab_size"]), shape.hidden
    layer = _linear(shape)
    trunk = shape.layers * layer
    tables = vocabulary * hidden * (1 if config.get("tie_word_embeddings") else 2)
    others = hidden * hidden + 2 * vocabulary
    adapters = shape.layers * recipe.lora_rank * _widths(shape)
    trained = (adapters or trunk) + others + (tables if recipe.embedding_rate > 0 else 0)
    whole = others + (tables if recipe.embedding_rate > 0 else 0)

    copies = 2 if variant == "echo" else 1
    queries = 0 if recipe.query_encoder == "table" else recipe.batch
    documents = recipe.batch * (1 + recipe.negatives)
    tokens = copies * (queries * recipe.query_tokens + documents * recipe.document_tokens)
    texts = queries + documents

    # A step holds its shard, and two layers whole: the one at work and the one that is fetched.
    sharded = (trunk + adapters) / count + (2 * layer if count > 1 else 0)
    part = min(tokens / count, PART * copies * recipe.document_tokens)
    in_graph = part if recipe.gradient_cache else tokens / count
    memory = Memory(
        weights=4 * (sharded + tables + others),
        gradients=4 * ((adapters or trunk) / count + whole),
        optimizer=8 * ((adapters or trunk) / count + whole),
        activations=in_graph * shape.layers * 4 * shape.hidden + part * _activations(shape)
        if recipe.gradient_checkpointing
        else in_graph * shape.layers * _activations(shape),
        # Logits, weights and the gradients of both: of texts of all devices, or of positions in adaptation.
        vectors=4 * 4.0 * vocabulary * max(texts, POSITIONS if recipe.adaptation == "saturated" else 0),
    )
    passes = 2 if adapters else 3
    again = int(recipe.gradient_checkpointing) + int(recipe.gradient_cache)
    # The output layer sees each text once (of an echo the second copy), and its gradient only where a maximum stands.
    output = (1 + int(recipe.gradient_cache)) * vocabulary * hidden / copies
    operations = 2 * tokens * ((passes + again) * trunk + output)
    reached = count * device.peak * 1e12 * share
    seconds = operations / reached
    adapting = min(recipe.adaptation_steps, recipe.steps)
    first = seconds
    if recipe.adaptation != "pairs":
        first = _adaptation_operations(recipe, copies, passes, trunk, vocabulary * hidden) / reached
    hours = ((recipe.steps - adapting) * seconds + adapting * first) / 3600
    return Plan(
        parameters=trunk + tables,
        trained=trained,
        texts_a_step=texts,
        tokens_a_step=tokens,
        steps=recipe.steps,
        memory=memory,
        limit=device.memory * GIB * KEPT_FREE,
        tokens_a_second=tokens / seconds,
        hours=hours,
        cost=None if price is None else price * count * hours,
    )


def _adaptation_operations(r: Recipe, copies: int, passes: int, trunk: int, output: int) -> float:
    """Floating-point operations of a step of adaptation that is no contrast; output: weights of the output layer."""
    again = int(r.gradient_checkpointing)
    if r.adaptation == "saturated":
        # Every position is scored, and scored again where its gradient is asked for.
        return 2 * r.batch * r.document_tokens * ((passes + again) * trunk + 3 * output)
    tokens = copies * (r.batch / 2) * (r.query_tokens + r.document_tokens)
    scored = 2 * r.blank_share if r.adaptation == "next_token" else 1
    return 2 * tokens * ((passes + again) * trunk + scored * output / copies)


def _linear(s: TrunkShape) -> int:
    """Weights of a layer's linear parts."""
    wide, narrow = s.heads * s.head_size, s.key_value_heads * s.head_size
    return 2 * s.hidden * (wide + narrow) + 3 * s.hidden * s.intermediate


def _widths(s: TrunkShape) -> int:
    """Inputs and outputs of a layer's linear parts together: what a rank of adapters costs."""
    wide, narrow = s.heads * s.head_size, s.key_value_heads * s.head_size
    return 2 * (s.hidden + wide) + 2 * (s.hidden + narrow) + 3 * (s.hidden + s.intermediate)


def _activations(s: TrunkShape) -> float:
    """Bytes that a token leaves in a layer's graph: float32 between layers, bfloat16 in products."""
    wide, narrow = s.heads * s.head_size, s.key_value_heads * s.head_size
    # Two norms' inputs and outputs, queries, keys and values before and behind rotation, what attention gives,
    # gate, up and their product.
    return 2 * (4 + 2 + 4) * s.hidden + 2 * (2 * wide + 3 * narrow) + 2 * wide + 2 * 3 * s.intermediate


def told(p: Plan, device: str, count: int, share: float) -> str:
    """A plan for people."""
    m = p.memory
    rows = [
        ("weights", m.weights),
        ("gradients", m.gradients),
        ("optimizer", m.optimizer),
        ("activations", m.activations),
        ("vectors of the batch", m.vectors),
        ("together", m.total),
    ]
    verdict = "fits" if p.fits else "DOES NOT FIT"
    lines = [
        f"{p.parameters / 1e9:.2f} billion parameters, {p.trained / 1e6:,.1f} million trained; {count} x {device}",
        f"{p.steps:,} steps of {p.texts_a_step:,} texts, at most {p.tokens_a_step:,} tokens",
        "",
        "memory of a device, GiB",
        *(f"  {name:22}{value / GIB:8.1f}" for name, value in rows),
        f"  {verdict}: {p.limit / GIB:.1f} may be filled",
        "",
        f"{p.tokens_a_second:,.0f} tokens a second if {share:.0%} of the peak is reached",
        f"{p.hours:,.1f} hours" + ("" if p.cost is None else f", {p.cost:,.0f} at the price given"),
    ]
    if not p.fits:
        lines.append(_advice(m))
    return "\n".join(lines)


def _advice(m: Memory) -> str:
    if m.activations > m.total / 3:
        return "Activations take most: gradient_checkpointing, gradient_cache, shorter texts or more devices."
    if m.vectors > m.total / 3:
        return "Vectors of the batch take most: a smaller batch, fewer negatives, or a reduced vocabulary (prepare)."
    return "Weights and what trains them take most: lora_rank, or more devices."
