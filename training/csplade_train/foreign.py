"""Other people's checkpoints as checkpoint directories: LACONIC, Lion-SP, LightRetriever.

All are language models (`trunk_shape.ARCHITECTURES`) read as sparse encoders:

    w_t = log(1 + ReLU(scale * max over real positions of logit_t))

laconic         no causal mask                            (arXiv 2601.01684)
lion-sp         no causal mask, scale = hidden^-0.25      (arXiv 2502.15526)
lightretriever  causal mask; a query is its token counts  (arXiv 2505.12260)

Read from the authors' public code.  Their weights could not be tried here: the
tests convert small random models of the same architectures and compare with
transformers.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto
from tokenizers import Tokenizer, normalizers, processors

from . import query_table as query_table_file
from .checkpoints import ACTIVATION, POOLING, Description, cleared, write_manifest
from .input_recipe import TABLE_TERMS, RoleInput, special_tokens, with_terms, with_words, without_special_tokens
from .onnx_graph import ANY, LARGEST_FILE, Graph, Target, assembled, save
from .onnx_trunk import angles_at, needed, positions_and_bias, stack
from .readers.folder import Folder
from .trunk_shape import LAYER_WEIGHTS, OPTIONAL_WEIGHTS, demand_sight, llama_weights, rotary_of, shape_of

SPECIAL_POSITIONS = 8
"""Positions of special tokens around a text."""


@dataclass(frozen=True)
class Family:
    """What the runtime must honour: mask, power of the hidden size that scales logits, limits, the query side."""

    name: str
    causal: bool
    scale_power: float
    max_tokens: dict[str, int]
    top_k: dict[str, int]
    counted_queries: bool = False
    prefix: dict[str, str] = field(default_factory=dict)
    """Words before a text of each role."""


FAMILIES = {
    f.name: f
    for f in (
        Family(
            "laconic",
            False,
            0.0,
            {"document": 256, "query": 256},
            {"document": 512, "query": 512},
            prefix={"document": "passage: ", "query": "query: "},
        ),
        Family("lion-sp", False, -0.25, {"document": 192, "query": 64}, {"document": 512, "query": 512}),
        Family("lightretriever", True, 0.0, {"document": 512, "query": 512}, {"document": 512, "query": 512}, True),
    )
}


SIGNS = {
    "laconic": ("laconic", "2601.01684"),
    "lion-sp": ("lion-sp", "lion_sp", "2502.15526", "scaling-retriever"),
    "lightretriever": ("lightretriever", "2505.12260"),
}
"""What the authors' own files call a family: its name, its paper, its code."""


def family_of(*folders: Folder) -> str | None:
    """The family of a causal language model, or of an adapter and its base, as configurations and model cards name it.

    None where they name none or several, and for other models.
    """
    causal = any("Mask" not in name for folder in folders for name in folder.architectures)
    if not causal or any(folder.has("modules.json") for folder in folders):
        return None
    told = " ".join(
        (folder.path / name).read_text(encoding="utf-8").lower()
        for folder in folders
        for name in ("adapter_config.json", "config.json", "README.md")
        if folder.has(name)
    )
    named = [family for family, signs in SIGNS.items() if any(sign in told for sign in signs)]
    return named[0] if len(named) == 1 else None


def load(directory: Path, adapter: Path | None = None) -> Any:
    """The transformers model in a directory, a LoRA adapter merged into it if one is given."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(directory, dtype="auto").eval()
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter).merge_and_unload().eval()
    return model


def tokenizer_file(base: Path, adapter: Path | None) -> Path:
    """The adapter's own tokenizer, if it has one: texts were cut so when it was trained."""
    own = None if adapter is None else adapter / "tokenizer.json"
    return own if own is not None and own.exists() else base / "tokenizer.json"


def demand_base(base: Path, adapter: Path, called: str | None = None) -> None:
    """Raises ValueError unless a base is the one that an adapter was trained on: other weights may have its shapes.

    called: its name, if neither its folder nor its config.json has it.
    """
    file = adapter / "adapter_config.json"
    if not file.exists():
        raise ValueError(f"{adapter} is no adapter: it has no adapter_config.json")
    wanted = str(json.loads(file.read_text(encoding="utf-8")).get("base_model_name_or_path") or "")
    demand_called(base, wanted, f"the adapter {adapter}", called)


def demand_called(base: Path, wanted: str, what: str, called: str | None = None) -> None:
    """Raises ValueError unless a model is the one that something was made of; called: as in `demand_base`."""
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    names = [called] if called else [base.resolve().name, *base.resolve().parts, str(config.get("_name_or_path", ""))]
    # A hub's cache writes meta-llama/Llama-3.2-1B as models--meta-llama--Llama-3.2-1B.
    known = {n.replace("--", "/").rstrip("/").rsplit("/", 1)[-1].lower() for n in names if n}
    if wanted.rstrip("/").rsplit("/", 1)[-1].lower() not in known:
        raise ValueError(
            f"{what} was trained on {wanted or 'a model that it does not name'}; "
            f"{called or base} is not known to be that. If it is, say so with --base-name {wanted}"
        )


def build(
    model: Any,
    family: Family,
    precision: str,
    layers: int | None = None,
    term_ids: np.ndarray | None = None,
    block: int = 32,
    target: Target = ANY,
) -> onnx.ModelProto:
    """The ONNX model of a language model of transformers, with pooling and top-k in the graph.

    layers: keep the first so many; term_ids: the only tokens that may be terms.
    """
    c = shape_of(model.config, layers)
    if precision == "int4" and c.hidden % block:
        raise ValueError(f"hidden size {c.hidden} must be a multiple of the quantization block {block}")
    state = llama_weights(model)
    names = LAYER_WEIGHTS | OPTIONAL_WEIGHTS

    def weight(name: str) -> np.ndarray | None:
        _, number, rest = name.split(".", 2)
        tensor = state.get(f"model.layers.{number}.{names[rest]}")
        return None if tensor is None else tensor.detach().float().cpu().numpy()

    def whole(name: str) -> np.ndarray:
        return state[name].detach().float().cpu().numpy()

    positions = max(family.max_tokens.values()) + SPECIAL_POSITIONS
    demand_sight(c.windows, positions)
    g = Graph(precision, block, target)
    position, bias = positions_and_bias(g, "input_ids", "attention_mask", positions, family.causal)
    embedding = whole("model.embed_tokens.weight")
    x = g.rows("input_ids", "embedding", embedding)
    r = rotary_of(model)
    angles = angles_at(positions, r.frequencies, r.factor, r.other_frequencies, r.other_layers)
    x = stack(g, x, weight, c, position, bias, angles)
    final = g.constant("norm.weight", needed(lambda n: whole("model." + n), "norm.weight"))
    x = g.op("SimplifiedLayerNormalization", x, final, axis=-1, epsilon=c.norm_epsilon)
    first = g.op("Slice", x, g.ints(0), g.ints(1), g.ints(1))
    real = g.op("Unsqueeze", g.op("Cast", "attention_mask", to=TensorProto.BOOL), g.ints(2))
    x = g.op("Where", real, x, first)
    tied = bool(model.config.tie_word_embeddings)
    if tied and term_ids is None:
        pooled = g.max_projection(x, "embedding", embedding)
    else:
        head = embedding if tied else whole("lm_head.weight")
        pooled = g.max_projection(x, "lm_head", head if term_ids is None else head[term_ids])
    if family.scale_power:
        pooled = g.op("Mul", pooled, g.floats(c.hidden**family.scale_power))
    weights = g.op("Log", g.op("Add", g.op("Relu", pooled), g.floats(1.0)))
    nonempty = g.op("ReduceMax", "attention_mask", axes=[1], keepdims=1)
    weights = g.op("Mul", weights, g.op("Cast", nonempty, to=TensorProto.FLOAT))
    columns = len(embedding) if term_ids is None else len(term_ids)
    return assembled(g, family.name.replace("-", "_"), weights, columns, term_ids)


def adapted_tokenizer(file: Path, lowercase: bool, append_eos: str | None) -> Tokenizer:
    """The model's tokenizer, lower-casing and ending texts with a token if the checkpoint was trained so."""
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if lowercase:
        own = [tokenizer.normalizer] if tokenizer.normalizer is not None else []
        tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *own])
    if append_eos:
        number = tokenizer.token_to_id(append_eos)
        if number is None:
            raise ValueError(f"the tokenizer has no token {append_eos!r}")
        template = processors.TemplateProcessing(single=f"$A {append_eos}", special_tokens=[(append_eos, number)])
        own = [tokenizer.post_processor] if tokenizer.post_processor is not None else []
        tokenizer.post_processor = processors.Sequence([*own, template])
    return tokenizer


def corpus_terms(tokenizer: Tokenizer, texts: list[str], least: int) -> np.ndarray:
    """Ids of the tokens that at least `least` of the texts contain, ascending (Yu et al. 2024)."""
    counts: Counter[int] = Counter()
    for start in range(0, len(texts), 1000):
        for encoding in tokenizer.encode_batch(texts[start : start + 1000], add_special_tokens=False):
            counts.update(set(encoding.ids))
    kept = np.array(sorted(t for t, n in counts.items() if n >= least), dtype=np.int64)
    if len(kept) == 0:
        raise ValueError(f"no token occurs in {least} texts of the corpus")
    return kept


def fingerprint(
    model: Any,
    tokenizer: Tokenizer,
    family: Family,
    layers: int,
    term_ids: np.ndarray | None,
    read: dict[str, RoleInput],
) -> str:
    """16 hexadecimal digits that name the weight space, the same at every precision.

    read: what is around a text of each role.
    """
    digest = hashlib.sha256(f"{family.name}/{layers}/{POOLING}/{ACTIVATION}".encode())
    digest.update(json.dumps({role: each.space() for role, each in read.items()}, sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensor.detach().float().cpu().numpy(), dtype="<f4").tobytes())
    digest.update(tokenizer.to_str().encode())
    if term_ids is not None:
        digest.update(term_ids.astype("<i8").tobytes())
    return digest.hexdigest()[:16]


def write(
    directory: Path,
    model: Any,
    tokenizer: Tokenizer,
    family: Family,
    precision: str,
    name: str,
    base: dict[str, str],
    layers: int | None = None,
    term_ids: np.ndarray | None = None,
    largest: int = LARGEST_FILE,
    target: Target = ANY,
) -> dict[str, object]:
    """Write a checkpoint directory; returns its manifest.  Weights beyond `largest` bytes go beside the model."""
    cleared(directory)
    around = special_tokens(tokenizer)
    tokenizer = without_special_tokens(tokenizer)
    read = {role: with_words(around, family.prefix.get(role, "")) for role in ("document", "query")}
    if family.counted_queries:
        read["query"] = with_terms(read["query"], TABLE_TERMS)
    (directory / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    save(build(model, family, precision, layers, term_ids, target=target), directory / "model.onnx", largest)
    vocabulary = model.config.vocab_size
    if family.counted_queries:
        query_table_file.write(directory, torch.ones(vocabulary), repeated="sum")
    pad = model.config.pad_token_id
    kept = shape_of(model.config, layers).layers
    about = Description(
        name=name,
        base=base,
        max_tokens=family.max_tokens,
        top_k=family.top_k,
        license=base["license"],
        pad_token_id=pad if isinstance(pad, int) and 0 <= pad < vocabulary else 0,
        training={
            "family": family.name,
            "layers": kept,
            "terms": vocabulary if term_ids is None else len(term_ids),
        },
        input=read,
    )
    digits = fingerprint(model, tokenizer, family, kept, term_ids, read)
    variant = "causal" if family.causal else "bi"
    return write_manifest(directory, about, precision, vocabulary, digits, variant, provider=target.provider)
