"""SPLADE over a language model in the layouts of SPLADE-Code: Node gives what its authors describe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from node_encoder import assert_same, encode
from test_foreign import TOKENIZER, VOCABULARY, model_of
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM
from world import pairs

from csplade_train import cli

BASE = "Qwen3-0.6B"
LIMIT = 40
WORLD = [p.passage for p in pairs(40)]
TEXTS = [
    " ".join(WORLD[0].split()[:9]),
    "def f(x):\n    return x  # na\u00efve",
    "\u4e2d\u6587\u68c0\u7d22 \U0001f680",
    "x",
    " ".join(WORLD),
]


def saved(model: Any, directory: Path, **more: object) -> Path:
    """A model's folder; more: what its config.json says beside."""
    model.save_pretrained(directory)
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    (directory / "config.json").write_text(json.dumps(config | more), encoding="utf-8")
    return directory


def with_tokenizer(directory: Path) -> Path:
    (directory / "tokenizer.json").write_text(TOKENIZER, encoding="utf-8")
    told = {"model_max_length": LIMIT, "tokenizer_class": "PreTrainedTokenizerFast"}
    (directory / "tokenizer_config.json").write_text(json.dumps(told), encoding="utf-8")
    return directory


def with_modules(directory: Path, activation: str = "relu") -> Path:
    """As sentence-transformers writes a model and SpladePooling."""
    home = "sentence_transformers.sparse_encoder.models."
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": home + "MLMTransformer"},
        {"idx": 1, "name": "1", "path": "1_SpladePooling", "type": home + "SpladePooling"},
    ]
    pooling = {"pooling_strategy": "max", "activation_function": activation}
    (directory / "1_SpladePooling").mkdir(parents=True)
    for name, content in (
        ("modules.json", modules),
        ("1_SpladePooling/config.json", pooling),
        ("config_sentence_transformers.json", {"prompts": {}, "default_prompt_name": None}),
    ):
        (directory / name).write_text(json.dumps(content), encoding="utf-8")
    return directory


def own_layout(directory: Path, **more: object) -> None:
    """The configuration of the authors' first layout, which leaves sizes to the base."""
    told = {
        "model_type": "splade", "architectures": ["Splade"], "attn_type": "causal", "bidirectional": True,
        "lora": False, "model_name_or_path": f"Qwen/{BASE}", "n_layers": None, "padding_side": "left",
        "auto_map": {"AutoConfig": "splade.SpladeConfig", "AutoModelForCausalLM": "splade.Splade"},
    }  # fmt: skip
    (directory / "config.json").write_text(json.dumps(told | more), encoding="utf-8")


def adapted(model: Any, adapter: Path) -> Any:
    """The model with an adapter that is also written; merged."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(4)
    tuned = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2)
    tuned.save_pretrained(adapter)
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = f"Qwen/{BASE}"
    (adapter / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    return tuned.merge_and_unload().eval()


def described(model: Any, texts: list[str], both_directions: bool = True) -> np.ndarray:
    """log(1 + ReLU(the largest logit of each term)), of a text's tokens, each of which sees all the others."""
    tokenizer = Tokenizer.from_str(TOKENIZER)
    rows = []
    for text in texts:
        ids = tokenizer.encode(text).ids[:LIMIT]
        hidden = torch.ones(len(ids), len(ids)).triu(1) * (0.0 if both_directions else torch.finfo(torch.float32).min)
        with torch.no_grad():
            logits = model(torch.tensor([ids]), attention_mask=hidden[None, None]).logits[0].float()
        rows.append(torch.log1p(torch.relu(logits.amax(0))).numpy())
    return np.stack(rows)


def converted(directory: Path, out: Path, *more: str) -> int:
    words = ["convert", str(directory), "--out", str(out), "--name", "test", "--license", "CC BY-NC-SA 4.0"]
    return cli.main([*words, "--precision", "fp32", *more])


def assert_given(out: Path, model: Any, both_directions: bool = True) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["variant"] == ("bi" if both_directions else "causal")
    assert manifest["max_tokens"] == {"document": LIMIT, "query": LIMIT}
    got = encode(out, TEXTS, "query")
    expected = described(model, TEXTS, both_directions)
    assert len(got) == len(TEXTS) and 5 < np.count_nonzero(expected[0]) < VOCABULARY
    assert_same(got, expected)
    passages = encode(out, TEXTS, "document")
    assert len(passages) > len(TEXTS)
    assert_same(passages, described(model, [passage.text for passage in passages], both_directions))
    assert encode(out, [""], "query") == []
    return manifest


@pytest.mark.parametrize("architecture", ["qwen3", "llama-untied"])
def test_a_sparse_encoder_over_a_language_model_gives_in_node_what_is_described(
    architecture: str, tmp_path: Path
) -> None:
    model = model_of(architecture)
    folder = saved(model, with_modules(tmp_path / "published"), is_causal=False)
    with_tokenizer(folder)
    assert converted(folder, tmp_path / "out") == 0
    assert assert_given(tmp_path / "out", model)["training"]["family"] == "splade-code"
    saved(model, folder)
    assert converted(folder, tmp_path / "causal") == 0
    assert_given(tmp_path / "causal", model, both_directions=False)


def test_an_adapter_beside_the_configuration_is_merged_into_the_base_that_it_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = with_tokenizer(saved(model_of("qwen3"), tmp_path / BASE))
    folder = with_modules(tmp_path / "published")
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"is_causal": False}), encoding="utf-8")
    with_tokenizer(folder)
    merged = adapted(AutoModelForCausalLM.from_pretrained(base), folder / "lora")
    assert converted(folder, tmp_path / "out") == 2
    assert "--model BASE" in capsys.readouterr().err
    other = saved(model_of("qwen3"), tmp_path / "another")
    assert converted(folder, tmp_path / "out", "--model", str(other)) == 2
    assert f"--base-name Qwen/{BASE}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert converted(folder, tmp_path / "out", "--model", str(base)) == 0
    assert_given(tmp_path / "out", merged)


@pytest.mark.parametrize("weights", ["its own", "an adapter"])
def test_the_authors_first_layout_takes_sizes_and_tokenizer_from_the_base(
    weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = model_of("qwen3")
    base = with_tokenizer(saved(model, tmp_path / BASE))
    folder = tmp_path / "published"
    folder.mkdir()
    if weights == "its own":
        with torch.no_grad():
            model.model.layers[0].mlp.down_proj.weight.mul_(1.5)
        saved(model, folder)
    else:
        model = adapted(AutoModelForCausalLM.from_pretrained(base), folder)
    told = {"model_max_length": LIMIT}
    (folder / "tokenizer_config.json").write_text(json.dumps(told), encoding="utf-8")
    own_layout(folder)
    assert converted(folder, tmp_path / "out") == 2
    assert f"made of Qwen/{BASE}" in capsys.readouterr().err
    assert converted(folder, tmp_path / "out", "--model", str(base)) == 0
    assert_given(tmp_path / "out", model)


def test_what_is_not_computed_here_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = with_tokenizer(saved(model_of("qwen3"), tmp_path / BASE))
    folder = saved(model_of("qwen3"), tmp_path / "published")
    for more, said in (({"lexical": True}, "lexical"), ({"n_layers": 2}, "n_layers")):
        own_layout(folder, **more)
        assert converted(folder, tmp_path / "out", "--model", str(base)) == 2
        assert said in capsys.readouterr().err
    twice = saved(model_of("qwen3"), with_modules(tmp_path / "twice", "log1p_relu"), is_causal=False)
    assert converted(with_tokenizer(twice), tmp_path / "out") == 2
    assert "SpladePooling" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
