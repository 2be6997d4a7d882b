"""A sentence encoder as a sparse one: the graph is transformers' model and the formula, at every precision."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from test_export import dense, rounded_weight, session
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import BertConfig, BertModel

from csplade_train import cli, dense_view, sparsify
from csplade_train import tokenizer as tok
from csplade_train.checkpoints import Description, sha256_of
from csplade_train.lexicon import Lexicon, TermSpace
from csplade_train.onnx_graph import PRECISIONS

WORDS = ["river", "rivers", "water", "sea", "mountain", "stone", "cat", "dog", "hunt", "night", "house", "bread"]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", *WORDS, "##s", "##ing", "a", "x", "[unused1]"]
TEXTS = [
    "the river flows to the sea", "water of the rivers", "a cat and a dog hunt at night", "stone house", "the mountain",
    "bread water stone", "dogs hunting cats", "", "night night night night night night night night night",
]  # fmt: skip
ABOUT = Description(
    "words-test",
    {"name": "random", "source": "seed 4", "license": "Apache-2.0"},
    {"document": 30, "query": 16},
    {"document": 16, "query": 8},
)


def tokenizer_file(path: Path) -> Path:
    """A WordPiece tokenizer as BERT's, with the tokens around a text and a limit of length."""
    tokenizer = Tokenizer(models.WordPiece({t: n for n, t in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    tokenizer.add_special_tokens(VOCABULARY[:4])
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.enable_truncation(8)
    tokenizer.save(str(path / "tokenizer.json"))
    return path / "tokenizer.json"


def encoder() -> Any:
    torch.manual_seed(4)
    config = BertConfig(
        vocab_size=len(VOCABULARY), hidden_size=64, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=96, max_position_embeddings=40,
    )  # fmt: skip
    model = BertModel(config, add_pooling_layer=False)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "LayerNorm" not in name:
                parameter.normal_(std=0.3)
    return model.eval()


@torch.no_grad()
def vectors(model: Any, rows: list[list[int]]) -> np.ndarray:
    """Unit vectors by transformers, one text at a time, between [CLS] and [SEP]."""
    found = []
    for row in rows:
        mean = model(input_ids=torch.tensor([[2, *row, 3]])).last_hidden_state[0].mean(0)
        found.append((mean / mean.norm()).numpy())
    return np.stack(found)


def as_stored(model: Any, towards: sparsify.Directions, precision: str) -> tuple[Any, sparsify.Directions]:
    """The encoder and the directions with the weights that the codes of a precision stand for."""
    if precision == "fp32":
        return model, towards

    def stored(weight: np.ndarray) -> np.ndarray:
        return (
            weight.astype(np.float16).astype(np.float32) if precision == "fp16" else rounded_weight(weight, precision)
        )

    copy = encoder()
    with torch.no_grad():
        for name, parameter in copy.named_parameters():
            if parameter.ndim == 2 and (name.startswith("encoder.") or "word_embeddings" in name):
                parameter.copy_(torch.from_numpy(stored(parameter.numpy())))
    return copy, replace(towards, matrix=stored(towards.matrix))


def expected(model: Any, rows: list[list[int]], towards: sparsify.Directions, terms: int) -> np.ndarray:
    """The formula of sparsify.py."""
    result: np.ndarray = np.zeros((len(rows), len(VOCABULARY)), dtype=np.float32)
    for n, (row, vector) in enumerate(zip(rows, vectors(model, rows), strict=True)):
        affinity = np.maximum(towards.matrix @ vector + towards.shift, 0)
        kept = np.argsort(-affinity)[:terms]
        if row:
            result[n, towards.rows[kept]] = 10 * affinity[kept] / max(np.linalg.norm(affinity[kept]), 1e-6)
    return result


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_graph_gives_the_words_that_the_encoders_vectors_point_to(precision: str, tmp_path: Path) -> None:
    model, tokenizer = encoder(), sparsify.plain_tokenizer(tokenizer_file(tmp_path))
    lexicon = Lexicon.of(TEXTS, least=1)
    chosen = sparsify.telling_words(TermSpace(tokenizer, lexicon), TEXTS, 1)
    rows = tok.encode_batch(tokenizer, TEXTS, 30)
    assert max(len(row) for row in rows) == 9, "the limit of length is taken away, and nothing stands around a text"
    named = [tokenizer.encode(w, add_special_tokens=False).ids for w in chosen.values()]
    towards = sparsify.directions(chosen, vectors(model, named), vectors(model, [r for r in rows if r]), 0.2)
    manifest = sparsify.write(tmp_path / "out", model, tokenizer, towards, lexicon, precision, ABOUT, terms=4)
    got = dense(session(tmp_path / "out"), rows, len(VOCABULARY))
    rounded, same = as_stored(model, towards, precision)
    wanted = expected(rounded, rows, same, 4)
    assert not got[7].any(), "an empty text has no words"
    assert ((got > 0).sum(1) <= 4).all() and (got[:7] > 0).any(1).all()
    if precision == "fp32":
        np.testing.assert_allclose(got, wanted, atol=2e-4)
    likeness = (got * wanted).sum(1)[:7] / (np.linalg.norm(got, axis=1) * np.linalg.norm(wanted, axis=1))[:7]
    # Of int8 and int4 the activations are rounded as well.
    assert likeness.mean() > {"fp32": 0.99999, "fp16": 0.9999}.get(precision, 0.95), likeness
    assert manifest["pooling"] == "mean" and manifest["activation"] == "relu"


def test_words_are_rows_that_begin_a_word_and_stand_in_enough_texts(tmp_path: Path) -> None:
    tokenizer = sparsify.plain_tokenizer(tokenizer_file(tmp_path))
    space = TermSpace(tokenizer, Lexicon.of(TEXTS, least=1))
    chosen = sparsify.telling_words(space, TEXTS, 1)
    by_word = {word: VOCABULARY[row] for row, word in chosen.items()}
    assert by_word["night"] == "night" and by_word["rivers"] == "river", by_word
    assert not {"##s", "[CLS]", "[unused1]", "the"} & set(by_word.values()), "pieces, marks and stop words are none"
    assert set(sparsify.telling_words(space, TEXTS, 2)) < set(chosen)


def test_directions_do_not_depend_on_the_length_or_the_place_of_the_words_vectors() -> None:
    rng = np.random.default_rng(1)
    texts, words = rng.normal(size=(300, 16)), rng.normal(size=(8, 16))
    chosen = {n: str(n) for n in range(8)}
    one, other = (sparsify.directions(chosen, w, texts) for w in (words, 3 * words + 5))
    np.testing.assert_allclose(one.matrix, other.matrix, rtol=1e-4)
    affinity = texts @ one.matrix.T + one.shift
    np.testing.assert_allclose(affinity.mean(0), -1, atol=1e-4)
    np.testing.assert_allclose(affinity.std(0, ddof=1), 1, atol=1e-4)


def test_the_command_writes_a_checkpoint_from_an_encoders_directory(tmp_path: Path) -> None:
    made = tmp_path / "encoder"
    encoder().save_pretrained(made)
    tokenizer_file(made)
    kind = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]"}
    (made / "tokenizer_config.json").write_text(json.dumps(kind), encoding="utf-8")
    corpus = tmp_path / "texts.ndjson"
    corpus.write_text("".join(json.dumps({"text": t}) + "\n" for t in TEXTS * 3 if t), encoding="utf-8")
    out = tmp_path / "out"
    words = ["sparsify", "--encoder", str(made), "--texts", str(corpus), "--out", str(out), "--name", "words-test"]
    status = cli.main([*words, "--license", "Apache-2.0", "--least", "3", "--precision", "fp32", "--threads", "1"])
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert status == 0 and manifest["training"] == {"words": 11, "terms": 60}
    assert Lexicon.read(out / "lexicon.json").expansions == {"query": 10}


def test_another_architecture_is_refused_by_name(tmp_path: Path) -> None:
    model, tokenizer = encoder(), sparsify.plain_tokenizer(tokenizer_file(tmp_path))
    model.config.model_type = "roberta"
    with pytest.raises(ValueError, match="roberta"):
        sparsify.sizes_of(model, tokenizer)


def test_the_encoders_own_vector_comes_beside_the_words_and_checkpoints_from_before_gain_it(tmp_path: Path) -> None:
    model, tokenizer = encoder(), sparsify.plain_tokenizer(tokenizer_file(tmp_path))
    lexicon = Lexicon.of(TEXTS, least=1)
    chosen = sparsify.telling_words(TermSpace(tokenizer, lexicon), TEXTS, 1)
    rows = [row for row in tok.encode_batch(tokenizer, TEXTS, 30) if row]
    wanted = vectors(model, rows)
    towards = sparsify.directions(chosen, wanted[: len(chosen)], wanted, 0.2)
    out = tmp_path / "out"
    manifest = sparsify.write(out, model, tokenizer, towards, lexicon, "fp32", ABOUT, terms=4)
    assert manifest["dense"] == {"dimension": 64, "similarity": "cosine"}

    def given() -> tuple[np.ndarray, np.ndarray]:
        width = max(len(row) for row in rows)
        ids = np.array([row + [0] * (width - len(row)) for row in rows], dtype=np.int64)
        mask = np.array([[1] * len(row) + [0] * (width - len(row)) for row in rows], dtype=np.int64)
        inputs = {"input_ids": ids, "attention_mask": mask, "k": np.array([4], dtype=np.int64)}
        weights, found = session(out).run(["weights", "dense"], inputs)
        return weights, found

    weights, found = given()
    np.testing.assert_allclose(found, wanted, atol=2e-4)

    before = onnx.load(str(out / "model.onnx"))
    before.graph.output.pop()
    before.graph.node.pop()
    onnx.save(before, str(out / "model.onnx"))
    (out / "manifest.json").write_text(
        json.dumps({k: v for k, v in manifest.items() if k != "dense"}), encoding="utf-8"
    )
    cli.main(["dense", str(out)])
    again = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert again == manifest | {"files": again["files"]}
    assert again["files"]["model.onnx"]["sha256"] == sha256_of(out / "model.onnx")
    same, exposed = given()
    np.testing.assert_array_equal(exposed, found)
    np.testing.assert_array_equal(same, weights)

    maximum = tmp_path / "maximum"
    maximum.mkdir()
    graph = onnx.helper.make_graph([], "empty", [], [])
    onnx.save(onnx.helper.make_model(graph), str(maximum / "model.onnx"))
    (maximum / "manifest.json").write_text(json.dumps({"files": {}}), encoding="utf-8")
    with pytest.raises(ValueError, match="its pooling is no mean"):
        dense_view.expose(maximum)
