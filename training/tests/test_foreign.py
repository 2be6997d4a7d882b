"""Other people's architectures, small and random: ONNX Runtime gives what transformers gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from node_encoder import assert_same, encode
from test_export import dense, rounded_weight, session
from tokenizers import Tokenizer, processors
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    SmolLM3Config,
    SmolLM3ForCausalLM,
)
from world import pairs

from csplade_train import cli, foreign
from csplade_train import tokenizer as tok
from csplade_train.onnx_graph import PRECISIONS
from csplade_train.readers.folder import Folder
from csplade_train.trunk_shape import demand_sight, shape_of, windows_of

TEXTS = [p.passage for p in pairs(40)]
TOKENIZER = tok.train(TEXTS, 380)
VOCABULARY = Tokenizer.from_str(TOKENIZER).get_vocab_size()
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "pad_token_id": 0,
}  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}  # fmt: skip
GEMMA3: dict[str, Any] = {
    "head_dim": 32, "query_pre_attn_scalar": 48, "sliding_window": 300,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    "rope_parameters": {
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        "full_attention": {"rope_type": "linear", "rope_theta": 1000000.0, "factor": 8.0},
    },
}  # fmt: skip


MADE: dict[str, Callable[[], Any]] = {
    # As Llama 3.2 1B: tied embeddings and scaled rotary positions.
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=True, rope_parameters=LLAMA3)),
    # As Llama 3.1 8B: a head of its own.
    "llama-untied": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=False, rope_parameters=LLAMA3)),
    # As Mistral v0.3: heads of a size of their own, no window.
    "mistral": lambda: MistralForCausalLM(MistralConfig(**SIZES, head_dim=24, sliding_window=None)),
    # As Qwen2.5: biases.
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES, tie_word_embeddings=False)),
    # As Qwen3: norms of queries and keys, heads wider than the hidden size.
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES, head_dim=32, tie_word_embeddings=True)),
    # As Gemma 3: norms of outputs, scaled embeddings, near and far layers.
    "gemma-3": lambda: Gemma3ForCausalLM(Gemma3TextConfig(**SIZES, **GEMMA3)),
    # As SmolLM3: a layer without positions.
    "smollm3": lambda: SmolLM3ForCausalLM(SmolLM3Config(**SIZES, no_rope_layer_interval=2, tie_word_embeddings=True)),
}


def model_of(architecture: str) -> Any:
    """A small random model of an architecture."""
    torch.manual_seed(3)
    model = MADE[architecture]()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                # Gemma 3 adds 1 to what its norms have.
                parameter.normal_(mean=0.0 if architecture == "gemma-3" else 1.0, std=0.1)
            else:
                parameter.normal_(std=0.25 if "embed" in name or "head" in name else 0.1)
    return model.eval()


def reference(model: Any, family: foreign.Family, rows: list[list[int]]) -> np.ndarray:
    """The family's formula on transformers' own logits, one text at a time."""
    result = []
    for row in rows:
        if not row:
            result.append(np.zeros(VOCABULARY, dtype=np.float32))
            continue
        ids = torch.tensor([row])
        allowed = torch.ones(len(row), len(row), dtype=torch.bool)
        if family.causal:
            allowed = allowed.tril()
        mask = torch.zeros(1, 1, len(row), len(row)).masked_fill(~allowed, torch.finfo(torch.float32).min)
        with torch.no_grad():
            # Gemma 3 takes a mask a kind of layer.
            masks = mask
            if model.config.model_type == "gemma3_text":
                masks = {"full_attention": mask, "sliding_attention": mask}
            logits = model(ids, attention_mask=masks, position_ids=torch.arange(len(row))[None]).logits[0]
        scale = model.config.hidden_size**family.scale_power
        result.append(torch.log1p(torch.relu(logits.max(0).values * scale)).numpy())
    return np.stack(result)


ROWS = [*tok.encode_batch(Tokenizer.from_str(TOKENIZER), TEXTS[:4], 60), [5], []]


def written(directory: Path, model: Any, family: str, precision: str, **more: Any) -> dict[str, Any]:
    base = {"name": "random", "source": "seed 3", "license": "Apache-2.0"}
    tokenizer = Tokenizer.from_str(TOKENIZER)
    return foreign.write(directory, model, tokenizer, foreign.FAMILIES[family], precision, "test", base, **more)


@pytest.mark.parametrize(
    ("family", "architecture", "precision"),
    [
        *((f, a, p) for f in ("laconic", "lion-sp", "lightretriever") for a in ("llama", "qwen2") for p in PRECISIONS),
        *(
            ("laconic", a, p)
            for a in ("llama-untied", "mistral", "qwen3", "gemma-3", "smollm3")
            for p in ("fp32", "int8")
        ),
        ("lightretriever", "qwen3", "int4"),
    ],
)
def test_converted_models_give_the_authors_weights(
    family: str, architecture: str, precision: str, tmp_path: Path
) -> None:
    model = model_of(architecture)
    manifest = written(tmp_path, model, family, precision)
    got = dense(session(tmp_path), ROWS, VOCABULARY)
    if precision.startswith("int"):
        # The weights are rounded alike here; what is left is the runtime's rounding of activations.
        round_weights(model, precision)
    expected = reference(model, foreign.FAMILIES[family], ROWS)
    assert (expected > 0).any() and manifest["variant"] == ("causal" if family == "lightretriever" else "bi")
    error = np.abs(got - expected)
    assert error.mean() < {"fp32": 1e-5, "fp16": 2e-3, "int8": 5e-2, "int4": 5e-2}[precision] * expected.mean()
    assert error.max() < {"fp32": 2e-4, "fp16": 2e-2, "int8": 0.4, "int4": 0.4}[precision]
    assert not got[-1].any(), "an empty text has no terms"


def round_weights(model: Any, precision: str) -> None:
    """Replace the weights of all matrices by what their codes stand for."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.copy_(torch.from_numpy(rounded_weight(parameter.numpy(), precision)))


def test_only_lightretriever_brings_queries_that_count_tokens(tmp_path: Path) -> None:
    model = model_of("llama")
    assert "query_weights.json" not in written(tmp_path, model, "laconic", "fp32")["files"]
    assert "query_weights.json" in written(tmp_path, model, "lightretriever", "fp32")["files"]
    table = json.loads((tmp_path / "query_weights.json").read_text(encoding="utf-8"))
    assert table["repeated"] == "sum" and set(table["weights"]) == {1.0} and len(table["weights"]) == VOCABULARY


def test_a_corpus_vocabulary_gives_the_same_weights_for_fewer_terms_under_their_own_ids(tmp_path: Path) -> None:
    model = model_of("llama")
    terms = foreign.corpus_terms(Tokenizer.from_str(TOKENIZER), TEXTS, 3)
    assert 10 < len(terms) < VOCABULARY
    manifest = written(tmp_path, model, "laconic", "fp32", term_ids=terms)
    got = dense(session(tmp_path), ROWS, VOCABULARY)
    expected = reference(model, foreign.FAMILIES["laconic"], ROWS)
    np.testing.assert_allclose(got[:, terms], expected[:, terms], atol=2e-4)
    others = np.setdiff1d(np.arange(VOCABULARY), terms)
    assert not got[:, others].any()
    assert manifest["fingerprint"] != written(tmp_path, model, "laconic", "fp32")["fingerprint"]


def test_dropping_layers_is_the_model_without_them(tmp_path: Path) -> None:
    model = model_of("qwen2")
    written(tmp_path, model, "lion-sp", "fp32", layers=2)
    got = dense(session(tmp_path), ROWS, VOCABULARY)
    model.model.layers = model.model.layers[:2]
    np.testing.assert_allclose(got, reference(model, foreign.FAMILIES["lion-sp"], ROWS), atol=2e-4)
    with pytest.raises(ValueError, match="--layers"):
        written(tmp_path, model, "lion-sp", "fp32", layers=9)


def test_weights_beyond_the_limit_lie_beside_the_model_and_are_listed(tmp_path: Path) -> None:
    model = model_of("llama")
    manifest = written(tmp_path, model, "laconic", "fp32", largest=10_000)
    assert manifest["files"]["model.onnx_data"]["bytes"] > manifest["files"]["model.onnx"]["bytes"]
    got = dense(session(tmp_path), ROWS, VOCABULARY)
    np.testing.assert_allclose(got, reference(model, foreign.FAMILIES["laconic"], ROWS), atol=2e-4)
    again = written(tmp_path, model, "laconic", "fp32", largest=10_000)
    assert again["files"] == manifest["files"], "writing twice does not grow the file"
    assert "model.onnx_data" not in written(tmp_path, model, "laconic", "fp32")["files"]


def test_the_command_converts_a_saved_model_with_an_adapter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from peft import LoraConfig, get_peft_model

    model = model_of("llama")
    source, adapter, out = tmp_path / "Llama-3.2-1B", tmp_path / "adapter", tmp_path / "out"
    model.save_pretrained(source)
    (source / "tokenizer.json").write_text(TOKENIZER, encoding="utf-8")
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    adapted.save_pretrained(adapter)
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    words = ["convert", "--family", "laconic", "--model", str(source), "--adapter", str(adapter), "--out", str(out)]
    words += ["--name", "test", "--license", "MIT", "--precision", "fp32"]
    for trained_on, more, status in (
        ("someone/Llama-3.2-3B", [], 2),
        ("someone/Llama-3.2-3B", ["--base-name", "Llama-3.2-3B"], 0),
        ("someone/Llama-3.2-1B", [], 0),
    ):
        config["base_model_name_or_path"] = trained_on
        (adapter / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
        capsys.readouterr()
        assert cli.main([*words, *more]) == status
        assert status == 0 or not out.exists(), "another base with the same shapes is not merged"
    assert json.loads(capsys.readouterr().out)["license"] == "MIT"
    merged = adapted.merge_and_unload().eval()
    got = dense(session(out), ROWS, VOCABULARY)
    np.testing.assert_allclose(got, reference(merged, foreign.FAMILIES["laconic"], ROWS), atol=2e-4)


def test_a_family_is_read_from_what_is_published_and_named_where_that_says_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from peft import LoraConfig, get_peft_model

    model = model_of("llama")
    source, adapter, out = tmp_path / "Llama-3.2-1B", tmp_path / "adapter", tmp_path / "out"
    model.save_pretrained(source)
    (source / "tokenizer.json").write_text(TOKENIZER, encoding="utf-8")
    tuned = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    get_peft_model(model, tuned).save_pretrained(adapter)
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = "someone/Llama-3.2-1B"
    (adapter / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    more = ["--out", str(out), "--name", "test", "--license", "MIT", "--precision", "fp32"]
    alone, based = ["convert", str(adapter), *more], ["convert", str(adapter), "--model", str(source), *more]

    for card, said in (
        ("A retriever.", "name it with --family laconic, lion-sp, lightretriever"),
        ("Better than Lion-SP and LightRetriever.", "name it with --family"),
    ):
        (adapter / "README.md").write_text(card, encoding="utf-8")
        assert cli.main(based) == 2
        assert said in capsys.readouterr().err
    (adapter / "README.md").write_text("Scaling sparse retrieval (arXiv:2502.15526)", encoding="utf-8")
    assert cli.main(alone) == 2
    assert "an adapter of someone/Llama-3.2-1B: give its base, --model BASE" in capsys.readouterr().err
    assert not out.exists()
    assert cli.main(based) == 0
    got = dense(session(out), ROWS, VOCABULARY)
    np.testing.assert_allclose(got, reference(model_of("llama"), foreign.FAMILIES["lion-sp"], ROWS), atol=2e-4)

    # A whole model says it in its own folder; a masked one that is compared with it is not one.
    (source / "README.md").write_text("# LACONIC-1B", encoding="utf-8")
    assert cli.main(["convert", str(source), *more]) == 0
    named = Folder(source)
    assert foreign.family_of(named) == "laconic"
    (source / "config.json").write_text('{"architectures": ["BertForMaskedLM"]}', encoding="utf-8")
    assert foreign.family_of(named) is None


def test_what_is_around_texts_is_in_the_manifest_and_no_part_of_queries_that_count_tokens(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_str(TOKENIZER)
    around = processors.TemplateProcessing(
        single=f"{tok.PAD_TOKEN} $A {tok.PAD_TOKEN}", special_tokens=[(tok.PAD_TOKEN, 0)]
    )
    tokenizer.post_processor = around
    base = {"name": "random", "source": "seed 3", "license": "Apache-2.0"}
    model = model_of("llama")
    text = " ".join(TEXTS[0].split()[:9])
    plain = Tokenizer.from_str(TOKENIZER)
    for family, prefix in (("laconic", {"document": "passage: ", "query": "query: "}), ("lightretriever", {})):
        foreign.write(tmp_path, model, tokenizer, foreign.FAMILIES[family], "fp32", "test", base)
        for role in ("document", "query"):
            words = prefix.get(role, "")
            ids = plain.encode(words + text).ids
            if family == "lightretriever" and role == "query":
                got = encode(tmp_path, [text], role)
                assert got[0].terms == {i: float(ids.count(i)) for i in set(ids)}
            else:
                expected = reference(model, foreign.FAMILIES[family], [[0, *ids, 0]])
                assert_same(encode(tmp_path, [text], role), expected, within=2e-4)


def test_lower_casing_and_an_end_token_are_added_to_the_tokenizer(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_text(TOKENIZER, encoding="utf-8")
    word = TEXTS[0].split()[0]
    plain = Tokenizer.from_str(TOKENIZER).encode(word).ids
    changed = foreign.adapted_tokenizer(file, lowercase=True, append_eos=tok.PAD_TOKEN)
    assert changed.encode(word.upper()).ids == [*plain, 0]
    with pytest.raises(ValueError, match="no token"):
        foreign.adapted_tokenizer(file, False, "<nothing>")


def test_an_architecture_that_is_not_understood_is_refused() -> None:
    config = LlamaConfig(**SIZES)
    config.model_type = "gemma"
    with pytest.raises(ValueError, match="gemma"):
        shape_of(config)
    with pytest.raises(ValueError, match="bias"):
        shape_of(LlamaConfig(**SIZES, attention_bias=True))


def test_a_window_is_refused_only_where_texts_are_longer() -> None:
    demand_sight(windows_of(MistralConfig(**SIZES, sliding_window=4096)), 512)
    with pytest.raises(ValueError, match="200 at once"):
        demand_sight(windows_of(MistralConfig(**SIZES, sliding_window=200)), 512)
    demand_sight(windows_of(Qwen2Config(**SIZES, sliding_window=200, use_sliding_window=False)), 512)
    with pytest.raises(ValueError, match="300 at once"):
        demand_sight(windows_of(Gemma3TextConfig(**SIZES, **GEMMA3)), 301)


def test_every_file_of_a_checkpoint_may_be_read_by_others_its_large_weights_too(tmp_path: Path) -> None:
    manifest = written(tmp_path, model_of("llama"), "laconic", "fp16", largest=10_000)
    assert "model.onnx_data" in manifest["files"]
    modes = {file.name: oct(file.stat().st_mode & 0o777) for file in tmp_path.iterdir()}
    assert modes == dict.fromkeys([*manifest["files"], "manifest.json"], "0o644")
