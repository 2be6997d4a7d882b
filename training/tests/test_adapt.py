"""A shipped checkpoint trains on, on a corpus alone, and says honestly whether it helped."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from test_export import ABOUT, dense, quantized, session
from tokenizers import Tokenizer
from world import pairs, tiny_start, words

from csplade_train import adapt, checkpoints, cli
from csplade_train import tokenizer as tok
from csplade_train.batches import padded
from csplade_train.data import corpus
from csplade_train.lexicon import Lexicon
from csplade_train.onnx_graph import PRECISIONS
from csplade_train.reopen import reopen


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("variant", ["bi", "echo"])
def test_a_reopened_checkpoint_is_the_model_that_was_shipped(variant: str, precision: str, tmp_path: Path) -> None:
    made = pairs(40)
    model, text, _ = tiny_start(made, variant)
    with torch.no_grad():
        model.emphasis.weight.normal_(std=0.05)
    checkpoints.write(tmp_path, model, text, precision, ABOUT)
    again, again_text = reopen(tmp_path)
    assert again_text == text and again.config == model.config
    shipped = quantized(model, precision) if precision.startswith("int") else model
    ids, mask = padded(tok.encode_batch(Tokenizer.from_str(text), [p.passage for p in made[:4]], 40))
    with torch.no_grad():
        tolerance = 1e-2 if precision == "fp16" else 1e-4
        torch.testing.assert_close(again.eval()(ids, mask), shipped.eval()(ids, mask), atol=tolerance, rtol=tolerance)
    for name, tensor in again.state_dict().items():
        assert tensor.shape == model.state_dict()[name].shape and tensor.dtype == model.state_dict()[name].dtype


def write_corpus(path: Path, count: int = 130) -> None:
    """Documents of a few sentences on a topic, with words that only this corpus has."""
    rng = random.Random(4)
    every = words(330, 3)
    lines = []
    for n in range(count):
        own = [every[(n * 7 + k) % 330] for k in range(12)]
        body = " ".join(f"{' '.join(rng.sample(own, 8)).capitalize()}." for _ in range(5))
        lines.append(json.dumps({"_id": f"d{n}", "title": " ".join(own[:3]), "text": body}))
    path.write_text("\n".join(lines), encoding="utf-8")


@pytest.mark.parametrize("lexical", [False, True], ids=["model alone", "with a lexical part"])
def test_adapting_writes_a_checkpoint_and_a_report_on_documents_it_never_saw(
    lexical: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_corpus(tmp_path / "corpus.ndjson")
    model, text, _ = tiny_start(pairs())
    lexicon = Lexicon.of(p.passage for p in pairs()) if lexical else None
    checkpoints.write(tmp_path / "old", model, text, "int8", ABOUT, None, lexicon)
    command = ["adapt", "--corpus", str(tmp_path / "corpus.ndjson"), "--checkpoint", str(tmp_path / "old")]
    command += ["--out", str(tmp_path / "new"), "--minutes", "0.05", "--threads", "1", "--held-out", "20"]
    assert cli.main(command) == 0
    out = capsys.readouterr().out
    assert "Verdict" in out and (tmp_path / "new" / "report.md").read_text(encoding="utf-8") == out
    old, new = (json.loads((tmp_path / d / "manifest.json").read_text(encoding="utf-8")) for d in ("old", "new"))
    assert new["fingerprint"] != old["fingerprint"] and new["precision"] == "int8"
    assert new["training"]["adapted"]["from_fingerprint"] == old["fingerprint"]
    assert new["training"]["adapted"]["steps"] >= 1
    assert ("lexicon.json" in new["files"]) == lexical == (tmp_path / "new" / "lexicon.json").exists()
    rows = tok.encode_batch(Tokenizer.from_str(text), ["kemo liba", "vora"], 20)
    assert dense(session(tmp_path / "new"), rows, model.config.vocabulary).any()


def test_held_out_documents_are_in_no_training_pair() -> None:
    documents = [corpus.Document(f"d{n}", f"title number {n}", "One two three four five six. " * 8) for n in range(50)]
    made = adapt.pseudo_pairs(documents, 1)
    kept, held = adapt.split_by_group(made, 10, 1)
    assert len(held) == 10
    assert not {made[n].group for n in kept} & {made[n].group for n in held}


@pytest.mark.parametrize(
    ("before", "after", "error", "verdict"),
    [(0.5, 0.6, 0.02, "helped"), (0.6, 0.5, 0.02, "harmed"), (0.5, 0.53, 0.02, "no clear difference")],
)
def test_the_verdict_needs_two_standard_errors(before: float, after: float, error: float, verdict: str) -> None:
    assert adapt.Comparison(100, 1000, 0.4, before, after, error, 100.0, 90.0).verdict == verdict


def test_reciprocal_ranks_count_ties_against_the_answer() -> None:
    scores = np.array([[3.0, 1.0, 2.0], [5.0, 4.0, 1.0], [1.0, 1.0, 1.0]])
    assert adapt.reciprocal_ranks(scores).tolist() == [1.0, 0.5, pytest.approx(1 / 3)]


def test_a_corpus_too_small_or_not_json_is_refused_with_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "corpus.ndjson"
    command = ["adapt", "--corpus", str(file), "--checkpoint", str(tmp_path), "--out", str(tmp_path / "new")]
    file.write_text('{"text": "one document"}\n', encoding="utf-8")
    assert cli.main(command) == 2
    assert "too few" in capsys.readouterr().err
    file.write_text("{oops\n", encoding="utf-8")
    assert cli.main(command) == 2
    assert "line 1" in capsys.readouterr().err
