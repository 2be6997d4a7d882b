"""The paper's own setting, on a small random model: it trains, and its model has no part that theirs lacks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from node_encoder import assert_same, encode
from test_base import SHAPES, llama
from test_resume import rows, train
from tokenizers import Tokenizer
from world import pairs

from csplade_train import checkpoints, cli
from csplade_train import tokenizer as tok
from csplade_train.batches import padded
from csplade_train.data.pairs import write

PAPER = Path(__file__).parent.parent / "configs" / "paper-8b.yaml"
SMALL = {"steps": 6, "adaptation_steps": 3, "batch": 8, "negatives": 2, "query_tokens": 16, "document_tokens": 40,
         "warmup": 2, "ramp_until": 2, "evaluate_every": 6}  # fmt: skip


@pytest.mark.parametrize("variant", ["bi", "echo"])
def test_the_papers_setting_trains_a_plain_language_model_and_node_gives_what_it_says(
    variant: str, tmp_path: Path
) -> None:
    kind, changes = SHAPES["llama-3.1"]
    config = yaml.safe_load(PAPER.read_text(encoding="utf-8"))
    config["start"] |= {"model": str(llama(tmp_path / "base", kind, **changes)), "layers": 4, "variant": variant}
    config["recipe"] |= SMALL
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    run, out = tmp_path / "run", tmp_path / "out"
    write(tmp_path / "pairs.jsonl", pairs(60))
    words = ["--pairs", str(tmp_path / "pairs.jsonl"), "--config", str(tmp_path / "config.yaml"), "--out", str(run)]
    assert cli.main(["prepare", *words]) == 0
    write(run / "pairs.jsonl", pairs(60))
    assert train(run) == 0
    logged = rows(run)
    assert [("contrast" in row) for row in logged] == [False] * 3 + [True] * 3
    assert cli.main(["export", "--run", str(run), "--out", str(out), "--precision", "fp32"]) == 0
    start, _ = checkpoints.load_master(run / "start.pt")
    model, text = checkpoints.load_master(run / "master.pt")
    for part in ("bias", "gain", "offset"):
        assert not getattr(model, part).any(), f"{part}: a term's score is its row times the state, and no more"
    for same in ("embedding.weight", "head.weight", "layers.0.mlp_norm.weight"):
        assert torch.equal(model.state_dict()[same], start.state_dict()[same]), same
    assert not torch.equal(model.layers[0].down.weight, start.layers[0].down.weight)
    texts = [p.query for p in pairs(4)]
    with torch.no_grad():
        expected = model.eval()(*padded(tok.encode_batch(Tokenizer.from_str(text), texts, 32))).numpy()
    assert (expected > 0).sum() > 10
    assert_same(encode(out, texts, "query"), expected)
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["variant"] == variant and manifest["activation"] == "log1p_relu"
