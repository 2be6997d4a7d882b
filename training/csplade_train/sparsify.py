"""A dense sentence encoder as a sparse one: a text's terms are the words to which its vector points.

No training is needed.  Words and texts lie in one space, so a text's vector e points to
words that tell what it is about.  With w_t the vector of the word of term t, and mean
and covariance C of the vectors of many texts,

    u_t  = (C + (trace C / d) I)^-1 (w_t - mean of all words)
    a_t  = (<e, u_t> - mean of <e, u_t>) / (standard deviation of <e, u_t>)  over texts
    m(t) = 10 relu(a_t - threshold) / norm of the kept ones,  the `terms` largest kept

Whitening by C makes words that mean nearly the same share less, so that few terms tell what many
would.  (Projecting dense vectors to words: Nguyen et al. 2024, "Multimodal Learned Sparse
Retrieval"; there the projection is trained.)  A lexical part (lexicon.py) holds the words themselves.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto
from tokenizers import Tokenizer

from .checkpoints import Description, cleared, write_manifest
from .lexicon import Lexicon, TermSpace, stem, words
from .onnx_bert import BertSizes, unit_vectors
from .onnx_graph import Graph, assembled, save

ACTIVATION = "relu"
POOLING = "mean"
SCALE = 10.0
"""Length of the vector of a text's terms, so that weights are near those of a lexical part."""


@dataclass(frozen=True)
class Directions:
    """rows [n]: the vocabulary row of each term; matrix [n, d] and shift [n]: its affinity is matrix @ e + shift."""

    rows: np.ndarray
    matrix: np.ndarray
    shift: np.ndarray


def telling_words(space: TermSpace, texts: Iterable[str], least: int) -> dict[int, str]:
    """Row of each term that at least `least` texts have, and the commonest word that is a form of it."""
    found: Counter[str] = Counter()
    for text in texts:
        found.update(set(words(text)))
    forms: dict[str, Counter[str]] = {}
    for word, count in found.items():
        forms.setdefault(stem(word), Counter())[word] = count
    chosen = {}
    for term, counts in forms.items():
        row = space.row(term)
        if row is not None and counts.total() >= least:
            chosen[row] = max(counts, key=lambda word: (counts[word], word))
    return dict(sorted(chosen.items()))


def directions(
    chosen: dict[int, str], word_vectors: np.ndarray, text_vectors: np.ndarray, threshold: float = 1.0
) -> Directions:
    """Directions of words; word_vectors [n, d] in the order of `chosen`, text_vectors [N, d] of ordinary texts.

    threshold: standard deviations above its mean from which a term's affinity counts.
    """
    texts: np.ndarray = text_vectors.astype(np.float64)
    vectors: np.ndarray = word_vectors.astype(np.float64)
    mean, covariance = texts.mean(0), np.cov(texts.T)
    ridge = np.trace(covariance) / len(covariance)
    whitened = np.linalg.inv(covariance + ridge * np.eye(len(covariance)))
    raw = (vectors - vectors.mean(0)) @ whitened
    deviation = np.sqrt(np.einsum("nd,de,ne->n", raw, covariance, raw, optimize=True))
    matrix = raw / np.maximum(deviation, 1e-9)[:, None]
    shift = -matrix @ mean - threshold
    rows: np.ndarray = np.array(list(chosen), dtype=np.int64)
    return Directions(rows, matrix.astype(np.float32), shift.astype(np.float32))


def sizes_of(model: Any, tokenizer: Tokenizer) -> BertSizes:
    """Raises ValueError for a model whose parts the graph here does not have."""
    c = model.config
    first, last = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    if (
        c.model_type != "bert"
        or c.hidden_act != "gelu"
        or getattr(c, "position_embedding_type", None)
        not in (
            None,
            "absolute",
        )
    ):
        raise ValueError(f"a {c.model_type} model cannot be made sparse: BERT with gelu and absolute positions fits")
    if first is None or last is None:
        raise ValueError("the tokenizer has no [CLS] and [SEP]")
    return BertSizes(
        c.hidden_size, c.num_hidden_layers, c.num_attention_heads, c.max_position_embeddings, c.layer_norm_eps,
        first, last,
    )  # fmt: skip


def plain_tokenizer(file: Path) -> Tokenizer:
    """The encoder's tokenizer without the tokens around a text: the graph adds them."""
    document = json.loads(file.read_text(encoding="utf-8"))
    document |= {"truncation": None, "padding": None, "post_processor": None}
    return Tokenizer.from_str(json.dumps(document, ensure_ascii=False))


def build(
    weight: Callable[[str], np.ndarray], c: BertSizes, towards: Directions, terms: int, precision: str, block: int = 32
) -> onnx.ModelProto:
    """The ONNX model: the encoder, its projection to words, the `terms` largest of them at length SCALE."""
    g = Graph(precision, block)
    vector = unit_vectors(g, weight, c)
    affinity = g.linear(g.op("Unsqueeze", vector, g.ints(1)), "directions", towards.matrix)
    affinity = g.op("Add", g.op("Squeeze", affinity, g.ints(1)), g.constant("shift", towards.shift))
    affinity = g.op("Relu", affinity)
    count = min(terms, len(towards.rows))
    largest, _ = g.many("TopK", affinity, g.ints(count), outputs=2, axis=-1, largest=1, sorted=1)
    least = g.op("Slice", largest, g.ints(count - 1), g.ints(count), g.ints(1))
    kept = g.op("Cast", g.op("GreaterOrEqual", affinity, least), to=TensorProto.FLOAT)
    length = g.op("Max", g.op("ReduceL2", largest, axes=[1], keepdims=1), g.floats(1e-6))
    weights = g.op("Mul", g.op("Mul", affinity, kept), g.op("Div", g.floats(SCALE), length))
    nonempty = g.op("ReduceMax", "attention_mask", axes=[1], keepdims=1)
    weights = g.op("Mul", weights, g.op("Cast", nonempty, to=TensorProto.FLOAT))
    return assembled(g, "csplade_words", weights, len(towards.rows), towards.rows, dense=(vector, c.hidden))


def fingerprint(state: dict[str, np.ndarray], towards: Directions, tokenizer_json: str, lexicon: Lexicon) -> str:
    """16 hexadecimal digits that name the weight space, the same at every precision."""
    digest = hashlib.sha256(f"bert/{POOLING}/{ACTIVATION}".encode())
    parts = state | {"rows": towards.rows, "matrix": towards.matrix, "shift": towards.shift}
    for name, value in sorted(parts.items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(value, dtype="<f4").tobytes())
    digest.update(tokenizer_json.encode())
    digest.update(lexicon.to_json().encode())
    return digest.hexdigest()[:16]


def write(
    directory: Path,
    model: Any,
    tokenizer: Tokenizer,
    towards: Directions,
    lexicon: Lexicon,
    precision: str,
    about: Description,
    terms: int = 60,
) -> dict[str, object]:
    """Write a checkpoint directory of a transformers BertModel; returns its manifest."""
    cleared(directory)
    # The pooler is made at random where a checkpoint has none, and no part of the graph.
    state = {
        name: tensor.detach().float().cpu().numpy()
        for name, tensor in model.state_dict().items()
        if not name.startswith("pooler.")
    }
    text = tokenizer.to_str()
    (directory / "tokenizer.json").write_text(text, encoding="utf-8")
    graph = build(state.__getitem__, sizes_of(model, tokenizer), towards, terms, precision)
    save(graph, directory / "model.onnx")
    lexicon.write(directory)
    name = fingerprint(state, towards, text, lexicon)
    described = replace(
        about,
        training=about.training | {"words": len(towards.rows), "terms": terms},
        dense_dimension=model.config.hidden_size,
    )
    return write_manifest(directory, described, precision, model.config.vocab_size, name, "bi", ACTIVATION, POOLING)
