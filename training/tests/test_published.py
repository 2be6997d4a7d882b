"""Published sparse encoders: Node gives the ids and weights that their own library gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from node_encoder import Encoded, assert_same, encode
from published_folders import LIMIT, LONG, TEXTS, bge_m3, idf_of, masked, write_card, write_idf, write_lexical_card
from tokenizers import Tokenizer
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer

from csplade_train import cli
from csplade_train.evaluate import OnnxEncoder
from csplade_train.input_recipe import RoleInput, tokens_read

SPECIAL_OF_BERT = ("[CLS]", "[SEP]", "[PAD]", "[MASK]")
ROLES = ("document", "query")
EVERY = [*TEXTS, LONG]
"""Of a document that is too long, the passages are compared; of such a question, what is not cut off."""


def converted(directory: Path, out: Path, *more: str) -> dict[str, Any]:
    words = ["convert", str(directory), "--out", str(out), "--name", "test", "--license", "Apache-2.0"]
    assert cli.main([*words, "--precision", "fp32", *more]) == 0
    return json.loads((out / "manifest.json").read_text(encoding="utf-8"))


def sparse_encoder(directory: Path, kind: str, activation: str, pooling: str, prompts: dict[str, str]) -> Any:
    from sentence_transformers import SparseEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sparse_encoder.modules import SpladePooling

    model = Transformer(str(masked(kind, directory / "model")), transformer_task="fill-mask")
    splade = SpladePooling(pooling, activation_function=activation)
    return SparseEncoder(modules=[model, splade], prompts=prompts, device="cpu")


def given(encoder: Any, role: str, texts: list[str]) -> np.ndarray:
    encode_role: Callable[..., torch.Tensor] = encoder.encode_query if role == "query" else encoder.encode_document
    return encode_role(texts, convert_to_sparse_tensor=False, show_progress_bar=False).cpu().numpy()


@pytest.mark.parametrize(
    ("kind", "activation", "pooling", "prompts"),
    [
        ("bert", "relu", "max", {}),
        ("distilbert", "log1p_relu", "max", {"query": "query: ", "document": "passage: "}),
        ("roberta", "relu", "sum", {"query": "a query: "}),
        # encode_document asks for the prompt "document", which is there and empty unless somebody set it.
        ("modernbert", "relu", "max", {"query": "query: ", "passage": "passage: "}),
    ],
)
def test_a_sparse_encoder_gives_in_node_what_sentence_transformers_gives(
    kind: str, activation: str, pooling: str, prompts: dict[str, str], tmp_path: Path
) -> None:
    encoder = sparse_encoder(tmp_path, kind, activation, pooling, prompts)
    encoder.save_pretrained(str(tmp_path / "published"))
    manifest = converted(tmp_path / "published", tmp_path / "out")
    assert manifest["activation"] == {"relu": "log1p_relu", "log1p_relu": "log1p_log1p_relu"}[activation]
    assert manifest["pooling"] == pooling
    for role in ROLES:
        assert manifest["input"][role]["prefix"] == prompts.get(role, "")
        got = encode(tmp_path / "out", EVERY, role)
        assert len(got) == len(EVERY) if role == "query" else len(got) > len(EVERY) + 3
        expected = given(encoder, role, EVERY if role == "query" else [passage.text for passage in got])
        assert 5 < np.count_nonzero(expected[0]) < expected.shape[1]
        assert_same(got, expected)
        assert encode(tmp_path / "out", ["", " "], role) == [], "a blank text has no terms"


def test_a_router_with_a_table_for_queries_gives_in_node_what_sentence_transformers_gives(tmp_path: Path) -> None:
    from sentence_transformers import SparseEncoder
    from sentence_transformers.base.modules import Router, Transformer
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding, SpladePooling

    source = masked("distilbert", tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(source)
    torch.manual_seed(1)
    documents = [
        Transformer(str(source), transformer_task="fill-mask"), SpladePooling("max", activation_function="log1p_relu")
    ]  # fmt: skip
    queries = [SparseStaticEmbedding(tokenizer, torch.rand(len(tokenizer)) * 5)]
    router = Router.for_query_document(query_modules=queries, document_modules=documents)
    encoder = SparseEncoder(modules=[router], device="cpu")
    encoder.save_pretrained(str(tmp_path / "published"))
    manifest = converted(tmp_path / "published", tmp_path / "out")
    assert "query_weights.json" in manifest["files"] and manifest["activation"] == "log1p_log1p_relu"
    got = encode(tmp_path / "out", EVERY, "document")
    assert_same(got, given(encoder, "document", [passage.text for passage in got]))
    got = encode(tmp_path / "out", EVERY, "query")
    assert_same(got, given(encoder, "query", EVERY))
    assert manifest["input"]["query"]["terms"] == "table"
    assert_python_reads_as_node(tmp_path / "out", manifest, got)


def assert_python_reads_as_node(directory: Path, manifest: dict[str, Any], given_by_node: list[Encoded]) -> None:
    """Evaluation here has the questions' vectors that Node gives."""
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    questioner, around = cli.questioner_of(
        directory, OnnxEncoder(directory, 1), RoleInput.of(manifest["input"]["query"])
    )
    rows = tokens_read(tokenizer, EVERY, manifest["max_tokens"]["query"], around)
    expected = np.zeros((len(EVERY), manifest["vocabulary_size"]), dtype=np.float32)
    found = questioner.encode(rows, manifest["top_k"]["query"])
    for row, (indices, weights) in zip(expected, found, strict=True):
        row[indices] = weights
    assert_same(given_by_node, expected)


@pytest.mark.parametrize("factors", [[1.0], [0.0, 1.0, 0.25, 3.0]])
def test_a_model_that_adds_nothing_to_questions_gives_in_node_what_sentence_transformers_gives(
    factors: list[float], tmp_path: Path
) -> None:
    """In the layout of naver/splade-v3-lexical: a Router behind the pooling has the question's tokens multiply it."""
    from sentence_transformers import SparseEncoder
    from sentence_transformers.base.modules import Router, Transformer
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding, SpladePooling

    model = Transformer(str(masked("bert", tmp_path / "model")), transformer_task="fill-mask")
    weights = torch.tensor(factors).repeat(len(model.tokenizer))[: len(model.tokenizer)].clone()
    static = SparseStaticEmbedding(model.tokenizer, weights, frozen=True)
    router = Router({"query": [static], "document": []}, default_route="document")
    encoder = SparseEncoder(modules=[model, SpladePooling("max"), router], device="cpu")
    encoder.prompts = {"query": "query: ", "document": ""}
    encoder.save_pretrained(str(tmp_path / "published"))
    manifest = converted(tmp_path / "published", tmp_path / "out")
    assert manifest["input"]["query"]["terms"] == "own" and "terms" not in manifest["input"]["document"]
    got = encode(tmp_path / "out", EVERY, "document")
    assert_same(got, given(encoder, "document", [passage.text for passage in got]))
    expected, whole = given(encoder, "query", EVERY), given(encoder, "document", EVERY)
    assert 5 < np.count_nonzero(expected) < np.count_nonzero(whole) / 4, "the model adds terms, the question has none"
    got = encode(tmp_path / "out", EVERY, "query")
    assert_same(got, expected)
    assert_python_reads_as_node(tmp_path / "out", manifest, got)


def own_code(directory: Path, texts: list[str], activation: str, never: list[int]) -> np.ndarray:
    """What the model cards of SPLADE and of OpenSearch's encoders compute, one text at a time."""
    tokenizer, model = AutoTokenizer.from_pretrained(directory), AutoModelForMaskedLM.from_pretrained(directory).eval()
    rows = []
    for text in texts:
        features = tokenizer(text, truncation=True, return_tensors="pt", return_token_type_ids=False)
        with torch.no_grad():
            scores = model(**features).logits * features["attention_mask"].unsqueeze(-1)
        values = torch.log1p(torch.relu(scores.max(1).values))
        values = torch.log1p(values) if activation == "log1p_log1p_relu" else values
        values[:, never] = 0
        rows.append(values[0].numpy())
    return np.stack(rows)


@pytest.mark.parametrize("activation", ["log1p_relu", "log1p_log1p_relu"])
def test_opensearchs_encoder_without_inference_for_queries_gives_what_its_model_card_computes(
    activation: str, tmp_path: Path
) -> None:
    source = masked("bert", tmp_path / "model")
    write_idf(source)
    special = [0, 1, 2, 3, 4]
    more = [] if activation == "log1p_relu" else ["--activation", activation]
    manifest = converted(source, tmp_path / "out", *more)
    assert manifest["never_terms"] == special and manifest["training"] == {"family": "opensearch"}
    got = encode(tmp_path / "out", EVERY, "document")
    assert_same(got, own_code(source, [passage.text for passage in got], activation, special))
    tokenizer, idf = AutoTokenizer.from_pretrained(source), idf_of(source)
    expected = np.zeros((len(TEXTS), len(tokenizer)), dtype=np.float32)
    for row, text in zip(expected, TEXTS, strict=True):
        for token in tokenizer.tokenize(text)[: LIMIT - 2]:
            row[tokenizer.convert_tokens_to_ids(token)] = 0.0 if token == "[UNK]" else idf.get(token, 0.0)
    assert_same(encode(tmp_path / "out", TEXTS, "query"), expected)


def test_bge_m3_gives_in_node_the_weights_of_its_sparse_head(tmp_path: Path) -> None:
    source = bge_m3(tmp_path / "model")
    manifest = converted(source, tmp_path / "out")
    assert manifest["activation"] == "relu" and manifest["pooling"] == "max"
    tokenizer, model = AutoTokenizer.from_pretrained(source), AutoModel.from_pretrained(source).eval()
    head = torch.load(source / "sparse_linear.pt", weights_only=True)
    never = {tokenizer.cls_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id}

    def of_head(texts: list[str]) -> np.ndarray:
        """As its authors' code: the largest weight of each token's places, none of special tokens."""
        rows = np.zeros((len(texts), len(tokenizer)), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            features = tokenizer(text, truncation=True, return_tensors="pt")
            with torch.no_grad():
                hidden = model(**features).last_hidden_state[0]
            weights = torch.relu(torch.nn.functional.linear(hidden, head["weight"], head["bias"]))[:, 0]
            for number, weight in zip(features["input_ids"][0].tolist(), weights.tolist(), strict=True):
                row[number] = 0.0 if number in never else max(row[number], weight)
        return rows

    for role in ROLES:
        got = encode(tmp_path / "out", EVERY, role)
        expected = of_head(EVERY if role == "query" else [passage.text for passage in got])
        assert np.count_nonzero(expected) > 20
        assert_same(got, expected)


@pytest.mark.parametrize(("tag", "never"), [("splade", []), ("opensearch", [0, 1, 2, 3, 4])])
def test_a_plain_masked_model_is_read_as_its_model_card_says(tag: str, never: list[int], tmp_path: Path) -> None:
    source = masked("bert", tmp_path / "model")
    write_card(source, "transformers", tag)
    assert converted(source, tmp_path / "out")["training"] == {"family": tag}
    assert_same(encode(tmp_path / "out", EVERY, "query"), own_code(source, EVERY, "log1p_relu", never))


@pytest.mark.parametrize("told", ["card", "training", "name"])
def test_a_splade_lexical_folder_gives_questions_their_own_tokens_as_its_authors_code_does(
    told: str, tmp_path: Path
) -> None:
    source = masked("bert", tmp_path / "model")
    more = ["--family", "splade-lexical"] if told == "name" else []
    if told == "card":
        write_lexical_card(source)
    if told == "training":
        write_card(source, "splade")
        (source / "training_args.json").write_text(json.dumps({"lexical_type": "query"}), encoding="utf-8")
    manifest = converted(source, tmp_path / "out", *more)
    assert manifest["training"] == {"family": "splade-lexical"}
    got = encode(tmp_path / "out", EVERY, "document")
    assert_same(got, own_code(source, [passage.text for passage in got], "log1p_relu", []))
    tokenizer = AutoTokenizer.from_pretrained(source)
    expected = own_code(source, EVERY, "log1p_relu", [tokenizer.convert_tokens_to_ids(t) for t in SPECIAL_OF_BERT])
    for row, text in zip(expected, EVERY, strict=True):
        others = np.ones(len(row), dtype=bool)
        others[tokenizer(text, truncation=True)["input_ids"]] = False
        row[others] = 0
    assert np.count_nonzero(expected) > 5
    got = encode(tmp_path / "out", EVERY, "query")
    assert_same(got, expected)
    assert_python_reads_as_node(tmp_path / "out", manifest, got)
    if told != "name":
        return
    write_card(source, "splade")
    plain = converted(source, tmp_path / "plain")
    assert plain["training"] == {"family": "splade"}
    assert plain["fingerprint"] != manifest["fingerprint"], "another space, for the same weights"
    assert converted(source, tmp_path / "again", *more)["fingerprint"] == manifest["fingerprint"]


@pytest.mark.parametrize("told", ["card", "training"])
def test_a_splade_of_documents_alone_has_questions_of_their_tokens_without_a_model(told: str, tmp_path: Path) -> None:
    source = masked("bert", tmp_path / "model")
    write_card(source, "splade")
    if told == "card":
        with open(source / "README.md", "a", encoding="utf-8") as card:
            card.write("SPLADE-v3-Doc is the SPLADE-Doc version (no inference on query side).\n")
    else:
        (source / "model_args.json").write_text(json.dumps({"splade_doc": True}), encoding="utf-8")
    manifest = converted(source, tmp_path / "out")
    assert manifest["training"] == {"family": "splade-doc"}
    got = encode(tmp_path / "out", EVERY, "document")
    assert_same(got, own_code(source, [passage.text for passage in got], "log1p_relu", []))
    tokenizer = AutoTokenizer.from_pretrained(source)
    expected = np.zeros((len(EVERY), len(tokenizer)), dtype=np.float32)
    for row, text in zip(expected, EVERY, strict=True):
        row[tokenizer(text, truncation=True)["input_ids"]] = 1.0
        row[[tokenizer.cls_token_id, tokenizer.sep_token_id]] = 0.0
    got = encode(tmp_path / "out", EVERY, "query")
    assert_same(got, expected)
    assert_python_reads_as_node(tmp_path / "out", manifest, got)


@pytest.mark.parametrize("family", ["splade", "splade-lexical", "splade-doc"])
def test_the_evaluation_asks_as_node_asks(family: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = masked("bert", tmp_path / "model")
    converted(source, tmp_path / "out", "--family", family)
    data = tmp_path / "data"
    (data / "qrels").mkdir(parents=True)
    asked = TEXTS[:3]
    for name, prefix, texts in (("corpus", "d", TEXTS), ("queries", "q", asked)):
        lines = [json.dumps({"_id": f"{prefix}{n}", "text": text}) for n, text in enumerate(texts)]
        (data / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    judged = [f"q{n}\td{n}\t1" for n in range(len(asked))]
    (data / "qrels" / "test.tsv").write_text("\n".join(["query\tdocument\tgrade", *judged]) + "\n", encoding="utf-8")
    capsys.readouterr()
    words = ["evaluate", "--checkpoint", str(tmp_path / "out"), "--data", str(data), "--threads", "1"]
    assert cli.main(words) == 0
    figures = json.loads(capsys.readouterr().out)
    for role, texts in (("query", asked), ("document", TEXTS)):
        terms = np.mean([len(passage.terms) for passage in encode(tmp_path / "out", texts, role)])
        assert figures[f"terms/{role}"] == pytest.approx(terms, abs=0.4), role


def test_a_splade_that_leaves_documents_their_own_terms_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = masked("bert", tmp_path / "model")
    write_card(source, "splade")
    (source / "training_args.json").write_text(json.dumps({"lexical_type": "both"}), encoding="utf-8")
    words = ["convert", str(source), "--out", str(tmp_path / "out"), "--name", "test", "--license", "MIT"]
    assert cli.main(words) == 2
    assert "lexical_type" in capsys.readouterr().err


def test_a_role_whose_terms_are_any_is_told_as_before_so_that_fingerprints_stay() -> None:
    told = {"prefix": "query: ", "suffix": "", "begin": ("[CLS]",), "end": ("[SEP]",)}
    assert RoleInput.of(told).told() == told
    own, table = (RoleInput.of({**told, "terms": terms}) for terms in ("own", "table"))
    assert own.told() == own.space() == {**told, "terms": "own"}
    assert table.told() == {**told, "terms": "table"} and table.space() == told, "its weights are in the fingerprint"


def test_a_masked_model_that_nothing_calls_sparse_is_refused_until_it_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = masked("bert", tmp_path / "model")
    words = ["convert", str(source), "--out", str(tmp_path / "out"), "--name", "test", "--license", "MIT"]
    assert cli.main(words) == 2
    told = capsys.readouterr().err
    assert "BertForMaskedLM" in told and "model.safetensors" in told and "--family" in told
    assert not (tmp_path / "out").exists()
    assert cli.main([*words, "--family", "splade"]) == 0
    assert cli.main([*words, "--family", "sparse-encoder"]) == 2, "a name alone makes no other of it"


def test_a_folder_of_something_else_is_refused_with_what_is_in_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("nothing", encoding="utf-8")
    words = ["--out", str(tmp_path / "out"), "--name", "test", "--license", "MIT"]
    assert cli.main(["convert", str(tmp_path), *words]) == 2
    assert "notes.txt" in capsys.readouterr().err
    assert cli.main(["convert", str(tmp_path / "none"), *words]) == 2
    assert "no such directory" in capsys.readouterr().err


def test_what_is_around_a_text_is_part_of_the_fingerprint_and_the_precision_is_not(tmp_path: Path) -> None:
    encoder = sparse_encoder(tmp_path, "bert", "relu", "max", {})
    prints = []
    for number, words in enumerate(({}, {}, {"query": "query: "})):
        encoder.prompts = {"query": "", "document": "", **words}
        encoder.save_pretrained(str(tmp_path / f"published{number}"))
        more = ["--precision", "fp16"] if number == 1 else []
        prints.append(converted(tmp_path / f"published{number}", tmp_path / "out", *more)["fingerprint"])
    assert prints[0] == prints[1] != prints[2]
