"""A language model in a directory becomes the start of a run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from test_resume import train
from transformers import LlamaConfig, LlamaForCausalLM
from world import RECIPE, pairs

from csplade_train import base, checkpoints, cli
from csplade_train import tokenizer as tok
from csplade_train.data.pairs import write


def llama(directory: Path, **changes: object) -> Path:
    """A random Llama of four layers with a byte-level tokenizer, saved as transformers saves it."""
    text = tok.train([p.passage for p in pairs(60)], 380)
    torch.manual_seed(2)
    sizes = {
        "vocab_size": 380, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True,
    }  # fmt: skip
    LlamaForCausalLM(LlamaConfig(**(sizes | changes))).save_pretrained(directory)
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


@pytest.mark.parametrize(
    ("change", "message"),
    [({"tie_word_embeddings": False}, "output projection"), ({"attention_bias": True}, "biases")],
)
def test_a_model_with_parts_that_do_not_fit_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        base.load(llama(tmp_path, **change))
