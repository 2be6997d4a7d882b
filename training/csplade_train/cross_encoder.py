"""A published cross-encoder, which scores a question and a text together, as a checkpoint directory.

Read are sequence classifiers of one label (BERT, DistilBERT, RoBERTa, XLM-RoBERTa, ModernBERT), as
sentence-transformers publishes its CrossEncoder.  The graph gives `scores` [B], activation included.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from tokenizers import Tokenizer

from .checkpoints import READABLE, cleared, sha256_of
from .input_recipe import RoleInput, without_special_tokens
from .onnx_bert import dense
from .onnx_graph import ANY, MICROSOFT, Graph, Target, save
from .published import ARCHITECTURES, demand, positions_of, states, weights_of
from .readers.folder import LONGEST, Folder, Unfit

FAMILY = "cross-encoder"
CLASSIFIER = "ForSequenceClassification"


@dataclass(frozen=True)
class CrossEncoder:
    """What a folder holds."""

    model: Any
    tokenizer: Tokenizer
    """Without special tokens: those are in `question` and `text`."""
    question: RoleInput
    text: RoleInput
    max_tokens: int
    """Of a pair, its special tokens included."""
    types: bool
    """Whether the model is told which tokens are of the text."""
    activation: str
    """`sigmoid` or `identity`."""


def fits(folder: Folder) -> bool:
    return any(name.endswith(CLASSIFIER) for name in folder.architectures)


def read(folder: Folder) -> CrossEncoder:
    """What a folder holds.  Raises ValueError for what cannot be converted."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    if not fits(folder):
        raise ValueError(f"{folder.path} is no cross-encoder: it has {folder.described()}")
    model = AutoModelForSequenceClassification.from_pretrained(
        folder.path, dtype=torch.float32, local_files_only=True
    ).eval()
    c = model.config
    if c.num_labels != 1:
        raise Unfit(f"a cross-encoder has one label, and this model has {c.num_labels}")
    demand(model)
    loaded = AutoTokenizer.from_pretrained(folder.path, local_files_only=True)
    if not loaded.is_fast:
        raise Unfit(f"the tokenizer of {folder.path} has no tokenizer.json and none can be made")
    whole = Tokenizer.from_str(loaded.backend_tokenizer.to_str())
    question, text = around_pairs(whole)
    types = "token_type_ids" in loaded.model_input_names and getattr(c, "type_vocab_size", 0) > 1
    most = int(min(loaded.model_max_length, positions_of(c), LONGEST))
    plain = without_special_tokens(whole)
    return CrossEncoder(model, plain, question, text, most, types, activation_of(folder))


def activation_of(folder: Folder) -> str:
    """What sentence-transformers applies to the label: its default for one label is the sigmoid."""
    config = folder.json("config.json")
    told = (
        folder.json("config_sentence_transformers.json").get("activation_fn"),
        (config.get("sentence_transformers") or {}).get("activation_fn"),
        config.get("sbert_ce_default_activation_function"),
    )
    named = next((each for each in told if each), "Sigmoid")
    known = {"Sigmoid": "sigmoid", "Identity": "identity"}
    name = str(named).rsplit(".", 1)[-1].removesuffix("()")
    if name not in known:
        raise Unfit(f"the activation {named} cannot be converted; {' and '.join(known)} can")
    return known[name]


def around_pairs(whole: Tokenizer) -> tuple[RoleInput, RoleInput]:
    """The special tokens around the question and the text of a pair.  ValueError if they depend on the words."""
    whole.no_truncation()
    whole.no_padding()
    plain = without_special_tokens(whole)
    found = set()
    for pair in (("a", "of the b 7"), ("of x", "a"), ("\u00e9, x", "y b")):
        first, second = (plain.encode(part).ids for part in pair)
        encoded = whole.encode(*pair)
        ids, parts = encoded.ids, encoded.sequence_ids
        places = [[n for n, part in enumerate(parts) if part == which] for which in (0, 1)]
        if [[ids[n] for n in each] for each in places] != [first, second]:
            raise ValueError("the tokenizer changes a text's own tokens when it adds special ones")
        names = [str(whole.id_to_token(i)) for i in ids]
        (start, stop), (begin, end) = ((each[0], each[-1] + 1) for each in places)
        kinds = encoded.type_ids
        if kinds[:start] + kinds[start:stop] != [0] * stop or set(kinds[begin:]) - {0, 1}:
            raise ValueError("the tokenizer counts the parts of a pair in another way than BERT")
        found.add((tuple(names[:start]), tuple(names[stop:begin]), tuple(names[end:])))
    if len(found) != 1:
        raise ValueError(f"the tokenizer puts different tokens around different pairs: {sorted(found)}")
    first_tokens, between, last = found.pop()
    return RoleInput(begin=first_tokens, end=between), RoleInput(end=last)


def build(found: CrossEncoder, precision: str, block: int = 32, target: Target = ANY) -> onnx.ModelProto:
    """The ONNX model: `input_ids`, `attention_mask` and, where the model knows them, `token_type_ids` → `scores`."""
    model = found.model
    c = model.config
    g = Graph(precision, block, target)
    types = "token_type_ids" if found.types else None
    x = states(g, model, min(found.max_tokens, positions_of(c)), types)
    weight = weights_of(model, lambda name: name)
    if c.model_type == "modernbert" and c.classifier_pooling == "mean":
        real = g.op("Unsqueeze", g.op("Cast", "attention_mask", to=TensorProto.FLOAT), g.ints(2))
        total = g.op("ReduceSum", g.op("Mul", x, real), g.ints(1), keepdims=0)
        h = g.op("Div", total, g.op("ReduceSum", real, g.ints(1), keepdims=0))
    else:
        h = g.op("Squeeze", g.op("Slice", x, g.ints(0), g.ints(1), g.ints(1)), g.ints(1))
    # Linear layers take states [B, S, H].
    h = g.op("Unsqueeze", h, g.ints(1))
    label = "classifier"
    if c.model_type == "modernbert":
        h = g.op("Gelu", g.wide(g.linear(g.narrow(h), "head.dense", weight("head.dense.weight"))), domain=MICROSOFT)
        scale = g.constant("head.norm.weight", weight("head.norm.weight"))
        h = g.op("LayerNormalization", h, scale, axis=-1, epsilon=c.norm_eps)
    elif c.model_type == "bert":
        h = g.op("Tanh", dense(g, h, weight, "bert.pooler.dense"))
    elif c.model_type == "distilbert":
        h = g.op("Relu", dense(g, h, weight, "pre_classifier"))
    else:
        h = g.op("Tanh", dense(g, h, weight, "classifier.dense"))
        label = "classifier.out_proj"
    # One row is not worth rounding.
    matrix = g.constant(label + ".weight", np.ascontiguousarray(weight(label + ".weight").T))
    score = g.op("Add", g.op("MatMul", h, matrix), g.constant(label + ".bias", weight(label + ".bias")))
    score = g.op("Squeeze", score, g.ints(1, 2))
    if found.activation == "sigmoid":
        score = g.op("Sigmoid", score)
    g.op("Identity", score, name="scores")
    inputs = ["input_ids", "attention_mask", *([types] if types else [])]
    graph = helper.make_graph(
        g.nodes,
        "cross_encoder",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "seq"]) for name in inputs],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch"])],
        g.initializers,
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9, producer_name="csplade_train")


def fingerprint(found: CrossEncoder) -> str:
    """16 hexadecimal digits that name what is scored, the same at every precision."""
    recipe = [found.question.told(), found.text.told(), found.max_tokens, found.types, found.activation]
    digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode())
    for name, tensor in sorted(found.model.state_dict().items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensor.detach().float().cpu().numpy(), dtype="<f4").tobytes())
    digest.update(found.tokenizer.to_str().encode())
    return digest.hexdigest()[:16]


def write(
    directory: Path, found: CrossEncoder, precision: str, name: str, base: dict[str, str], target: Target = ANY
) -> dict[str, object]:
    """Write a checkpoint directory; returns its manifest."""
    assert found.model.config.model_type in ARCHITECTURES
    graph = build(found, precision, target=target)
    cleared(directory)
    (directory / "tokenizer.json").write_text(found.tokenizer.to_str(), encoding="utf-8")
    save(graph, directory / "model.onnx")
    names = [n for n in ("model.onnx", "model.onnx_data", "tokenizer.json") if (directory / n).exists()]
    for each in names:
        (directory / each).chmod(READABLE)
    pad = found.model.config.pad_token_id
    manifest: dict[str, object] = {
        "format": 1,
        "kind": FAMILY,
        "name": name,
        "license": base["license"],
        "base": base,
        "precision": precision,
        **({"provider": target.provider} if target.provider != ANY.provider else {}),
        "files": {n: {"sha256": sha256_of(directory / n), "bytes": (directory / n).stat().st_size} for n in names},
        "input": {"query": found.question.told(), "document": found.text.told()},
        "max_tokens": found.max_tokens,
        "activation": found.activation,
        "pad_token_id": pad if isinstance(pad, int) and pad >= 0 else 0,
        "fingerprint": fingerprint(found),
    }
    path = directory / "manifest.json"
    path.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    path.chmod(READABLE)
    return manifest
