"""A language model in a directory becomes the start of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from node_encoder import assert_same, encode
from test_resume import train
from tokenizers import Tokenizer
from transformers import (
    Gemma3ForCausalLM,
    LlamaForCausalLM,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2ForCausalLM,
    Qwen3ForCausalLM,
    SmolLM3ForCausalLM,
)
from world import RECIPE, pairs

from csplade_train import base, checkpoints, cli
from csplade_train import tokenizer as tok
from csplade_train.batches import padded
from csplade_train.data.pairs import write
from csplade_train.reopen import reopen

LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}  # fmt: skip

GEMMA3 = {
    "head_dim": 32, "query_pre_attn_scalar": 48, "sliding_window": 128, "max_position_embeddings": 256,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
    "rope_parameters": {
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        "full_attention": {"rope_type": "default", "rope_theta": 1000000.0},
    },
}  # fmt: skip
"""Near layers with angles of their own; a scale of attention that is not the one of the head's size."""


def llama(directory: Path, kind: type[PreTrainedModel] = LlamaForCausalLM, **changes: object) -> Path:
    """A random Llama, or a kin of it, of four layers with a byte-level tokenizer, saved as transformers saves it."""
    text = tok.train([p.passage for p in pairs(60)], 380)
    torch.manual_seed(2)
    sizes = {
        "vocab_size": 380, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True,
    }  # fmt: skip
    model = kind(kind.config_class(**(sizes | changes)))
    # Gemma 3 adds 1 to what its norms have.
    usual = 0.0 if kind is Gemma3ForCausalLM else 1.0
    for name, parameter in model.named_parameters():
        if name.endswith(("bias", "norm.weight")):
            torch.nn.init.normal_(parameter, mean=usual if name.endswith("weight") else 0.0, std=0.2)
    model.save_pretrained(directory)
    (directory / "tokenizer.json").write_text(text, encoding="utf-8")
    return directory


def test_prepare_keeps_the_first_layers_and_starts_sparse_and_train_goes_on(tmp_path: Path) -> None:
    source = llama(tmp_path / "llama")
    run = tmp_path / "run"
    config = {
        "start": {
            "seed": 1, "layers": 2, "variant": "bi", "least_count": 1, "trunk_std": 0.6, "distance": 3.0,
            "own_scale": 0.7, "model": str(source),
        },
        "recipe": RECIPE | {"steps": 2, "adaptation_steps": 0},
    }  # fmt: skip
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    write(tmp_path / "pairs.jsonl", pairs(60))
    words = ["--pairs", str(tmp_path / "pairs.jsonl"), "--config", str(tmp_path / "config.yaml"), "--out", str(run)]
    assert cli.main(["prepare", *words]) == 0
    model, _ = checkpoints.load_master(run / "start.pt")
    original = base.load(source).state
    assert model.config.layers == 2
    assert torch.equal(model.layers[1].down.weight, original["model.layers.1.mlp.down_proj.weight"])
    (run / "pairs.jsonl").write_bytes((tmp_path / "pairs.jsonl").read_bytes())
    assert train(run) == 0
    log = (run / "log.jsonl").read_text(encoding="utf-8")
    assert '"terms_document"' in log


SHAPES: dict[str, tuple[type[PreTrainedModel], dict[str, object]]] = {
    "llama-3.1": (LlamaForCausalLM, {"tie_word_embeddings": False, "rope_parameters": LLAMA3}),
    "llama-3.2": (LlamaForCausalLM, {"rope_parameters": LLAMA3}),
    "mistral-0.3": (MistralForCausalLM, {"tie_word_embeddings": False, "head_dim": 24, "sliding_window": None}),
    "qwen2.5": (Qwen2ForCausalLM, {}),
    "qwen3": (Qwen3ForCausalLM, {"head_dim": 32}),
    "gemma-3": (Gemma3ForCausalLM, GEMMA3),
    "smollm2": (LlamaForCausalLM, {"rope_parameters": {"rope_type": "default", "rope_theta": 100000.0}}),
    # Its second layer has no positions.
    "smollm3": (SmolLM3ForCausalLM, {"no_rope_layer_interval": 2, "max_position_embeddings": 256, "pad_token_id": 0}),
}


@pytest.mark.parametrize(
    ("shape", "variant", "rank"),
    [
        ("llama-3.1", "bi", 2), ("llama-3.1", "echo", 0), ("llama-3.2", "echo", 2), ("mistral-0.3", "bi", 0),
        ("qwen2.5", "echo", 2), ("qwen3", "bi", 0), ("gemma-3", "bi", 2), ("gemma-3", "echo", 0),
        ("smollm3", "bi", 0), ("smollm3", "echo", 2), ("smollm2", "echo", 0),
    ],
)  # fmt: skip
def test_language_models_of_many_shapes_are_adapted_and_trained_and_give_in_node_what_torch_gives(
    shape: str, variant: str, rank: int, tmp_path: Path
) -> None:
    kind, changes = SHAPES[shape]
    source = llama(tmp_path / "base", kind, **changes)
    run, out = tmp_path / "run", tmp_path / "out"
    config = {
        "start": {
            "seed": 1, "layers": 2, "variant": variant, "least_count": 1, "trunk_std": 0.6, "distance": 3.0,
            "own_scale": 0.7, "model": str(source),
        },
        "recipe": RECIPE
        | {
            "steps": 3, "adaptation": "next_token", "adaptation_steps": 1, "lora_rank": rank, "lora_alpha": 4,
            "embedding_rate": 1e-3, "evaluate_every": 3,
        },
        "checkpoint": {
            "name": shape, "base": {"name": shape, "source": "random", "license": "Apache-2.0"},
            "max_tokens": {"document": 64, "query": 32}, "top_k": {"document": 512, "query": 512},
        },
    }  # fmt: skip
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    write(tmp_path / "pairs.jsonl", pairs(60))
    words = ["--pairs", str(tmp_path / "pairs.jsonl"), "--config", str(tmp_path / "config.yaml"), "--out", str(run)]
    assert cli.main(["prepare", *words]) == 0
    write(run / "pairs.jsonl", pairs(60))
    assert train(run) == 0
    assert cli.main(["export", "--run", str(run), "--out", str(out), "--precision", "fp32"]) == 0
    model, text = checkpoints.load_master(run / "master.pt")
    start, _ = checkpoints.load_master(run / "start.pt")
    assert not torch.equal(model.layers[1].attention.q.weight, start.layers[1].attention.q.weight), "layers learn"
    assert model.config.tied is ("tie_word_embeddings" not in changes)
    tokenizer = Tokenizer.from_str(text)
    texts = [p.query for p in pairs(4)]
    for role in ("document", "query"):
        with torch.no_grad():
            expected = model.eval()(*padded(tok.encode_batch(tokenizer, texts, 32))).numpy()
        assert (expected > 0).sum() > 10
        assert_same(encode(out, texts, role), expected)
    again, _ = reopen(out)
    with torch.no_grad():
        reopened = again.eval()(*padded(tok.encode_batch(tokenizer, texts, 32))).numpy()
    np.testing.assert_allclose(reopened, expected, atol=1e-4, err_msg="the checkpoint can be trained further")
    assert (again.config.rope_frequencies is None) is (model.config.rope_frequencies is None)
    assert again.config.beyond_weights.keys() == model.config.beyond_weights.keys()
    if shape != "qwen2.5":
        return
    with pytest.raises(ValueError, match="read at a prompt"):
        base.load(source).demand_plain()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rope_parameters": LLAMA3 | {"rope_type": "dynamic"}}, "dynamic"),
        ({"attention_bias": True}, "biases"),
        ({"hidden_act": "relu"}, "relu"),
    ],
)
def test_a_model_with_parts_that_do_not_fit_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        base.load(llama(tmp_path, **change))


def test_a_start_is_the_language_model_itself_whatever_its_shape(tmp_path: Path) -> None:
    """Causal and over the whole vocabulary, our trunk gives transformers' own states."""
    for shape, (kind, changes) in SHAPES.items():
        directory = llama(tmp_path / shape, kind, **changes)
        source = base.load(directory)
        rows = list(range(380))
        model = base.start(source, tok.ReducedTokenizer(source.tokenizer_json, rows), 4, "echo").eval()
        # The same text twice: what echo reads, as the language model reads it.
        row = torch.tensor([tok.encode_batch(Tokenizer.from_str(source.tokenizer_json), [pairs(1)[0].passage], 40)[0]])
        model.offset.data.zero_()
        model.gain.data.zero_()
        theirs = kind.from_pretrained(directory).eval()
        with torch.no_grad():
            states, _ = model.hidden(row, torch.ones_like(row))
            expected = theirs(torch.cat([row, row], 1)).logits[0, row.shape[1] :]
            got = states[0] @ model.terms().T
        np.testing.assert_allclose(got.numpy(), expected.numpy(), atol=2e-4, err_msg=shape)


def test_a_window_is_refused_only_where_texts_are_longer(tmp_path: Path) -> None:
    source = base.load(llama(tmp_path, Gemma3ForCausalLM, **GEMMA3))
    source.demand_sight(4, 128)
    with pytest.raises(ValueError, match="128 at once"):
        source.demand_sight(1, 129)
    config = {
        "start": {
            "seed": 1, "layers": 2, "variant": "echo", "least_count": 1, "trunk_std": 0.6, "distance": 3.0,
            "own_scale": 0.7, "model": str(tmp_path),
        },
        "recipe": RECIPE,
        "checkpoint": {"max_tokens": {"document": 65, "query": 32}},
    }  # fmt: skip
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    write(tmp_path / "pairs.jsonl", pairs(60))
    words = ["--pairs", str(tmp_path / "pairs.jsonl"), "--config", str(tmp_path / "config.yaml")]
    assert cli.main(["prepare", *words, "--out", str(tmp_path / "run")]) == 2, "echo reads a text twice"
